"""What networks reached on each set.

An evaluation is one method, one size and one network, over all sets and all
networks trained; while a run goes on, it may be partial.
"""

from collections.abc import Sequence
import dataclasses
import itertools
from typing import Self

import numpy as np

from dm_jax.words import method_name, plural, plus_minus


@dataclasses.dataclass(frozen=True)
class Case:
  """What is evaluated: images made in one way, and the network they train.

  A run has one evaluation of each case. What else images may be made with later
  is a further field here, whose default is what earlier files mean.

  Attributes:
    method: that made the images, e.g. dm.
    network: label of the network trained on them, e.g. vgg11:norm=batch.
    images_per_class: how many; None for the whole set.
    protocol: under which the network is trained. Files that name none may be of
      another than dm, see `results.from_json`.
  """

  method: str
  network: str
  images_per_class: int | None = None
  protocol: str = 'dm'

  @property
  def name(self) -> str:
    """The set in words, e.g. DM, 10 per class."""
    method = method_name(self.method)
    if self.images_per_class is None:
      return method
    return f'{method}, {self.images_per_class} per class'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(Case):
  """How well the networks of a case do on the test set.

  Attributes:
    accuracies: for each independent set that of each network, in [0, 1].
    mean: over all of these.
    std: over all of these, the deviation of the population.
  """

  accuracies: tuple[tuple[float, ...], ...] = ()
  mean: float
  std: float | None = None

  @classmethod
  def of(cls, case: Case, accuracies: Sequence[Sequence[float]]) -> Self:
    """Makes an evaluation of a case.

    Args:
      case: what is evaluated.
      accuracies: of each network by set, at least one.
    """
    sets = tuple(map(tuple, accuracies))
    flat = [*itertools.chain(*sets)]
    mean, std = float(np.mean(flat)), float(np.std(flat))
    names = (field.name for field in dataclasses.fields(Case))
    return cls(
      **{name: getattr(case, name) for name in names},
      accuracies=sets,
      mean=mean,
      std=std,
    )

  @property
  def case(self) -> Case:
    names = (field.name for field in dataclasses.fields(Case))
    return Case(**{name: getattr(self, name) for name in names})

  @property
  def flat(self) -> tuple[float, ...]:
    """The accuracy of every network, in [0, 1]."""
    return tuple(itertools.chain.from_iterable(self.accuracies))

  @property
  def deviation(self) -> float | None:
    """None for one network: ± 0.0 would look like certainty."""
    return None if len(self.flat) == 1 else self.std

  @property
  def count(self) -> str:
    """E.g. 5 sets × 20 networks; '' if it is not known."""
    sizes = [len(accuracies) for accuracies in self.accuracies if accuracies]
    if not sizes:
      return ''
    sets, even = plural(len(sizes), 'set'), len(set(sizes)) == 1
    if even:
      return f'{sets} × {plural(sizes[0], "network")}'
    return f'{sets}, {plural(sum(sizes), "network")} in all'

  def __str__(self) -> str:
    """Returns e.g. 92.3 ± 0.4."""
    return plus_minus(self.mean, self.deviation)
