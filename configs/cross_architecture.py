"""The paper's cross-architecture table on CIFAR-10, beside two baselines.

  python launch.py --config=configs/cross_architecture.py:ipc=50

Condenses with the ConvNet, and trains MLP, ConvNet, LeNet, AlexNet, VGG-11 and
ResNet-18 on the result, on random and on herded real images. Needs what
configs/cifar10.py needs. Ours at this budget: not measured.
"""

from dm_jax.configs import cifar10


def get_config(argument=None):
  config = cifar10.get_config(argument or 'ipc=50')
  config.evaluate.pool = 'convnet,mlp,lenet,alexnet,vgg11,resnet18'
  config.evaluate.baselines = 'random,herding'
  return config
