"""MLP, LeNet, AlexNet and VGG-11, as the original has them.

Their channels scale with `NetworkConfig.width`; 128 gives the original's.
"""

import flax.linen as nn
import jax

from dm_jax.config.sections import NetworkConfig
from dm_jax.networks.layers import (
  Convolution,
  Forward,
  Linear,
  Norm,
  flatten,
  max_pool,
  pad_digits,
)
from dm_jax.types import Array, Batch

relu = jax.nn.relu


def scaled(config: NetworkConfig, channels: int) -> int:
  """Returns the channels of a layer that has `channels` at width 128."""
  return max(1, round(channels * config.width / 128))


class MLP(nn.Module):
  """Two hidden layers; features are the second."""

  config: NetworkConfig
  classes: int

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> Forward:
    del batch
    hidden = scaled(self.config, 128)
    first = relu(Linear(hidden)(flatten(images)))
    second = relu(Linear(hidden)(first))
    return second, (first, second), Linear(self.classes)(second)


class LeNet(nn.Module):
  """Two 5×5 convolutions without padding, two hidden layers."""

  config: NetworkConfig
  classes: int

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> Forward:
    del batch
    images, layers = pad_digits(images), []
    for channels in (6, 16):
      layer = Convolution(scaled(self.config, channels), size=5, padding=0)
      images = max_pool(relu(layer(images)))
      layers.append(images)
    features = flatten(images)
    for hidden in (120, 84):
      features = relu(Linear(scaled(self.config, hidden))(features))
      layers.append(features)
    return features, tuple(layers), Linear(self.classes)(features)


class AlexNet(nn.Module):
  """Five convolutions and no hidden layer; `norm` none or batch."""

  config: NetworkConfig
  classes: int

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> Forward:
    images, layers = pad_digits(images), []
    for channels, size, pooled in (
      (128, 5, True),
      (192, 5, True),
      (256, 3, False),
      (192, 3, False),
      (192, 3, True),
    ):
      width = scaled(self.config, channels)
      images = Convolution(width, size=size, padding=size // 2)(images)
      images = relu(Norm(self.config.norm)(images, batch))
      images = max_pool(images) if pooled else images
      layers.append(images)
    features = flatten(images)
    return features, tuple(layers), Linear(self.classes)(features)


class VGG11(nn.Module):
  """Eight 3×3 convolutions, five poolings and no hidden layer."""

  config: NetworkConfig
  classes: int

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> Forward:
    images, layers = pad_digits(images), []
    for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
      for channels in stage:
        images = Convolution(scaled(self.config, channels))(images)
        images = relu(Norm(self.config.norm)(images, batch))
      images = max_pool(images)
      layers.append(images)
    features = flatten(images)
    return features, tuple(layers), Linear(self.classes)(features)
