"""Tiny ImageNet at 64×64, a cell of the paper's Table 1.

  python launch.py --config=configs/tiny_imagenet.py:ipc=10

The first run downloads Tiny ImageNet (248 MB) to tensorflow_datasets/ in the
home folder; --config.data.dir names another one, or the data set's own folder,
tiny-imagenet-200. What tfds has prepared works as well:
--config.data.name=NAME.

Ours is not measured. What is published stands in dm_jax/report/paper.py; this
lays a run beside it:

  python launch.py --mode=table --workdirs=runs/tiny_imagenet_ipc=10

At 64 pixels the ConvNet has four layers.
"""

from dm_jax.configs import default


def get_config(argument=None):
  config = default.get_config()
  config.data.name = 'tiny_imagenet'
  config.data.statistics = 'tiny_imagenet'
  config.network.depth = 4
  default.set_cell(config, argument, (64, 64, 3), 10)
  return config
