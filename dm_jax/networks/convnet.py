"""The paper's ConvNet: depth × [3×3 convolution, norm, activation, pooling]."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dm_jax.config import NetworkConfig
from dm_jax.networks.convolution import Convolution, Linear
from dm_jax.types import Array, ImageShape, InputError

_EPSILON = 1e-5  # PyTorch's, for every norm.
_PADDED = (28, 28, 1)  # Images that the original pads to 32×32.


def _leaky_relu(inputs: Array) -> Array:
  return jax.nn.leaky_relu(inputs, 0.01)


ACTIVATIONS = {
  'relu': jax.nn.relu,
  'sigmoid': jax.nn.sigmoid,
  'leaky_relu': _leaky_relu,
  'swish': jax.nn.silu,
}


def make_norm(norm: str, train: bool) -> nn.Module:
  """Returns the layer; `instance` is group norm with a group per channel."""
  precise = {'epsilon': _EPSILON, 'use_fast_variance': False}
  if norm == 'instance':
    return nn.InstanceNorm(**precise)
  if norm == 'batch':
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, **precise)
  if norm == 'layer':
    # Over height, width and channels, each position with its own scale.
    axes = (-3, -2, -1)
    return nn.LayerNorm(reduction_axes=axes, feature_axes=axes, **precise)
  return nn.GroupNorm(num_groups=4, **precise)


def average_pool(images: Array) -> Array:
  """2×2 means with stride 2; an odd last row or column is left out."""
  return nn.avg_pool(images, (2, 2), (2, 2))


def max_pool(images: Array) -> Array:
  """2×2 maxima with stride 2; an odd last row or column is left out."""
  return nn.max_pool(images, (2, 2), (2, 2))


POOLINGS = {'avg': average_pool, 'max': max_pool, 'none': lambda x: x}


class ConvNet(nn.Module):
  """The paper's ConvNet (Sec. 4.1), for images [N, H, W, D]."""

  config: NetworkConfig
  classes: int

  @nn.compact
  def __call__(self, images: Array, train: bool) -> tuple[Array, Array]:
    """Returns (features [N, F], logits [N, C])."""
    config = self.config
    if images.shape[1:] == _PADDED:
      # The original pads its first convolution by 3, so that features start
      # at 32×32: 2 here, and 1 as everywhere in the convolution.
      images = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    for _ in range(config.depth):
      images = Convolution(config.width)(images)
      if config.norm != 'none':
        images = make_norm(config.norm, train)(images)
      images = ACTIVATIONS[config.activation](images)
      images = POOLINGS[config.pooling](images)
    features = images.reshape(images.shape[0], -1)
    return features, Linear(self.classes)(features)


def check_convnet(config: NetworkConfig, image_shape: ImageShape) -> None:
  """Raises InputError if the ConvNet cannot take images of this shape."""
  padded = tuple(image_shape) == _PADDED
  side = 32 if padded else min(image_shape[:2])
  deepest = side.bit_length() - 1
  if config.pooling != 'none' and config.depth > deepest:
    raise InputError(
      f'network.depth {config.depth} is too deep for images of'
      f' {image_shape[0]}×{image_shape[1]} pixels: each layer halves them; use'
      + (f' a depth of at most {deepest}, or' if deepest else '')
      + ' network.pooling none'
    )
  if config.norm == 'group' and config.width % 4:
    raise InputError(
      f'network.norm group needs a width that 4 divides, got {config.width}'
    )
