"""MLP, LeNet, AlexNet and VGG-11, as the original has them.

Their channels scale with `NetworkConfig.width`; 128 gives the original's.
"""

import flax.linen as nn
import jax

from dm_jax.config.sections import NetworkConfig
from dm_jax.networks.batch_norm import Batch
from dm_jax.networks.layers import (
  Convolution,
  Linear,
  Norm,
  flatten,
  max_pool,
  pad_digits,
)
from dm_jax.types import Array

relu = jax.nn.relu


def scaled(config: NetworkConfig, channels: int) -> int:
  """Returns the channels of a layer that has `channels` at width 128."""
  return max(1, round(channels * config.width / 128))


class MLP(nn.Module):
  """Two hidden layers; features are the second."""

  config: NetworkConfig
  classes: int

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> tuple[Array, Array]:
    """Returns (features [N, F], logits [N, C])."""
    del batch
    hidden = scaled(self.config, 128)
    features = relu(Linear(hidden)(flatten(images)))
    features = relu(Linear(hidden)(features))
    return features, Linear(self.classes)(features)


class LeNet(nn.Module):
  """Two 5×5 convolutions without padding, two hidden layers."""

  config: NetworkConfig
  classes: int

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> tuple[Array, Array]:
    """Returns (features [N, F], logits [N, C])."""
    del batch
    images = pad_digits(images)
    for channels in (6, 16):
      layer = Convolution(scaled(self.config, channels), size=5, padding=0)
      images = max_pool(relu(layer(images)))
    features = flatten(images)
    for hidden in (120, 84):
      features = relu(Linear(scaled(self.config, hidden))(features))
    return features, Linear(self.classes)(features)


class AlexNet(nn.Module):
  """Five convolutions and no hidden layer; `norm` none or batch."""

  config: NetworkConfig
  classes: int

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> tuple[Array, Array]:
    """Returns (features [N, F], logits [N, C])."""
    images = pad_digits(images)
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
    features = flatten(images)
    return features, Linear(self.classes)(features)


class VGG11(nn.Module):
  """Eight 3×3 convolutions, five poolings and no hidden layer."""

  config: NetworkConfig
  classes: int

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> tuple[Array, Array]:
    """Returns (features [N, F], logits [N, C])."""
    images = pad_digits(images)
    for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
      for channels in stage:
        images = Convolution(scaled(self.config, channels))(images)
        images = relu(Norm(self.config.norm)(images, batch))
      images = max_pool(images)
    features = flatten(images)
    return features, Linear(self.classes)(features)
