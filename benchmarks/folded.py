"""ConvNets with networks folded into channels: [N, H, W, K · D], K networks.

The same as mapping over their parameters by `vmap`, whose convolutions are
grouped ones, too, but between them the networks stay where they are: nothing is
transposed. For the paper's ConvNet alone: instance norm, ReLU, mean pooling.
"""

from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.networks.layers import average_pool
from dm_jax.types import Array

_LAYOUT = ('NHWC', 'HWIO', 'NHWC')
_EPSILON = 1e-5


def folded_logits(variables: Any, images: Array) -> Array:
  """Classifies a batch of each network by that network.

  Args:
    variables: of K ConvNets, each leaf with a leading K.
    images: normalised float32 [K, N, H, W, D].

  Returns:
    float32 [K, N, C].
  """
  params = variables['params']
  networks, count = images.shape[:2]
  depth = sum(name.startswith('Convolution') for name in params)
  images = _fold(images)
  for layer in range(depth):
    images = _convolve(params[f'Convolution_{layer}'], images, networks)
    (norm,) = params[f'Norm_{layer}'].values()
    images = average_pool(jax.nn.relu(_normalise(norm, images)))
  side = images.shape[1:3]
  apart = images.reshape(count, *side, networks, -1)
  features = jnp.moveaxis(apart, 3, 0).reshape(networks, count, -1)
  linear = params['Linear_0']
  return features @ linear['kernel'] + linear['bias'][:, None]


def _fold(images: Array) -> Array:
  """[K, N, H, W, D] -> [N, H, W, K · D]."""
  moved = jnp.moveaxis(images, 0, 3)
  return moved.reshape(*moved.shape[:3], -1)


def _convolve(layer: Any, images: Array, networks: int) -> Array:
  kernel = jnp.moveaxis(layer['kernel'], 0, 3)  # [k, k, D, K, F].
  images = lax.conv_general_dilated(
    images,
    kernel.reshape(*kernel.shape[:3], -1),
    (1, 1),
    'SAME',
    dimension_numbers=_LAYOUT,
    feature_group_count=networks,
  )
  return images + layer['bias'].reshape(1, 1, 1, -1)


def _normalise(norm: Any, images: Array) -> Array:
  mean = images.mean((1, 2), keepdims=True)
  variance = ((images - mean) ** 2).mean((1, 2), keepdims=True)
  images = (images - mean) * lax.rsqrt(variance + _EPSILON)
  scale, bias = (norm[name].reshape(1, 1, 1, -1) for name in ('scale', 'bias'))
  return images * scale + bias
