"""How two rankings of the same networks agree."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

from dm_jax.arguments import describe
from dm_jax.errors import InputError

# Correlations are also taken among this share of the networks, the small set's
# best ones: it is among them that a search chooses.
SHARES = (1.0, 0.05, 0.1, 0.2)


@dataclasses.dataclass(frozen=True)
class Correlation:
  """How two rankings agree among the best networks of one of them.

  Attributes:
    share: of the networks, in (0, 1].
    networks: how many those are.
    spearman: rank correlation, in [-1, 1]; None where it is not defined: for
      less than two networks, or if all have one accuracy.
    kendall: tau-b, the same way.
  """

  share: float
  networks: int
  spearman: float | None
  kendall: float | None


@dataclasses.dataclass(frozen=True)
class Agreement:
  """What a ranking is worth.

  Attributes:
    groups: the correlations for each of `SHARES`.
    picked: the network that the ranking puts first.
    picked_accuracy: its real accuracy, in [0, 1].
    best: the network that is really first.
    best_accuracy: its real accuracy.
  """

  groups: tuple[Correlation, ...]
  picked: Any
  picked_accuracy: float
  best: Any
  best_accuracy: float


def compare_rankings(
  small: Mapping[Any, float], real: Mapping[Any, float]
) -> Agreement:
  """Says how well the small set's ranking foretells the real one.

  Args:
    small: by network, or its name, its accuracy (on validation images) when
      trained on the small set, in [0, 1].
    real: by network, its accuracy (on test images) when trained on the whole
      set. At least one network, the same ones.

  Returns:
    Rank correlations among all and among the small set's best, and the network
    that the small set picks beside the real best. Ties go to the first of
    `small`.

  Raises:
    InputError: the two are not of the same networks.
  """
  for ranking in (small, real):
    if not isinstance(ranking, Mapping):
      raise InputError(
        'a ranking must be a dict of accuracies by network, got'
        f' {describe(ranking)}'
      )
  if small.keys() != real.keys() or not small:
    raise InputError(
      f'rankings are compared of the same networks, got {len(small)} and'
      f' {len(real)}, {len(small.keys() & real.keys())} of them in both'
    )
  names = sorted(small, key=lambda name: -small[name])  # Stable.
  picked, best = names[0], max(small, key=lambda name: real[name])
  return Agreement(
    tuple(_correlate(names, small, real, share) for share in SHARES),
    picked,
    real[picked],
    best,
    real[best],
  )


def _correlate(
  names: Sequence[Any],
  small: Mapping[Any, float],
  real: Mapping[Any, float],
  share: float,
) -> Correlation:
  # Imported here: it takes long, and only a search needs it.
  from scipy import stats

  chosen = names[: math.ceil(share * len(names))]
  a, b = [small[name] for name in chosen], [real[name] for name in chosen]
  if len(set(a)) < 2 or len(set(b)) < 2:
    return Correlation(share, len(chosen), None, None)
  return Correlation(
    share,
    len(chosen),
    float(stats.spearmanr(a, b).statistic),
    float(stats.kendalltau(a, b).statistic),
  )
