"""CIFAR-100, a cell of the paper's Table 1.

  python launch.py --config=configs/cifar100.py:ipc=10

Needs CIFAR-100 as a prepared tfds dataset under --config.data.dir; preparing it
once takes the extra [tf] and a network.

  images per class   1          10         50
  paper, %           11.4±0.3   29.7±0.3   43.6±0.4
  ours               not measured

The paper's learning rate for the pixels is 1 up to 125 images per class; for
more it gives none, so 1 stays.
"""

from configs import default


def get_config(argument=None):
  config = default.get_config()
  config.data.name = 'cifar100'
  default.set_ipc(config, argument, 10)
  return config
