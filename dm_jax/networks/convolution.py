"""A stride-1 convolution whose gradients stay fast inside compiled loops."""

import functools

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.types import Array

_LAYOUT = ('NHWC', 'HWIO', 'NHWC')
_FEW_CHANNELS = 4  # Up to here gathering patches beats a CPU convolution.


def _plain(images: Array, kernel: Array, padding: int) -> Array:
  pad = (padding, padding)
  return lax.conv_general_dilated(
    images, kernel, (1, 1), (pad, pad), dimension_numbers=_LAYOUT
  )


def _by_patches(images: Array, kernel: Array, padding: int) -> Array:
  """The same as a product of patches [N, H', W', kh·kw·D] and the kernel."""
  kernel_h, kernel_w, _, features = kernel.shape
  images = jnp.pad(images, ((0, 0), *((padding, padding),) * 2, (0, 0)))
  height = images.shape[1] - kernel_h + 1
  width = images.shape[2] - kernel_w + 1
  patches = jnp.concatenate(
    [
      images[:, row : row + height, column : column + width]
      for row in range(kernel_h)
      for column in range(kernel_w)
    ],
    axis=-1,
  )
  return patches @ kernel.reshape(-1, features)


def _cpu(images: Array, kernel: Array, padding: int) -> Array:
  few = images.shape[-1] <= _FEW_CHANNELS
  return (_by_patches if few else _plain)(images, kernel, padding)


# XLA's CPU compiler puts convolutions into the layout that its fast kernel
# takes only outside of loops; inside a scan the ones that autodiff makes run up
# to two hundred times slower (jax 0.10). Here both gradients are ordinary
# convolutions (or matrix products), so they are fast wherever they stand.
def _cpu_gradients(padding, images, kernel, cotangent):
  if images.shape[-1] <= _FEW_CHANNELS:
    _, pull = jax.vjp(
      functools.partial(_by_patches, padding=padding), images, kernel
    )
    return pull(cotangent)
  turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
  d_images = _plain(cotangent, turned, kernel.shape[0] - 1 - padding)
  # Channels take the place of the batch, the batch that of the channels.
  d_kernel = _plain(
    images.transpose(3, 1, 2, 0), cotangent.transpose(1, 2, 0, 3), padding
  )
  return d_images, d_kernel.transpose(1, 2, 0, 3)


def _default_gradients(padding, images, kernel, cotangent):
  _, pull = jax.vjp(functools.partial(_plain, padding=padding), images, kernel)
  return pull(cotangent)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(images: Array, kernel: Array, padding: int) -> Array:
  """Convolves with stride 1, as `torch.nn.functional.conv2d` does.

  Args:
    images: float [N, H, W, D].
    kernel: float [k, k, D, F].
    padding: zeros added on each side, at most k - 1.

  Returns:
    float [N, H + 2·padding - k + 1, W + 2·padding - k + 1, F].
  """
  return lax.platform_dependent(
    images,
    kernel,
    cpu=functools.partial(_cpu, padding=padding),
    default=functools.partial(_plain, padding=padding),
  )


def _forward(images, kernel, padding):
  return convolve(images, kernel, padding), (images, kernel)


def _backward(padding, residuals, cotangent):
  return lax.platform_dependent(
    *residuals,
    cotangent,
    cpu=functools.partial(_cpu_gradients, padding),
    default=functools.partial(_default_gradients, padding),
  )


convolve.defvjp(_forward, _backward)


class Convolution(nn.Module):
  """A k×k convolution with bias, initialised as PyTorch initialises it.

  Attributes:
    features: output channels F.
    size: k.
    padding: zeros added on each side, at most k - 1.
  """

  features: int
  size: int = 3
  padding: int = 1

  @nn.compact
  def __call__(self, images: Array) -> Array:
    channels = images.shape[-1]
    init = torch_uniform(self.size**2 * channels)
    shape = (self.size, self.size, channels, self.features)
    kernel = self.param('kernel', init, shape)
    bias = self.param('bias', init, (self.features,))
    return convolve(images, kernel, self.padding) + bias.reshape(1, 1, 1, -1)


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
