"""The paper's ConvNet: depth × [3×3 convolution, norm, activation, pooling]."""

import flax.linen as nn

from dm_jax.config import NetworkConfig
from dm_jax.networks.batch_norm import Batch
from dm_jax.networks.layers import (
  ACTIVATIONS,
  POOLINGS,
  Convolution,
  Linear,
  Norm,
  flatten,
  pad_digits,
  padded_shape,
)
from dm_jax.types import Array, ImageShape, InputError


class ConvNet(nn.Module):
  """The paper's ConvNet (Sec. 4.1), for images [N, H, W, D]."""

  config: NetworkConfig
  classes: int

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> tuple[Array, Array]:
    """Returns (features [N, F], logits [N, C])."""
    config = self.config
    images = pad_digits(images)
    for _ in range(config.depth):
      images = Convolution(config.width)(images)
      images = Norm(config.norm)(images, batch)
      images = ACTIVATIONS[config.activation](images)
      images = POOLINGS[config.pooling](images)
    features = flatten(images)
    return features, Linear(self.classes)(features)


def check_convnet(config: NetworkConfig, image_shape: ImageShape) -> None:
  """Raises InputError if the ConvNet cannot take images of this shape."""
  side = min(padded_shape(image_shape)[:2])
  deepest = side.bit_length() - 1
  if config.pooling != 'none' and config.depth > deepest:
    raise InputError(
      f'network.depth {config.depth} is too deep for images of'
      f' {image_shape[0]}×{image_shape[1]} pixels: each layer halves them; use'
      + (f' a depth of at most {deepest}, or' if deepest else '')
      + ' network.pooling none'
    )
