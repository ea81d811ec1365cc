"""FashionMNIST.

  python launch.py --config=configs/fashion_mnist.py:ipc=10

The first run downloads FashionMNIST (31 MB) to tensorflow_datasets/ in the home
folder; --config.data.dir names another one, which may also hold what tfds or
torchvision keeps.

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
