"""Batch norm whose batch may hold padding and may be sharded over devices."""

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.types import Array, Batch

_EPSILON = 1e-5  # PyTorch's.
_MOMENTUM = 0.1  # PyTorch's: the share of the new batch.


class BatchNorm(nn.Module):
  """Batch norm over [N, H, W, D] as PyTorch's, its running variance unbiased.

  Linen's own has neither the unbiased variance nor, where each device holds
  another number of padded images, the right mean over devices.
  """

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> Array:
    features = images.shape[-1:]
    # Not the default type, which a caller may have set to float64.
    typed = features, jnp.float32
    zeros, ones = nn.initializers.zeros, nn.initializers.ones
    scale = self.param('scale', ones, *typed)
    bias = self.param('bias', zeros, *typed)
    running_mean = self.variable('batch_stats', 'mean', zeros, None, *typed)
    running_var = self.variable('batch_stats', 'var', ones, None, *typed)
    if batch.train:
      mean, variance, count = batch_statistics(images, batch)
      if not self.is_initializing():
        unbiased = variance * count / jnp.maximum(count - 1, 1)
        running_mean.value += _MOMENTUM * (mean - running_mean.value)
        running_var.value += _MOMENTUM * (unbiased - running_var.value)
    else:
      mean, variance = running_mean.value, running_var.value
    factor = scale * lax.rsqrt(variance + _EPSILON)
    normalised = (images - _last(mean)) * _last(factor) + _last(bias)
    # Statistics are computed in float32 at least; the result has the input's
    # precision.
    return normalised.astype(images.dtype)


def batch_statistics(images: Array, batch: Batch) -> tuple[Array, Array, Array]:
  """Returns mean [D], biased variance [D] and the number of values, float [].

  Args:
    images: float [N, H, W, D].
    batch: which images count, and the axis that the batch is sharded over.
  """
  weights = batch.weights
  if weights is None:
    precise = jnp.promote_types(images.dtype, jnp.float32)
    weights = jnp.ones(images.shape[:1], precise)
  pixels = images.shape[1] * images.shape[2]
  weights = weights.reshape(-1, 1, 1, 1)

  def total(values: Array) -> Array:
    return values if batch.axis is None else lax.psum(values, batch.axis)

  # Never below 1, so that a device that holds only padding divides by it.
  count = jnp.maximum(total(weights.sum() * pixels), 1)
  mean = total((images * weights).sum((0, 1, 2))) / count
  squares = jnp.square(images - _last(mean)) * weights
  return mean, total(squares.sum((0, 1, 2))) / count, count


def _last(values: Array) -> Array:
  """[D] -> [1, 1, 1, D]."""
  return jax.lax.expand_dims(values, (0, 1, 2))
