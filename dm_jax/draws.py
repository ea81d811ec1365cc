"""Random draws of one class: its keys, and images without replacement."""

import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.types import AnyArray, Array, Key


def class_keys(key: Key, numbers: AnyArray) -> Key:
  """Returns keys [C] for the classes of these numbers, int32 [C]."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def draw(
  key: Key, count: AnyArray | int, capacity: int, size: int
) -> tuple[Array, Array]:
  """Draws images of one class without replacement.

  Args:
    key: is consumed.
    count: int32 [], the images that the class has, the first of `capacity`.
    capacity: rows that the class is padded to.
    size: how many to draw.

  Returns:
    Indices int32 [min(size, capacity)] and weights float32 of the same shape:
    1, and 0 for the surplus where the class has fewer images than that.
  """
  scores = jax.random.uniform(key, (capacity,), jnp.float32)
  present = jnp.arange(capacity, dtype=jnp.int32) < count
  scores = jnp.where(present, scores, -1.0)
  _, indices = lax.top_k(scores, min(size, capacity))
  return indices, (indices < count).astype(jnp.float32)
