"""The recipe for a CPU beside the paper's method.

`benchmarks/results.py --plan=recipe` runs these cells. All take a ConvNet of
width 32, two sets of seed 0 and five networks on each. Networks are trained for
so many epochs that those of the paper's method and of random images take at
least as many steps of training as those of the recipe, whose sets hold nine or
four times as many images to train on; JPEG files are taken to be five times as
many.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dm_jax.configs.results.planned import (
  CIFAR10,
  TINY_IMAGENET,
  TINY_TILES,
  Planned,
  epochs_covering,
)

RECORD = 'recipe'  # The record is RECORD_DEVICE.json.
COMMANDS = {}
# About so many 32×32 JPEG files take the bytes of an image of CIFAR-10.
_JPEG_FILES = 5
COMMON = {
  'network.width': 32,
  'network.depth': 3,
  'sets': 2,
  'evaluate.networks': 5,
  'evaluate.baselines': 'none',
}


def _cells(
  config: str,
  classes: int,
  size: int,
  epochs: int,
  *,
  dm: int,
  own: Mapping[str, Any] = MappingProxyType({}),
  images: str = '',
):
  """Yields the cells of a data set and size.

  Args:
    config: of configs/.
    classes: of the data.
    size: stored images per class.
    epochs: of judging the recipe, and random images stored as its own.
    dm: steps of the paper's method; at 10 and 50 per class they take about as
      long as the recipe does with its pool, or longer.
    own: settings of what is stored as tiles.
    images: see `Planned`.
  """
  stored = classes * size
  tiled, plain = f'ipc={size}:recipe=trajectory_short', f'ipc={size}'
  tiles = Planned('', config, tiled, dict(own)).trained_on(stored)
  whole = epochs_covering(epochs, tiles, stored)
  files = epochs_covering(epochs, tiles, _JPEG_FILES * stored)
  real, as_files = {'method': 'random'}, {'method': 'random_jpeg'}
  for kind, says, argument, trained, sets in (
    ('recipe', 'recipe trajectory_short', tiled, epochs, own),
    ('dm', 'DM', plain, whole, {'condense.steps': dm}),
    (
      *('tiles', 'random real, stored as the recipe does', tiled, epochs),
      {**own, **real},
    ),
    ('random', 'random real', plain, whole, real),
    ('jpeg', 'random real, JPEG of as many bytes', plain, files, as_files),
  ):
    settings = {'evaluate.epochs': trained, **sets}
    yield (
      f'{config}_{size}_{kind}',
      Planned(says, config, argument, settings, images=images),
    )


def _across(config: str, size: int, *, epochs: int):
  """Yields cells that train other networks on the sets of `_cells`.

  Args:
    config: of configs/.
    size: stored images per class.
    epochs: of judging the recipe.
  """
  own = CELLS[f'{config}_{size}_recipe'].sets['evaluate.epochs']
  for kind in ('recipe', 'dm', 'tiles', 'random'):
    name = f'{config}_{size}_{kind}'
    cell = CELLS[name]
    sets = {
      **cell.sets,
      # The shares of steps stay.
      'evaluate.epochs': cell.sets['evaluate.epochs'] * epochs // own,
      # VGG-11 and ResNet-18 have `COMMON`'s width, a quarter of their own, and
      # a sixteenth of the operations.
      'evaluate.pool': 'convnet:width=128,vgg11,resnet18',
      'evaluate.networks': 2,
      'sets': 1,
    }
    made = cell.sets.get('method', 'dm') == 'dm'
    yield (
      f'{name}_across',
      cell._replace(sets=sets, judges=name if made else ''),
    )


def _timed(config: str, size: int, **steps: int):
  """Yields cells that are judged on held-out images on the way.

  Args:
    config: of configs/.
    size: stored images per class.
    **steps: by kind; at every quarter of them three networks are trained.
  """
  for kind, count in steps.items():
    cell = CELLS[f'{config}_{size}_{kind}']
    sets = {
      **cell.sets,
      'condense.steps': count,
      'condense.log_every': count // 20,
      'data.validation': 0.1,
      'evaluate.validation_every': count // 4,
      'evaluate.validation_networks': 3,
      'evaluate.networks': 1,
      'sets': 1,
    }
    # Trained without the held-out images.
    yield (
      f'{config}_{size}_{kind}_timed',
      cell._replace(sets=sets, pool='pool_timed'),
    )


CELLS: dict[str, Planned] = {
  key: cell
  for cells in (
    _cells('cifar10', 10, 1, epochs=500, dm=1400, images=CIFAR10),
    _cells('cifar10', 10, 10, epochs=200, dm=2100, images=CIFAR10),
    _cells('cifar10', 10, 50, epochs=100, dm=1100, images=CIFAR10),
    _cells('mnist', 10, 1, epochs=300, dm=1500),
    _cells(
      'tiny_imagenet',
      100,
      10,
      epochs=20,
      dm=560,
      own={**TINY_TILES, 'condense.steps': 300},
      images=TINY_IMAGENET,
    ),
  )
  for key, cell in cells
}
CELLS |= _across('cifar10', 1, epochs=200)
CELLS |= _across('cifar10', 10, epochs=66)
# Whose accuracy stands over seconds, in order.
TIMED = dict(_timed('cifar10', 10, dm=1000, recipe=100))
CELLS |= TIMED
