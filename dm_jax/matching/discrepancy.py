"""How far the synthetic features of one class are from the real ones.

A discrepancy first keeps what it needs of the real features, for the paper's
their mean, and then compares. It is written for one class; the loss of a step
is its sum over the classes.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dm_jax.errors import choose
from dm_jax.types import Array, Key


class Real(NamedTuple):
  """The features of a batch of real images of one class.

  Attributes:
    features: [B, F].
    weights: [B], 1 for a real image and 0 for padding.
  """

  features: Array
  weights: Array


def no_state(features: jax.ShapeDtypeStruct) -> Any:
  """The state of what has none: a pytree without leaves."""
  return ()


@dataclasses.dataclass(frozen=True)
class Discrepancy:
  """How two sets of features are compared, for one class.

  Attributes:
    compare: (key, state, kept, synthetic [S, F]) -> (loss [], state), the loss
      0 where both sets agree. The key is consumed; the state is the one that
      the class's next step gets.
    keep: `Real` -> a pytree of what `compare` needs of it. By default all.
    init: features of one image, a shape [F] -> the state of a class before its
      first step, a pytree of arrays.
  """

  compare: Callable[[Key, Any, Any, Array], tuple[Array, Any]]
  keep: Callable[[Real], Any] = lambda real: real
  init: Callable[[jax.ShapeDtypeStruct], Any] = no_state


def stateless(
  distance: Callable[[Any, Array], Array],
  keep: Callable[[Real], Any] = lambda real: real,
) -> Discrepancy:
  """Makes a discrepancy of a plain function (kept, synthetic) -> loss."""

  def compare(key, state, kept, synthetic):
    del key
    return distance(kept, synthetic), state

  return Discrepancy(compare, keep)


def mean_features(real: Real) -> Array:
  """Returns the mean [F] of the real features; padding counts nothing."""
  # No matrix product: accelerators would round its inputs, and only these.
  weighted = real.weights[:, None] * real.features
  return weighted.sum(0) / real.weights.sum()


def mean_difference(mean: Array, synthetic: Array) -> Array:
  """The paper's: ‖mean − mean(synthetic)‖², summed over features.

  Args:
    mean: of the real features [F].
    synthetic: features of the synthetic images [S, F].

  Returns:
    A scalar ≥ 0; 0 where the means agree (Eq. 4 with ψ's mean, one class).
  """
  return jnp.square(mean - synthetic.mean(0)).sum()


_DISCREPANCIES = {'mean': stateless(mean_difference, mean_features)}


def register_discrepancy(name: str, discrepancy: Discrepancy) -> None:
  """Lets a discrepancy go by a name in `condense.discrepancy`.

  Args:
    name: one that is there already is replaced.
    discrepancy: equal ones share what is compiled.
  """
  _DISCREPANCIES[name] = discrepancy


def get_discrepancy(name: str) -> Discrepancy:
  """Returns a discrepancy; raises InputError, naming near ones, if unknown."""
  choose('discrepancy', name, _DISCREPANCIES)
  return _DISCREPANCIES[name]
