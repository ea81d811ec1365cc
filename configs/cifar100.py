"""CIFAR-100, a cell of the paper's Table 1.

  python launch.py --config=configs/cifar100.py:ipc=10

The first run downloads CIFAR-100 (169 MB) to tensorflow_datasets/ in the home
folder; --config.data.dir names another one, which may also hold what tfds or
torchvision keeps.

Ours is not measured. What is published stands in dm_jax/report/paper.py; this
lays a run beside it:

  python launch.py --mode=table --workdirs=runs/cifar100_ipc=10

The paper's learning rate for the pixels is 1 up to 125 images per class; for
more it gives none, so 1 stays.
"""

from dm_jax.configs import default


def get_config(argument=None):
  config = default.get_config()
  config.data.name = 'cifar100'
  default.set_cell(config, argument, (32, 32, 3), 10)
  return config
