"""The paper's cells as far as a CPU with 2 cores takes them, in some days.

`benchmarks/results.py --plan=cpu` runs these cells, one after the other, over
as many sittings as it takes. CIFAR-10 at the paper's width and real images per
step with a quarter of its steps: a tenth of the training images is held out, to
show at every quarter of these what the next one is worth. One set of seed 0;
the paper has five of twenty networks. Beside it a plain PyTorch loop of the
paper on the same images, and the recipe for a CPU, in less time. Then
runs of minutes, A to H, digits and MNIST at three sizes, and 100 classes of
Tiny ImageNet at 32×32 pixels.
"""

from dm_jax.configs.results import recipe as recipe_plan
from dm_jax.configs.results.planned import (
  CIFAR10,
  Planned,
  epochs_within,
)
from dm_jax.report import paper

RECORD = 'results'
COMMON = {}
COMMANDS = {}

_EPOCHS = 1000  # The paper's.
_RECIPE = 'trajectory_short'
_ON_THE_WAY = {'condense.log_every': 50, 'evaluate.validation_networks': 1}


def _cifar10(says, name, size, networks, **of_cell):
  """Returns a cell of CIFAR-10 with a tenth held out, and its settings."""
  sets = {
    'data.validation': 0.1,
    'evaluate.networks': networks,
    'evaluate.baselines': 'none',
    **of_cell.pop('sets'),
  }
  argument = f'ipc={size}{of_cell.pop("recipe", "")}'
  cell = Planned(says, 'cifar10', argument, sets, images=CIFAR10)
  return f'cifar10_{size}_{name}', cell._replace(**of_cell)


def _dm(steps, every):
  return {
    **_ON_THE_WAY,
    'condense.steps': steps,
    'evaluate.validation_every': every,
  }


def _paper_cells():
  """Yields DM and random images at the paper's sizes, the quickest first."""
  for size, networks in ((10, 5), (1, 5), (50, 3)):
    yield _cifar10(
      'DM',
      'dm_5000',
      size,
      networks,
      sets=_dm(5000, 1250),
      beside=paper.find('cifar10', 'dm', size),
    )
    yield _cifar10(
      'random real, same augmentation',
      'random_real',
      size,
      networks,
      sets={'method': 'random'},
      beside=paper.RANDOM_AUGMENTED['cifar10'][size],
    )
    if size == 10:
      yield from _beside()


def _beside():
  """Yields what is laid beside DM at ten images per class."""
  tiled = f'ipc=10:recipe={_RECIPE}'
  tiles = Planned('', 'cifar10', tiled, {}).trained_on(100)
  short = {
    **_ON_THE_WAY,
    'evaluate.validation_every': 250,
    'evaluate.epochs': epochs_within(_EPOCHS, 100, tiles),
  }
  yield _cifar10(
    f'recipe {_RECIPE}',
    'recipe_short',
    10,
    5,
    sets=short,
    recipe=f':recipe={_RECIPE}',
    pool='pool_short_128',
  )
  for program, says in (
    ('dm_jax', 'DM, fewer steps'),
    ('torch', 'DM, a plain PyTorch loop'),
  ):
    yield _cifar10(
      says, f'{program}_1000', 10, 5, sets=_dm(1000, 250), program=program
    )


_SMALL = {'network.width': 32, 'evaluate.networks': 5}
_B = {
  **_SMALL,
  'condense.batch_real': 64,
  'condense.steps': 1000,
  'evaluate.epochs': 300,
}
_C = {
  **_SMALL,
  'condense.batch_real': 64,
  'condense.steps': 500,
  'evaluate.epochs': 100,
}
_BATCH_NORM = {'network.norm': 'batch'}
_RESNET = {**_BATCH_NORM, 'network.name': 'resnet18', 'condense.batch_real': 16}
_F = {
  'condense.steps': 3000,
  'evaluate.epochs': 150,
  'evaluate.pool': 'same,convnet:norm=batch',
}
_H = {
  'pretrain.epochs': 5,
  'evaluate.epochs': 100,
  'evaluate.networks': 3,
}


def _small_budgets():
  """Yields the runs A to H of docs/results.md, "At small budgets"."""
  for letter, config, argument, sets in (
    ('A', 'digits', '', {}),
    ('B', 'cifar10', 'ipc=10', _B),
    ('C', 'mnist', 'ipc=10', _C),
    ('D', 'cifar10', 'ipc=10', {**_B, **_BATCH_NORM}),
    ('E', 'mnist', 'ipc=10', {**_C, **_BATCH_NORM}),
    ('F', 'cifar10', 'ipc=10', {**_SMALL, **_RESNET, **_F}),
    ('G', 'mnist', 'ipc=10', {**_C, **_RESNET, 'condense.steps': 1000}),
    ('H', 'cross_architecture', 'ipc=10', {**_B, **_H}),
  ):
    cell = Planned(letter, config, argument, sets)
    if config in ('cifar10', 'cross_architecture'):
      cell = cell._replace(images=CIFAR10)
    yield f'short_{letter.lower()}', cell


def _small_images():
  """Yields digits, by the recipe, too, and MNIST, beside random images."""
  for size in (1, 10, 50):
    yield f'digits_{size}', Planned('DM', 'digits', f'ipc={size}', {})
  for size in (1, 10):
    argument, stored = f'ipc={size}:recipe={_RECIPE}', 10 * size
    cell = Planned(f'recipe {_RECIPE}', 'digits', argument, {})
    epochs = epochs_within(300, stored, cell.trained_on(stored))
    yield (
      f'digits_{size}_recipe',
      cell._replace(sets={'evaluate.epochs': epochs}),
    )
  for size in (1, 10, 50):
    sets = {**_SMALL, 'condense.steps': 1000, 'evaluate.epochs': 300}
    yield f'mnist_{size}_dm_1000', Planned('DM', 'mnist', f'ipc={size}', sets)


def _many_classes():
  """Yields 100 classes as the plan recipe has them, twice as wide."""
  wider = {'network.width': 64, 'sets': 1, 'evaluate.networks': 3}
  for kind in ('recipe', 'dm', 'random'):
    name = f'tiny_imagenet_10_{kind}'
    cell = recipe_plan.CELLS[name]
    yield (
      f'{name}_64',
      cell._replace(
        sets={**recipe_plan.COMMON, **cell.sets, **wider},
        pool='pool_short_64',
      ),
    )


PAPER = dict(_paper_cells())
SHORT = dict(_small_budgets())
SMALL = dict(_small_images())
MANY = dict(_many_classes())
CELLS: dict[str, Planned] = {**PAPER, **SHORT, **SMALL, **MANY}
# Whose accuracy stands over seconds, in order.
TIMED = (
  'cifar10_10_dm_jax_1000',
  'cifar10_10_torch_1000',
  'cifar10_10_dm_5000',
  'cifar10_10_recipe_short',
)
