"""DD-Ranking's scores of a set, by their documented formulas.

Accuracies are fractions in [0, 1], so the scores are in [0, 1], too. (Its code
puts percent into them, so what it prints are other numbers.)
"""

import dataclasses
import math
from typing import NamedTuple, Self


class Accuracies(NamedTuple):
  """Mean test accuracies of networks, in [0, 1], by what they are trained on.

  Attributes:
    synthetic: the set, labelled by its classes.
    random: as many real images drawn at random.
    whole: all real images.
    synthetic_bare: the set, without augmentation.
    random_bare: the random images, without augmentation.
  """

  synthetic: float
  random: float
  whole: float
  synthetic_bare: float
  random_bare: float


def label_robust(
  synthetic: float, random: float, whole: float, weight: float = 0.5
) -> float:
  """Returns LRS: how much of the whole set's accuracy needs no soft labels.

  With the improvement over random I = synthetic - random, and what is lost
  against the whole set, L = whole - synthetic, it is scaled(w·I - (1 - w)·L).

  Args:
    synthetic: see `Accuracies`, also for the next two.
    random: as above.
    whole: as above.
    weight: w, of the improvement over random.
  """
  over_random, lost = synthetic - random, whole - synthetic
  return scaled(weight * over_random - (1 - weight) * lost)


def augmentation_robust(accuracies: Accuracies, weight: float = 0.5) -> float:
  """Returns ARS: how little a set's worth hangs on augmentation.

  Args:
    accuracies: with augmentation and without.
    weight: of the improvement over random with augmentation.
  """
  augmented = accuracies.synthetic - accuracies.random
  bare = accuracies.synthetic_bare - accuracies.random_bare
  return scaled(weight * augmented + (1 - weight) * bare)


def scaled(difference: float) -> float:
  """Returns (e^x - 1/e) / (e - 1/e): -1 to 1 becomes 0 to 1."""
  least = math.exp(-1)
  return (math.exp(difference) - least) / (math.e - least)


@dataclasses.dataclass(frozen=True)
class Score:
  """How a set did.

  Attributes:
    label_robust: LRS.
    augmentation_robust: ARS.
    synthetic: accuracy in [0, 1], see `Accuracies`, also for those below.
    random: as above.
    whole: as above.
    synthetic_bare: as above.
    random_bare: as above.
  """

  label_robust: float
  augmentation_robust: float
  synthetic: float
  random: float
  whole: float
  synthetic_bare: float
  random_bare: float

  @classmethod
  def of(cls, accuracies: Accuracies) -> Self:
    return cls(
      label_robust(*accuracies[:3]),
      augmentation_robust(accuracies),
      **accuracies._asdict(),
    )
