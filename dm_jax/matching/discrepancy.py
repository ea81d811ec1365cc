"""How far two sets of features are apart: (real, synthetic, weights) -> scalar.

A discrepancy is written for one class. The loss of a step is its sum over the
classes.
"""

import jax.numpy as jnp

from dm_jax.errors import choose
from dm_jax.types import Array, Discrepancy


def mean_difference(real: Array, synthetic: Array, weights: Array) -> Array:
  """The paper's: ‖mean(real) − mean(synthetic)‖², summed over features.

  Args:
    real: features of the real images [B, F].
    synthetic: features of the synthetic images [S, F].
    weights: [B], 1 for a real image and 0 for padding.

  Returns:
    A scalar ≥ 0; 0 where the means agree (Eq. 4 with ψ's mean, one class).
  """
  # No matrix product: accelerators would round its inputs, and only these.
  real_mean = (weights[:, None] * real).sum(0) / weights.sum()
  return jnp.square(real_mean - synthetic.mean(0)).sum()


DISCREPANCIES: dict[str, Discrepancy] = {'mean': mean_difference}


def get_discrepancy(name: str) -> Discrepancy:
  """Returns a discrepancy; raises InputError, naming near ones, if unknown."""
  choose('discrepancy', name, DISCREPANCIES)
  return DISCREPANCIES[name]
