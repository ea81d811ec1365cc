"""Ablation: instance against batch norm, on CIFAR-10, 50 images per class.

  python launch.py --config=configs/ablation_norm.py:norm=batch
  python launch.py --config=configs/ablation_norm.py:norm=instance

Both are evaluated on networks with batch norm, as in the paper: with ConvNet,
AlexNet, VGG-11 and ResNet-18 it reaches 65.2±0.4, 61.3±0.6, 59.9±0.8 and
57.0±0.9 % when ConvNet-BN condenses. Needs what configs/cifar10.py needs.
Ours at this budget: not measured.
"""

from dm_jax.configs import cifar10, default


def get_config(argument=None):
  config = cifar10.get_config('ipc=50')
  config.network.norm = default.read_argument(argument or 'norm=batch', 'norm')
  config.evaluate.pool = (
    'convnet:norm=batch,alexnet:norm=batch,vgg11:norm=batch,resnet18:norm=batch'
  )
  return config
