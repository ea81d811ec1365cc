"""Every setting at its default: the paper's protocol on CIFAR-10.

  python launch.py --config=configs/default.py --workdir=runs/default

The defaults themselves stand in dm_jax/config.py, with their meaning. A config
starts from `get_config` here and sets only what differs.
"""

import dataclasses
import types
import typing

from ml_collections import ConfigDict, config_dict

from dm_jax.config import RunConfig
from dm_jax.types import InputError, choose

DIGIT_OPERATIONS = 'color_crop_cutout_scale_rotate'  # A mirrored 2 is no 2.


def get_config() -> ConfigDict:
  return _to_config_dict(RunConfig())


def _to_config_dict(settings) -> ConfigDict:
  """Turns nested dataclasses into a ConfigDict that knows the types of None."""
  result = ConfigDict()
  hints = typing.get_type_hints(type(settings))
  for field in dataclasses.fields(settings):
    value = getattr(settings, field.name)
    hint = hints[field.name]
    if dataclasses.is_dataclass(value):
      value = _to_config_dict(value)
    elif isinstance(hint, types.UnionType):
      # Fields that may be None, so that the command line can set them.
      kind = typing.get_args(hint)[0]
      value = config_dict.placeholder(kind)
    result[field.name] = value
  return result


def set_augment(config: ConfigDict, operations: str) -> None:
  """Sets the operations for condensing and for training alike."""
  config.condense.augment = operations
  config.evaluate.augment = operations


def read_ipc(argument: str | None, default: int) -> int:
  """Reads the argument of a config file: 'ipc=50', or nothing.

  Raises:
    InputError: anything else.
  """
  if not argument:
    return default
  name, _, value = argument.partition('=')
  choose('config argument', name, ['ipc'])
  if not value.isdecimal() or int(value) < 1:
    raise InputError(f'ipc must be a whole number from 1 up, got {value!r}')
  return int(value)
