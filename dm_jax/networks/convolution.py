"""Convolutions whose gradients stay fast inside compiled loops."""

import functools

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
  # Channels take the place of the batch, the batch that of the channels.
  d_kernel = _plain(
    images.transpose(3, 1, 2, 0), cotangent.transpose(1, 2, 0, 3), padding
  ).transpose(1, 2, 0, 3)
  if images.shape[-1] <= _FEW_CHANNELS:
    # Patches for the images' gradient alone: the kernel's takes five times as
    # long that way.
    _, pull = jax.vjp(
      lambda images: _by_patches(images, kernel, padding), images
    )
    return *pull(cotangent), d_kernel
  turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
  d_images = _plain(cotangent, turned, kernel.shape[0] - 1 - padding)
  return d_images, d_kernel


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


def _strided(images: Array, kernel: Array, padding: int) -> Array:
  pad = (padding, padding)
  return lax.conv_general_dilated(
    images, kernel, (2, 2), (pad, pad), dimension_numbers=_LAYOUT
  )


def _strided_cpu(images: Array, kernel: Array, padding: int) -> Array:
  """The same as a convolution with stride 1 over 2×2 blocks of pixels."""
  if kernel.shape[0] == 1 and padding == 0:
    return convolve(images[:, ::2, ::2], kernel, 0)
  images, kernel = _whole_blocks(images, kernel, padding)
  return convolve(_blocks(images), _kernel_blocks(kernel), 0)


def _whole_blocks(images, kernel, padding) -> tuple[Array, Array]:
  """Pads both to whole blocks, such that the output stays the same."""
  odd = kernel.shape[0] % 2
  even = jnp.pad(kernel, ((0, odd), (0, odd), (0, 0), (0, 0)))
  pads = [(0, 0, 0)]
  for side in images.shape[1:3]:
    outputs = (side + 2 * padding - kernel.shape[0]) // 2 + 1
    needed = 2 * (outputs - 1) + even.shape[0]
    # Negative where the last row or column is in no window.
    pads.append((padding, needed - side - padding, 0))
  zero = jnp.zeros((), images.dtype)
  return lax.pad(images, zero, [*pads, (0, 0, 0)]), even


def _blocks(images: Array) -> Array:
  """[N, H, W, D] -> [N, H/2, W/2, 4·D]."""
  batch, height, width, channels = images.shape
  split = images.reshape(batch, height // 2, 2, width // 2, 2, channels)
  joined = split.transpose(0, 1, 3, 2, 4, 5)
  return joined.reshape(batch, height // 2, width // 2, 4 * channels)


def _kernel_blocks(kernel: Array) -> Array:
  """[k, k, D, F] -> [k/2, k/2, 4·D, F]."""
  size, _, channels, features = kernel.shape
  split = kernel.reshape(size // 2, 2, size // 2, 2, channels, features)
  joined = split.transpose(0, 2, 1, 3, 4, 5)
  return joined.reshape(size // 2, size // 2, 4 * channels, features)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_by_two(images: Array, kernel: Array, padding: int) -> Array:
  """Convolves with stride 2, as `torch.nn.functional.conv2d` does.

  Args:
    images: float [N, H, W, D].
    kernel: float [k, k, D, F].
    padding: zeros added on each side.

  Returns:
    float [N, ⌊(H + 2·padding - k) / 2⌋ + 1, the same of W, F].
  """
  return lax.platform_dependent(
    images,
    kernel,
    cpu=functools.partial(_strided_cpu, padding=padding),
    default=functools.partial(_strided, padding=padding),
  )


def _pull(function, padding, images, kernel, cotangent):
  _, pull = jax.vjp(
    functools.partial(function, padding=padding), images, kernel
  )
  return pull(cotangent)


def _forward_by_two(images, kernel, padding):
  return convolve_by_two(images, kernel, padding), (images, kernel)


def _backward_by_two(padding, residuals, cotangent):
  return lax.platform_dependent(
    *residuals,
    cotangent,
    cpu=functools.partial(_pull, _strided_cpu, padding),
    default=functools.partial(_pull, _strided, padding),
  )


convolve_by_two.defvjp(_forward_by_two, _backward_by_two)
