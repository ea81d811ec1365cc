"""Between uint8 and normalised floats."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from dm_jax.types import Array


def normalise(
  images: Array | np.ndarray, mean: Sequence[float], std: Sequence[float]
) -> Array:
  """Returns (images / 255 - mean) / std.

  Args:
    images: uint8 [..., D].
    mean: per channel, in unit range, D values.
    std: the same for the deviation.

  Returns:
    float32, normalised [..., D].
  """
  return normalise_unit(to_unit(images), mean, std)


def to_unit(images: Array | np.ndarray) -> Array:
  """Returns uint8 images as float32 in [0, 1]."""
  return jnp.asarray(images).astype(jnp.float32) / 255


def normalise_unit(
  images: Array | np.ndarray, mean: Sequence[float], std: Sequence[float]
) -> Array:
  """Returns (images - mean) / std.

  Args:
    images: float, unit [..., D].
    mean: per channel, in unit range, D values.
    std: the same for the deviation.

  Returns:
    float32, normalised [..., D].
  """
  unit = jnp.asarray(images).astype(jnp.float32)
  return (unit - _per_channel(mean, unit.ndim)) / _per_channel(std, unit.ndim)


def denormalise(
  images: Array | np.ndarray, mean: Sequence[float], std: Sequence[float]
) -> Array:
  """Inverts `normalise`, rounding to the nearest level and clipping.

  Args:
    images: float, normalised [..., D].
    mean: per channel, in unit range, D values.
    std: the same for the deviation.

  Returns:
    uint8 [..., D].
  """
  images = jnp.asarray(images).astype(jnp.float32)
  rank = images.ndim
  unit = images * _per_channel(std, rank) + _per_channel(mean, rank)
  return jnp.clip(jnp.round(unit * 255), 0, 255).astype(jnp.uint8)


def clip(images: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
  """Keeps normalised images [..., D] between black and white."""
  shift, scale = (_per_channel(v, images.ndim) for v in (mean, std))
  return jnp.clip(images, -shift / scale, (1 - shift) / scale)


def mid_grey(mean: Sequence[float], std: Sequence[float]) -> Array:
  """Returns 0.5 of unit range, normalised float32 [D]."""
  return (0.5 - _per_channel(mean, 1)) / _per_channel(std, 1)


def _per_channel(values: Sequence[float], rank: int) -> Array:
  """Returns float32 [1, …, 1, D]: the caller may forbid rank promotion."""
  return jnp.asarray(values, jnp.float32).reshape((1,) * (rank - 1) + (-1,))
