"""SVHN, cropped digits.

  python launch.py --config=configs/svhn.py:ipc=10

The first run downloads SVHN (246 MB) to tensorflow_datasets/ in the home
folder; --config.data.dir names another one, which may also hold
train_32x32.mat and test_32x32.mat.

The paper has no figure for this set; ours: not measured. A mirrored digit is
another sign, so `flip` is left out.
"""

from dm_jax.configs import default


def get_config(argument=None):
  config = default.get_config()
  config.data.name = 'svhn_cropped'
  default.set_augment(config, default.DIGIT_OPERATIONS)
  default.set_cell(config, argument, (32, 32, 3), 10)
  return config
