"""The layers that the networks share, as PyTorch defines them."""

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.networks.batch_norm import BatchNorm
from dm_jax.networks.convolution import convolve, convolve_by_two
from dm_jax.types import Array, Batch, ImageShape

# (features [N, F], layers, logits [N, C]) of a module, see `Outputs`.
Forward = tuple[Array, tuple[Array, ...], Array]

_EPSILON = 1e-5  # PyTorch's, for every norm.
_PADDED = (28, 28, 1)  # Images that the original pads to 32×32.


class Convolution(nn.Module):
  """A k×k convolution, initialised as PyTorch initialises it.

  Attributes:
    features: output channels F.
    size: k.
    padding: zeros added on each side, at most k - 1.
    stride: 1 or 2.
    bias: whether a value is added to each channel.
  """

  features: int
  size: int = 3
  padding: int = 1
  stride: int = 1
  bias: bool = True

  @nn.compact
  def __call__(self, images: Array) -> Array:
    channels = images.shape[-1]
    init = torch_uniform(self.size**2 * channels)
    shape = (self.size, self.size, channels, self.features)
    kernel = self.param('kernel', init, shape)
    apply = {1: convolve, 2: convolve_by_two}[self.stride]
    images = apply(images, kernel, self.padding)
    if not self.bias:
      return images
    bias = self.param('bias', init, (self.features,))
    return images + bias.reshape(1, 1, 1, -1)


class Linear(nn.Module):
  """A dense layer with bias, initialised as PyTorch initialises it."""

  features: int

  @nn.compact
  def __call__(self, inputs: Array) -> Array:
    init = torch_uniform(inputs.shape[-1])
    shape = (inputs.shape[-1], self.features)
    kernel = self.param('kernel', init, shape)
    return inputs @ kernel + self.param('bias', init, shape[-1:])[None]


def torch_uniform(fan_in: int):
  """Returns an initialiser, uniform in ±1/√fan_in: PyTorch's default.

  It holds for kernels and biases alike, and defines the distribution of
  embeddings that distribution matching averages over.
  """
  bound = fan_in**-0.5

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


def padded_shape(image_shape: ImageShape) -> ImageShape:
  """Returns the shape that `pad_digits` gives images of this shape."""
  return (32, 32, 1) if tuple(image_shape) == _PADDED else tuple(image_shape)


def pad_digits(images: Array) -> Array:
  """Pads one-channel images of 28×28 by 2; leaves all others.

  The original adds 2 to the padding of the first convolution for them, so that
  features start at 32×32.
  """
  if images.shape[1:] != _PADDED:
    return images
  return jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))


def _leaky_relu(inputs: Array) -> Array:
  return jax.nn.leaky_relu(inputs, 0.01)


ACTIVATIONS = {
  'relu': jax.nn.relu,
  'sigmoid': jax.nn.sigmoid,
  'leaky_relu': _leaky_relu,
  'swish': jax.nn.silu,
}


class Norm(nn.Module):
  """One of `config.NORMS`; `instance` is group norm with a group per channel.

  Attributes:
    name_of: the norm.
  """

  name_of: str

  @nn.compact
  def __call__(self, images: Array, batch: Batch) -> Array:
    # Linen's norms mix bfloat16 and float32, which a caller may have forbidden.
    with jax.numpy_dtype_promotion('standard'):
      return self._normalise(images, batch)

  def _normalise(self, images: Array, batch: Batch) -> Array:
    precise = {'epsilon': _EPSILON, 'use_fast_variance': False}
    if self.name_of == 'instance':
      return nn.InstanceNorm(**precise)(images)
    if self.name_of == 'batch':
      return BatchNorm()(images, batch)
    if self.name_of == 'layer':
      # Over height, width and channels, each position with its own scale.
      axes = (-3, -2, -1)
      layer = nn.LayerNorm(reduction_axes=axes, feature_axes=axes, **precise)
      return layer(images)
    if self.name_of == 'group':
      return nn.GroupNorm(num_groups=4, **precise)(images)
    return images


def average_pool(images: Array) -> Array:
  """2×2 means with stride 2; an odd last row or column is left out."""
  # Not `nn.avg_pool`: it divides by an integer that is no Python number, which
  # strict promotion of types forbids.
  return nn.pool(images, 0.0, lax.add, (2, 2), (2, 2), 'VALID') / 4


def max_pool(images: Array) -> Array:
  """2×2 maxima with stride 2; an odd last row or column is left out.

  Of equal values the first in reading order gets the gradient, as in PyTorch.
  Made of comparisons: the gradient that XLA's CPU compiler has for windowed
  maxima is a slow scatter.
  """
  batch, height, width, channels = images.shape
  images = images[:, : height // 2 * 2, : width // 2 * 2]
  shape = (batch, height // 2, 2, width // 2, 2, channels)
  windows = images.reshape(shape)
  rows = _larger(windows[:, :, :, :, 0], windows[:, :, :, :, 1])
  return _larger(rows[:, :, 0], rows[:, :, 1])


def _larger(first: Array, second: Array) -> Array:
  return jnp.where(first >= second, first, second)


POOLINGS = {'avg': average_pool, 'max': max_pool, 'none': lambda x: x}


def flatten(images: Array) -> Array:
  """[N, ...] -> [N, F]."""
  return images.reshape(images.shape[0], -1)
