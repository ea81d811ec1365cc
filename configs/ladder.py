"""A recipe, rung by rung: what each of its ingredients is worth.

  python launch.py --config=configs/ladder.py:rung=tiles:ipc=10

is one rung; `benchmarks/ladder.py` runs all of them and tabulates. The first is
the paper's method at the steps and real images per step of the recipe
`trajectory`; each other one adds to the one before what `RUNGS` says, until
with `cross_entropy` all of the recipe is there, but for adam: pixels move by
SGD on every rung. Of the last rungs each has a single change. `fresh` embeds
real images in each step in place of targets made ahead; other discrepancies
stand on it, as what they compare with is too much to keep for long trainings.
Data and network are those of another config: data=cifar10, the default, or
cifar100, digits, ...; recipe=trajectory_short takes its settings.

Every rung holds the same tenth of the training images out, to judge its sets on
the way; at the end they are judged under both protocols.
"""

import importlib
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from dm_jax.errors import choose

RECIPE = 'trajectory'
DATA = (
  'cifar10',
  'cifar100',
  'digits',
  'fashion_mnist',
  'mnist',
  'svhn',
  'tiny_imagenet',
)
# By the rung whose run has them: as many whole real images and as many bytes of
# them, as many in the storage of tiles, and both with labels of the same kind.
BASELINES = {
  'dm': 'random_full,random_jpeg',
  'tiles': 'random',
  'teacher': 'random_full,random',
}


class Rung(NamedTuple):
  """What a rung changes, compared with the one that it stands on.

  Attributes:
    adds: the change in words.
    on: the rung that it stands on; '' for the first.
    takes: settings, or sections, that are the recipe's from here on, and the
      paper's before.
    sets: settings with values of their own, by name.
  """

  adds: str
  on: str
  takes: tuple[str, ...] = ()
  sets: dict[str, Any] = {}


# Their gradients at the start are so much shorter than the mean's: see
# benchmarks/records/settings_cifar10_width_32.json.
_MMD, _CHARACTERISTIC = 50, 90

RUNGS = {
  'dm': Rung("the paper's method", on=''),
  'tiles': Rung(
    'several images in one, with their own rate and momentum, clamped',
    on='dm',
    takes=(
      'condense.storage',
      'condense.factor',
      'condense.decoded_at_once',
      # They were chosen for what is stored so.
      'condense.clamp',
      'condense.learning_rate',
      'condense.momentum',
      'condense.smoothing',
    ),
  ),
  'augment': Rung(
    'every augmentation at once', on='tiles', takes=('condense.augment',)
  ),
  'snapshots': Rung(
    'snapshots of trainings, targets made once',
    on='augment',
    takes=('embedder', 'pretrain'),
  ),
  'cross_entropy': Rung(
    'cross entropy of the synthetic images',
    on='snapshots',
    takes=('condense.cross_entropy',),
  ),
  'fresh': Rung(
    'to cross entropy: real images drawn in each step',
    on='cross_entropy',
    sets={'embedder.targets': 'fresh'},
  ),
  'covariance': Rung(
    'to fresh: covariance beside the mean',
    on='fresh',
    sets={'condense.discrepancy': 'mean,covariance:50'},
  ),
  'mmd': Rung(
    'to fresh: MMD in place of the mean',
    on='fresh',
    sets={'condense.discrepancy': f'mmd:{_MMD}'},
  ),
  'characteristic': Rung(
    'to fresh: characteristic function in place of the mean',
    on='fresh',
    sets={'condense.discrepancy': f'characteristic:{_CHARACTERISTIC}'},
  ),
  'teacher': Rung(
    "to cross entropy: trained networks' labels",
    on='cross_entropy',
    sets={'labels': 'teacher'},
  ),
}


def get_config(argument=None):
  given = {
    'rung': 'cross_entropy',
    'ipc': '10',
    'data': DATA[0],
    'recipe': RECIPE,
  }
  for part in argument.split(':') if argument else ():
    name, _, value = part.partition('=')
    choose('config argument', name, given)
    given[name] = value
  choose('rung', given['rung'], RUNGS)
  choose('data', given['data'], DATA)
  preset = importlib.import_module(f'dm_jax.configs.{given["data"]}')
  paper = preset.get_config(f'ipc={given["ipc"]}')
  config = preset.get_config(f'ipc={given["ipc"]}:recipe={given["recipe"]}')
  config.condense.optimizer = paper.condense.optimizer
  _climb(config, paper, given['rung'])
  _judge(config, given['rung'])
  return config


def _climb(config: ConfigDict, paper: ConfigDict, name: str) -> None:
  """Makes the recipe's settings those of a rung."""
  recipe = config.copy_and_resolve_references()
  below = [name]
  while RUNGS[below[-1]].on:
    below.append(RUNGS[below[-1]].on)
  with config.ignore_type():
    for other, rung in RUNGS.items():
      for field in (*rung.takes, *rung.sets):
        if other not in below:
          _set(config, field, _get(paper, field))
    for other in reversed(below):
      for field in RUNGS[other].takes:
        _set(config, field, _get(recipe, field))
      for field, value in RUNGS[other].sets.items():
        _set(config, field, value)


def _judge(config: ConfigDict, name: str) -> None:
  """Sets how every rung is judged, on the way and at its end."""
  config.sets = 2
  config.data.validation = 0.1
  config.evaluate.protocol = 'dm,idc'
  config.evaluate.networks = 5
  config.evaluate.baselines = BASELINES.get(name, 'none')
  config.evaluate.validation_networks = 1
  # They follow when the steps are changed: ten evaluations on the way.
  steps = config.condense.get_ref('steps')
  config.condense.log_every = (steps + 99) // 100
  every = config.condense.get_ref('log_every')
  config.evaluate.validation_every = every * 10


def _get(config: ConfigDict, field: str) -> Any:
  """Returns a field by its dotted name; None where there is none."""
  value: Any = config
  for name in field.split('.'):
    value = value.get(name)
  return value


def _set(config: ConfigDict, field: str, value: Any) -> None:
  """Sets a field by its dotted name; None that is not there stays away.

  Of a section field by field: another section in its place would have lost the
  types of what is open, which flags need.
  """
  if isinstance(value, ConfigDict):
    for name in value:
      _set(config, f'{field}.{name}', value[name])
    return
  *groups, name = field.split('.')
  for group in groups:
    config = config[group]
  if name in config or value is not None:
    config[name] = value
