"""A term of the loss: how well trained networks classify synthetic images."""

import jax.numpy as jnp
import optax

from dm_jax.matching.terms import Term
from dm_jax.types import Array, Key, Outputs

CROSS_ENTROPY = 'cross_entropy'  # Its name.


def cross_entropy(weight: float) -> Term:
  """Makes the term; equal weights give equal terms.

  It is the mean cross entropy of a class's synthetic images under the step's
  network, or the second of a pair, and reads no real image.

  Args:
    weight: what it is multiplied by, above 0.

  Source: DANCE and TGDD add it to the mean's discrepancy.
  """
  return Term(_compare, reads=('logits',), weight=weight)


def _compare(
  key: Key, state: tuple[()], kept: None, synthetic: Outputs, label: Array
) -> tuple[Array, tuple[()]]:
  del key, kept
  labels = jnp.full(len(synthetic.logits), label)
  losses = optax.softmax_cross_entropy_with_integer_labels(
    synthetic.logits, labels
  )
  return losses.mean(), state
