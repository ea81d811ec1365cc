"""SVHN, cropped digits.

  python launch.py --config=configs/svhn.py:ipc=10

Needs svhn_cropped as a prepared tfds dataset under --config.data.dir; preparing
it once takes the extra [tf] and a network.

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
