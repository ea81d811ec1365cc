"""Settings of the applications."""

import dataclasses

from dm_jax.config.fields import Section, setting

STORES = ('uint8', 'float32')
SPACES = ('paper', 'small')


@dataclasses.dataclass(frozen=True)
class ContinualConfig(Section, prefix='continual.'):
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

  steps: int = setting(10, at_least=1)
  orders: int = setting(5, at_least=1)
  budget_bytes: int = setting(0, at_least=0)
  store: str = setting('uint8', choices=STORES)


@dataclasses.dataclass(frozen=True)
class SearchConfig(Section, prefix='search.'):
  """Architecture search: a small set ranks networks in place of the whole one.

  Attributes:
    space: the networks, see `applications.search`.
    early_stopping: whether networks are also ranked by training on the whole
      set for no more steps than on the small one.
  """

  space: str = setting('paper', choices=SPACES)
  early_stopping: bool = True
