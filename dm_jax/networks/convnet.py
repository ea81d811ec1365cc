"""The paper's ConvNet: depth × [3×3 convolution, norm, activation, pooling]."""

from collections.abc import Callable

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.config.sections import NetworkConfig
from dm_jax.errors import InputError
from dm_jax.networks.layers import (
  ACTIVATIONS,
  POOLINGS,
  Convolution,
  Forward,
  Linear,
  Norm,
  flatten,
  pad_digits,
  padded_shape,
)
from dm_jax.types import Array, Batch, ImageShape

# The collection that says which of several variants a network is.
VARIANT = 'variant'


class ConvNet(nn.Module):
  """The paper's ConvNet (Sec. 4.1), for images [N, H, W, D].

  Attributes:
    config: what it is; its width, depth and norm.
    classes: C.
    variants: pairs (activation, pooling); if there are several, the variables
      say which of them a network has, so that all share what is compiled. None
      takes those of the config.
  """

  config: NetworkConfig
  classes: int
  variants: tuple[tuple[str, str], ...] = ()

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> Forward:
    config = self.config
    ends = self._ends()
    images, layers = pad_digits(images), []
    for _ in range(config.depth):
      images = Convolution(config.width)(images)
      images = Norm(config.norm)(images, batch)
      images = ends(images)
      layers.append(images)
    features = flatten(images)
    return features, tuple(layers), Linear(self.classes)(features)

  def _ends(self) -> Callable[[Array], Array]:
    """Returns what ends each layer: activation, then pooling."""
    own = (self.config.activation, self.config.pooling)
    branches = [_end(*names) for names in self.variants or (own,)]
    if len(branches) == 1:
      return branches[0]
    index = self.variable(VARIANT, 'index', lambda: jnp.int32(0)).value
    # Computed again for the gradient: else each branch would keep what every
    # other one needs, too.
    return jax.checkpoint(lambda images: lax.switch(index, branches, images))


def _end(activation: str, pooling: str) -> Callable[[Array], Array]:
  return lambda images: POOLINGS[pooling](ACTIVATIONS[activation](images))


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
