"""What sets are used for, by the paper's method and by the recipe.

`benchmarks/results.py --plan=applications` runs these: classes that arrive in
groups, on MNIST and on 100 classes of Tiny ImageNet, and a search among 24
networks. All take a ConvNet of width 32 and a recipe for a CPU. Networks are
trained for about as many steps whatever a stored image holds. Each group of a
stream trains a pool of its own: the other classes are not there.
"""

from typing import Any

from dm_jax.configs.results.planned import (
  TINY_IMAGENET,
  Planned,
  epochs_covering,
)

RECORD = 'applications'
COMMON = {'network.width': 32}
COMMANDS = {}

_RECIPE = 'trajectory_short'
_SAYS = {'paper': 'DM', _RECIPE: f'recipe {_RECIPE}'}
_SELECTED = {'paper': 'random,herding', _RECIPE: 'random'}


def _pair(
  name: str,
  config: str,
  argument: str,
  *,
  stored: int,
  epochs: int,
  sets: dict[str, Any],
  of_paper: dict[str, Any] | None = None,
  of_recipe: dict[str, Any] | None = None,
  **of_cell: Any,
) -> dict[str, Planned]:
  """Returns an application with the paper's method and with the recipe.

  Args:
    name: that their names begin with.
    config: of configs/.
    argument: of that config, without the recipe.
    stored: images that are judged together at the end.
    epochs: of judging the recipe's.
    sets: settings of both.
    of_paper: of the paper's run alone.
    of_recipe: of the recipe's.
    **of_cell: see `Planned`.
  """
  arguments = {
    made_by: ':'.join(filter(None, (argument, f'recipe={made_by}')))
    for made_by in _SAYS
  }
  tiles = Planned('', config, arguments[_RECIPE], {}).trained_on(stored)
  each = {
    'paper': ('dm', epochs_covering(epochs, tiles, stored), of_paper or {}),
    _RECIPE: ('recipe', epochs, of_recipe or {}),
  }
  cells = {}
  for made_by, (suffix, trained, own) in each.items():
    settings = {
      **sets,
      'evaluate.baselines': _SELECTED[made_by],
      'evaluate.epochs': trained,
      **own,
    }
    cells[f'{name}_{suffix}'] = Planned(
      _SAYS[made_by], config, arguments[made_by], settings, **of_cell
    )
  return cells


SEARCH_MNIST = _pair(
  'search_mnist',
  'search_mnist',
  '',
  stored=100,
  epochs=49,
  sets={},
)
CONTINUAL_MNIST = _pair(
  'continual_mnist',
  'continual_mnist',
  '',
  stored=100,
  epochs=151,
  sets={},
  pool='',
)
CONTINUAL_TINY = _pair(
  'continual_tiny',
  'continual_cifar100',
  'steps=5',
  stored=2000,
  epochs=10,
  sets={
    'network.depth': 3,
    'condense.steps': 500,
    'continual.orders': 2,
    'evaluate.networks': 2,
  },
  of_paper={'condense.batch_real': 32, 'pretrain.epochs': 5},
  # Of all 180 training images of each of 20 classes a step would take too long
  # on a CPU: as many as the recipe takes from 50 stored ones on.
  of_recipe={'condense.decoded_at_once': 40},
  images=TINY_IMAGENET,
  pool='',
)
CELLS: dict[str, Planned] = {
  **SEARCH_MNIST,
  **CONTINUAL_MNIST,
  **CONTINUAL_TINY,
}
