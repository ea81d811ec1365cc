"""Every setting at its default: the paper's protocol on CIFAR-10.

  python launch.py --config=configs/default.py

The defaults themselves stand in dm_jax/config/sections.py and dm_jax/run/
config.py, with their meaning. A config starts from `get_config` here and sets
only what differs.
"""

import dataclasses
import typing

from ml_collections import ConfigDict, config_dict

from dm_jax.config.recipes import recipe
from dm_jax.errors import InputError, choose
from dm_jax.run.config import RunConfig

DIGIT_OPERATIONS = 'color_crop_cutout_scale_rotate'  # A mirrored 2 is no 2.

_OF_A_CELL = 'ipc', 'recipe'  # The arguments of `set_cell`.


def get_config(argument: str | None = None) -> ConfigDict:
  if argument is not None:
    raise InputError(
      f'configs/default.py takes no argument, got {argument!r}: set'
      ' --config.condense.images_per_class and the others, or take a config'
      ' that is near'
    )
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
    else:
      value = _settable(value, hint)
    result[field.name] = value
  return result


def _settable(value, hint):
  """Returns a value that knows its type, so that the command line can set it.

  One that may be of several types is of any type here, which a flag's text is
  read for as Python would read it: 10, 1,10 or [1,10]. `RunConfig` checks it.
  """
  kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
  if len(kinds) > 1:
    return config_dict.FieldReference(value, field_type=object)
  return config_dict.placeholder(kinds[0]) if value is None else value


def set_augment(config: ConfigDict, operations: str) -> None:
  """Sets the operations for condensing and for all training alike."""
  config.condense.augment = operations
  config.pretrain.augment = operations
  if operations == DIGIT_OPERATIONS:  # Every protocol's own, but for flips.
    config.evaluate.flip = False
  else:
    config.evaluate.augment = operations


def set_cell(
  config: ConfigDict,
  argument: str | None,
  image_shape: tuple[int, int, int],
  *default: int,
) -> int:
  """Sets images per class and the recipe by the argument of a config file.

  Last of all, so that a recipe's settings stand.

  Args:
    config: is changed.
    argument: 'ipc=50'; 'ipc=1,10,50' for nested sets, which brackets may be
      around; 'recipe=trajectory'; or both, joined by a colon. The recipe is
      the paper's where none is named.
    image_shape: H, W, D, of the images.
    default: images per class where none are named; several are nested sets.

  Returns:
    The largest number.

  Raises:
    InputError: anything else, or an unknown recipe, naming those there are.
  """
  sizes = ','.join(map(str, default))
  given = dict(zip(_OF_A_CELL, (sizes, 'paper'), strict=True))
  for part in argument.split(':') if argument else ():
    name, _, value = part.partition('=')
    choose('config argument', name, given)
    given[name] = value
  sizes = _read_sizes(given['ipc'])
  made = recipe(
    given['recipe'],
    image_shape=image_shape,
    images_per_class=sizes if len(sizes) > 1 else sizes[0],
  )
  with config.ignore_type():
    for field in dataclasses.fields(made):
      section = getattr(made, field.name)
      for name, value in differing(section).items():
        config[field.name][name] = value
  return sizes[-1]


def differing(section) -> dict[str, typing.Any]:
  """Returns the settings of a section that are not at their defaults."""
  default = type(section)()
  return {
    field.name: getattr(section, field.name)
    for field in dataclasses.fields(section)
    if getattr(section, field.name) != getattr(default, field.name)
  }


def _read_sizes(value: str) -> tuple[int, ...]:
  """Reads '50' or '1,10,50'."""
  bare = value[1:-1] if value[:1] + value[-1:] in ('()', '[]') else value
  numbers = [number.strip() for number in bare.split(',')]
  if not all(n.isdecimal() and int(n) for n in numbers):
    raise InputError(
      f'ipc must be a whole number from 1 up, or several, got {value!r}'
    )
  return tuple(map(int, numbers))


def take_argument(
  argument: str | None, name: str, default: str
) -> tuple[str, str | None]:
  """Returns one part of an argument, and what is left for `set_cell`.

  Args:
    argument: parts like 'steps=5', joined by colons.
    name: of the part.
    default: its value where it is not there.

  Raises:
    InputError: a part is neither that nor one of `set_cell`'s.
  """
  value, left = default, []
  for part in argument.split(':') if argument else ():
    own, _, given = part.partition('=')
    choose('config argument', own, (name, *_OF_A_CELL))
    if own == name:
      value = given
    else:
      left.append(part)
  return value, ':'.join(left) or None


def set_short(config: ConfigDict) -> None:
  """Sets a laptop's budget of the paper's method; a recipe has its own."""
  if config.embedder.name == 'random':
    config.condense.steps = 500
    config.condense.batch_real = 64
    config.pretrain.epochs = 5


def read_argument(argument: str, expected: str) -> str:
  """Returns VALUE of the config argument 'expected=VALUE'.

  Raises:
    InputError: it has another name, or no value.
  """
  name, _, value = argument.partition('=')
  choose('config argument', name, [expected])
  if not value:
    raise InputError(
      f'config argument {expected} is empty: give {expected}=VALUE'
    )
  return value
