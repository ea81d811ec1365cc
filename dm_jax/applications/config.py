"""Settings of the applications."""

import dataclasses

from dm_jax.config.fields import at_least, check_types
from dm_jax.errors import choose

STORES = ('uint8', 'float32')
SPACES = ('paper', 'small')


@dataclasses.dataclass(frozen=True)
class ContinualConfig:
  """Class-incremental learning: classes arrive in groups, a memory grows.

  Attributes:
    steps: equally large groups in which the classes arrive.
    orders: orders of the classes; order s is
      `numpy.random.RandomState(s).permutation(C)`.
    budget_bytes: of the whole memory at every step; images per class shrink as
      classes arrive, from `condense.images_per_class` at most. 0 is no budget.
    store: how the memory keeps its images, uint8 (as real images are kept, one
      byte a value: synthetic ones are rounded and clipped to it) or float32.
  """

  steps: int = 10
  orders: int = 5
  budget_bytes: int = 0
  store: str = 'uint8'

  def __post_init__(self):
    check_types(self)
    at_least(
      1, **{'continual.steps': self.steps, 'continual.orders': self.orders}
    )
    at_least(0, **{'continual.budget_bytes': self.budget_bytes})
    choose('continual.store', self.store, STORES)


@dataclasses.dataclass(frozen=True)
class SearchConfig:
  """Architecture search: a small set ranks networks in place of the whole one.

  Attributes:
    space: the networks, see `architecture_search.SPACES`.
    early_stopping: whether networks are also ranked by training on the whole
      set for no more steps than on the small one.
  """

  space: str = 'paper'
  early_stopping: bool = True

  def __post_init__(self):
    check_types(self)
    choose('search.space', self.space, SPACES)
