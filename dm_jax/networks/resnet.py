"""ResNet-18 for small images, halving by strides or by average pooling."""

import flax.linen as nn
import jax

from dm_jax.config.sections import NetworkConfig
from dm_jax.networks.classic import scaled
from dm_jax.networks.layers import (
  Convolution,
  Forward,
  Linear,
  Norm,
  average_pool,
  flatten,
)
from dm_jax.types import Array, Batch

relu = jax.nn.relu


class _Block(nn.Module):
  """Two 3×3 convolutions beside a shortcut.

  Attributes:
    channels: of the output.
    halve: whether the output has half the height and width.
    pooled: halve by average pooling instead of a stride.
    norm: after each convolution.
  """

  channels: int
  halve: bool
  pooled: bool
  norm: str

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> Array:
    strided = self.halve and not self.pooled
    pool = average_pool if self.halve and self.pooled else lambda x: x
    stride = 2 if strided else 1
    wide = self.channels
    first = Convolution(wide, stride=stride, bias=False)(images)
    out = pool(relu(Norm(self.norm)(first, batch)))
    out = Norm(self.norm)(Convolution(wide, bias=False)(out), batch)
    shortcut = images
    if self.halve or images.shape[-1] != wide:
      layer = Convolution(wide, size=1, padding=0, stride=stride, bias=False)
      shortcut = Norm(self.norm)(pool(layer(images)), batch)
    return relu(out + shortcut)


class ResNet18(nn.Module):
  """Four stages of two blocks, the first convolution 3×3 without pooling.

  Attributes:
    config: width and norm.
    classes: C.
    pooled: the original's variant with average pooling instead of strides,
      whose features are the last maps as they are; else their means.
  """

  config: NetworkConfig
  classes: int
  pooled: bool = False

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> Forward:
    norm = self.config.norm
    images = Convolution(scaled(self.config, 64), bias=False)(images)
    images, layers = relu(Norm(norm)(images, batch)), []
    for stage, channels in enumerate((64, 128, 256, 512)):
      for block in range(2):
        halve = stage > 0 and block == 0
        wide = scaled(self.config, channels)
        images = _Block(wide, halve, self.pooled, norm)(images, batch)
      layers.append(images)
    features = flatten(images) if self.pooled else images.mean((1, 2))
    return features, tuple(layers), Linear(self.classes)(features)
