"""Tiny ImageNet at 64×64, a cell of the paper's Table 1.

  python launch.py --config=configs/tiny_imagenet.py:ipc=10 \\
      --config.data.dir=tiny-imagenet-200

Needs the data set's own folder (train/WNID/images/, val/val_annotations.txt).
A set that tfds has prepared works as well: --config.data.name=NAME.

Ours is not measured. What is published stands in dm_jax/report/paper.py; this
lays a run beside it:

  python launch.py --mode=table --workdirs=runs/tiny_imagenet_ipc=10

At 64 pixels the ConvNet has four layers.
"""

from dm_jax.configs import default


def get_config(argument=None):
  config = default.get_config()
  config.data.name = 'folder'
  config.data.statistics = 'tiny_imagenet'
  config.network.depth = 4
  default.set_cell(config, argument, (64, 64, 3), 10)
  return config
