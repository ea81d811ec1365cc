"""The summands of a class's loss, each a function of the network's outputs."""

from collections.abc import Callable
import dataclasses
from typing import Any, cast

import jax

from dm_jax.errors import InputError
from dm_jax.matching.discrepancy import Discrepancy, Real
from dm_jax.types import Array, Key, Outputs


@dataclasses.dataclass(frozen=True)
class Term:
  """One summand of the loss, for one class.

  Attributes:
    compare: (key, state, kept, synthetic, label) -> (loss [], state). The
      synthetic images' `Outputs` have a leading S; `label`, int32 [], is the
      class's index among the network's logits. The key is consumed.
    reads: the fields of `Outputs` that it looks at; the others are None, and
      are not computed.
    keep: (real images' `Outputs` with a leading B, weights [B], 0 for padding)
      -> what `compare` needs of them. None: the term reads no real image.
    init: one image's `Outputs`, as shapes -> the state of a class, a pytree of
      arrays of numbers (of a PRNG key its `jax.random.key_data`).
    weight: what the loss is multiplied by.
  """

  compare: Callable[[Key, Any, Any, Outputs, Array], tuple[Array, Any]]
  reads: tuple[str, ...] = ('features',)
  keep: Callable[[Outputs, Array], Any] | None = None
  init: Callable[[Outputs], Any] = lambda outputs: ()
  weight: float = 1.0


def of_features(discrepancy: Discrepancy) -> Term:
  """Makes a term of a discrepancy between features."""

  def keep(real: Outputs, weights: Array) -> Any:
    return discrepancy.keep(Real(real.features, weights))

  def compare(key, state, kept, synthetic: Outputs, label):
    del label
    return discrepancy.compare(key, state, kept, synthetic.features)

  def init(outputs: Outputs) -> Any:
    return discrepancy.init(cast(Any, outputs.features))

  return Term(compare, keep=keep, init=init)


@dataclasses.dataclass(frozen=True)
class Terms:
  """The loss of a class: the sum of its terms.

  Attributes:
    named: (name, term) in the order in which they are added up.
  """

  named: tuple[tuple[str, Term], ...]

  def __post_init__(self):
    if len(set(self.names)) < len(self.named):
      raise InputError(
        f'the terms of a loss need different names, got {", ".join(self.names)}'
      )

  @property
  def names(self) -> tuple[str, ...]:
    return tuple(name for name, _ in self.named)

  @property
  def kept_names(self) -> tuple[str, ...]:
    """Those that compare with something of real images."""
    return tuple(name for name, term in self.named if term.keep is not None)

  @property
  def read_of_real(self) -> frozenset[str]:
    """The fields of `Outputs` that are needed of real images."""
    kept = (term.reads for _, term in self.named if term.keep is not None)
    return frozenset().union(*kept)

  @property
  def read_of_synthetic(self) -> frozenset[str]:
    """The fields of `Outputs` that are needed of synthetic images."""
    return frozenset().union(*(term.reads for _, term in self.named))

  def init(self, outputs: Outputs) -> dict[str, Any]:
    """Returns the state of every term before a class's first step."""
    return {name: term.init(outputs) for name, term in self.named}

  def keep(self, real: Outputs, weights: Array) -> dict[str, Any]:
    """Returns what every term keeps of a batch of real images of one class."""
    return {
      name: None if term.keep is None else term.keep(real, weights)
      for name, term in self.named
    }

  def compare(
    self,
    key: Key,
    states: dict[str, Any],
    kept: dict[str, Any],
    synthetic: Outputs,
    label: Array,
  ) -> tuple[dict[str, Array], dict[str, Any]]:
    """Returns the terms' losses, each times its weight, and their new states.

    Args:
      key: of the class in this step; is consumed.
      states: by term.
      kept: of the real images, by term.
      synthetic: of the class's images, with a leading S.
      label: int32 [], see `Term`.
    """
    losses, after = {}, {}
    for i, (name, term) in enumerate(self.named):
      loss, after[name] = term.compare(
        jax.random.fold_in(key, i), states[name], kept[name], synthetic, label
      )
      losses[name] = loss if term.weight == 1 else term.weight * loss
    return losses, after
