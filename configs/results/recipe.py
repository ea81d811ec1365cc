"""The recipe for a CPU beside the paper's method, which is given as much time.

`benchmarks/results.py --plan=recipe` runs these cells. All take a ConvNet of
width 32, two sets of seed 0 and five networks on each. Networks are trained for
so many epochs that those of the paper's method and of random images take at
least as many steps of training as those of the recipe, whose sets hold nine or
four times as many images to train on.
"""

from typing import Any, NamedTuple

COMMON = {
  'network.width': 32,
  'network.depth': 3,
  'sets': 2,
  'evaluate.networks': 5,
  'evaluate.baselines': 'none',
}


class Planned(NamedTuple):
  """A run of a plan.

  Attributes:
    says: the set in words.
    config: of configs/, without .py.
    argument: of that config.
    sets: settings by dotted name, beside `COMMON`.
  """

  says: str
  config: str
  argument: str
  sets: dict[str, Any]


def _cells(
  config: str, size: int, short: int, other: int, dm: int, steps: int = 0
):
  """Yields the cells of a data set and size.

  Args:
    config: of configs/.
    size: stored images per class.
    short: epochs of judging the recipe, and random images stored as its own.
    other: the same of the others.
    dm: steps of the paper's method that take as long as the recipe does with
      its pool.
    steps: of the recipe; 0 leaves it its own.
  """
  recipe = f'ipc={size}:recipe=trajectory_short'
  paper = f'ipc={size}'
  real, as_files = {'method': 'random'}, {'method': 'random_jpeg'}
  files = max(short, other // 2)  # They hold some three times as many images.
  own = {'condense.steps': steps} if steps else {}
  for kind, says, argument, epochs, sets in (
    ('recipe', 'recipe trajectory_short', recipe, short, own),
    ('dm', 'DM', paper, other, {'condense.steps': dm}),
    ('tiles', 'random real, stored as the recipe does', recipe, short, real),
    ('random', 'random real', paper, other, real),
    ('jpeg', 'random real, JPEG of as many bytes', paper, files, as_files),
  ):
    settings = {'evaluate.epochs': epochs, **sets}
    yield f'{config}_{size}_{kind}', Planned(says, config, argument, settings)


CELLS: dict[str, Planned] = {
  key: cell
  for cells in (
    _cells('cifar10', 1, short=500, other=500, dm=1400),
    _cells('cifar10', 10, short=200, other=800, dm=1900),
    _cells('cifar10', 50, short=100, other=400, dm=1100),
    _cells('mnist', 1, short=300, other=300, dm=1500),
    _cells('tiny_imagenet', 10, short=20, other=180, dm=560, steps=300),
  )
  for key, cell in cells
}
