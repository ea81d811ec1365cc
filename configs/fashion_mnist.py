"""FashionMNIST.

  python launch.py --config=configs/fashion_mnist.py:ipc=10

Needs FashionMNIST as a prepared tfds dataset under --config.data.dir; preparing
it once takes the extra [tf] and a network.

Ours is not measured. What is published stands in dm_jax/report/paper.py; this
lays a run beside it:

  python launch.py --mode=table --workdirs=runs/fashion_mnist_ipc=10
"""

from dm_jax.configs import default


def get_config(argument=None):
  config = default.get_config()
  config.data.name = 'fashion_mnist'
  default.set_cell(config, argument, (28, 28, 1), 10)
  return config
