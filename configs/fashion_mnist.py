"""FashionMNIST.

  python launch.py --config=configs/fashion_mnist.py:ipc=10

Needs FashionMNIST as a prepared tfds dataset under --config.data.dir; preparing
it once takes the extra [tf] and a network.

  images per class   1      10     50
  published, %       70.7   83.5   88.1
  ours               not measured
"""

from configs import default


def get_config(argument=None):
  config = default.get_config()
  config.data.name = 'fashion_mnist'
  default.set_ipc(config, argument, 10)
  return config
