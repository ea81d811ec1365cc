"""How far the synthetic features of one class are from the real ones.

A discrepancy first keeps what it needs of the real features, for the paper's
their mean, and then compares. It is written for one class; the loss of a step
is its sum over the classes. The distances themselves are in `distances`.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dm_jax.errors import InputError, choose
from dm_jax.matching.distances import (
  Real,
  characteristic_distance,
  covariance_difference,
  kernel_difference,
  mean_difference,
  mean_features,
  spread,
)
from dm_jax.types import Array, Key

_SETTING = 'condense.discrepancy'


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
    least: images of a class, real and synthetic, that it needs.
  """

  compare: Callable[[Key, Any, Any, Array], tuple[Array, Any]]
  keep: Callable[[Real], Any] = lambda real: real
  init: Callable[[jax.ShapeDtypeStruct], Any] = no_state
  least: int = 1


def stateless(
  distance: Callable[[Any, Array], Array],
  keep: Callable[[Real], Any] = lambda real: real,
  least: int = 1,
) -> Discrepancy:
  """Makes a discrepancy of a plain function (kept, synthetic) -> loss."""

  def compare(key, state, kept, synthetic):
    del key
    return distance(kept, synthetic), state

  return Discrepancy(compare, keep, least=least)


def characteristic(frequencies: int = 1024) -> Discrepancy:
  """Compares characteristic functions at random frequencies, new each time.

  Args:
    frequencies: K, at least 1, drawn from N(0, 1); their mean estimates an
      expectation. Of 2048 features the value differs between draws of 1024 by
      2 %, between the source's 4096 by 1 %, and the gradient by more; but 4096
      take four times the work and memory, 8 M normal numbers for each class and
      step: a quarter of a second on a CPU.
  """

  def compare(key, state, real: Real, synthetic):
    shape = (frequencies, synthetic.shape[1])
    drawn = jax.random.normal(key, shape, jnp.float32)
    return characteristic_distance(*real, synthetic, drawn), state

  return Discrepancy(compare)


_DISCREPANCIES = {
  'mean': stateless(mean_difference, mean_features),
  'covariance': stateless(covariance_difference, spread, least=2),
  'mmd': stateless(kernel_difference),
  'characteristic': characteristic(),
}


def register_discrepancy(name: str, discrepancy: Discrepancy) -> None:
  """Lets a discrepancy go by a name in `condense.discrepancy`.

  Args:
    name: one that is there already is replaced; without a comma or colon.
    discrepancy: equal ones share what is compiled.

  Raises:
    InputError: the name could not be told from several, or from a weight.
  """
  if {',', ':'} & set(name) or name != name.strip():
    raise InputError(
      f'a discrepancy named {name!r} cannot stand in {_SETTING}: leave out'
      ' commas, colons and outer spaces'
    )
  _DISCREPANCIES[name] = discrepancy


def get_discrepancy(name: str) -> Discrepancy:
  """Returns a discrepancy; raises InputError, naming near ones, if unknown."""
  choose('discrepancy', name, _DISCREPANCIES, setting=_SETTING)
  return _DISCREPANCIES[name]


class Weighted(NamedTuple):
  """One of the discrepancies of a loss.

  Attributes:
    name: by which it is logged.
    discrepancy: of that name.
    weight: that its value is multiplied by, > 0.
  """

  name: str
  discrepancy: Discrepancy
  weight: float


def parse_discrepancies(text: str) -> tuple[Weighted, ...]:
  """Reads `condense.discrepancy`: names, with weights where they are not 1.

  Args:
    text: e.g. `mean`, `mean,covariance:50` or `characteristic:300`.

  Returns:
    At least one, in the order given.

  Raises:
    InputError: an unknown name (naming near ones), one that stands there twice,
      or a weight that is not a positive finite number.
  """
  found: dict[str, Weighted] = {}
  for part in text.split(','):
    name, colon, weight = (piece.strip() for piece in part.partition(':'))
    discrepancy = get_discrepancy(name)
    if name in found:
      raise InputError(
        f'{_SETTING} {text!r} has {name} twice: leave one', setting=_SETTING
      )
    factor = _weight(name, weight) if colon else 1.0
    found[name] = Weighted(name, discrepancy, factor)
  return tuple(found.values())


def check_images(text: str, real: int, synthetic: int) -> None:
  """Raises InputError if a discrepancy needs more images of a class.

  Args:
    text: `condense.discrepancy`.
    real: images in the smallest batch of a class.
    synthetic: training images of a class in the smallest set.
  """
  for name, discrepancy, _ in parse_discrepancies(text):
    least = discrepancy.least
    needs = f'{_SETTING} {name} needs at least {least}'
    if synthetic < least:
      raise InputError(
        f'{needs} synthetic images of each class, got {synthetic}: raise'
        ' condense.images_per_class, or take a condense.storage that holds'
        ' several in one',
        setting=_SETTING,
      )
    if real < least:
      raise InputError(
        f'{needs} real images of each class, got {real}: raise'
        ' condense.batch_real, or leave out the classes that have fewer',
        setting=_SETTING,
      )


def _weight(name: str, text: str) -> float:
  """Reads the weight of a discrepancy."""
  try:
    weight = float(text)
  except ValueError:
    weight = 0.0
  if not 0 < weight < float('inf'):
    raise InputError(
      f'the weight of {name} in {_SETTING} must be above 0 and finite, got'
      f' {text!r}: write e.g. {name}:50',
      setting=_SETTING,
    )
  return weight
