import importlib

import jax
from jax import lax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from dm_jax.networks.convolution import convolve, convolve_by_two

KEY = jax.random.key(0)


def reference(images, kernel, padding):
  return lax.conv_general_dilated(
    images,
    kernel,
    (1, 1),
    ((padding, padding),) * 2,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def draw(channels, leading=()):
  image_key, kernel_key = jax.random.split(KEY)
  images = jax.random.normal(image_key, (*leading, 2, 6, 5, channels))
  kernel = jax.random.normal(kernel_key, (*leading, 3, 3, channels, 4))
  return images, kernel


def value_and_gradients(convolution, padding):
  """Returns (images, kernel) -> (output, image and kernel gradient)."""

  def call(images, kernel):
    output, pull = jax.vjp(
      lambda i, k: convolution(i, k, padding), images, kernel
    )
    # A cotangent that differs from place to place.
    return output, pull(jnp.sin(output))

  return call


def assert_agree(actual, expected):
  for a, b in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_a_single_value_by_hand():
  images = jnp.array([1.0, 2, 3, 4]).reshape(1, 2, 2, 1)
  kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
  # The kernel is not turned; its centre, 4, stands on each pixel in turn.
  expected = [
    [4 * 1 + 5 * 2 + 7 * 3 + 8 * 4, 3 * 1 + 4 * 2 + 6 * 3 + 7 * 4],
    [1 * 1 + 2 * 2 + 4 * 3 + 5 * 4, 0 * 1 + 1 * 2 + 3 * 3 + 4 * 4],
  ]
  np.testing.assert_allclose(convolve(images, kernel, 1)[0, ..., 0], expected)


@pytest.mark.parametrize(
  ('channels', 'padding'), [(1, 1), (3, 0), (3, 2), (8, 0), (8, 1), (8, 2)]
)
def test_values_and_gradients_are_those_of_lax(channels, padding):
  inputs = draw(channels)
  actual = jax.jit(value_and_gradients(convolve, padding))(*inputs)
  expected = jax.jit(value_and_gradients(reference, padding))(*inputs)
  assert_agree(actual, expected)


@pytest.mark.parametrize(
  ('channels', 'axes'),
  [(3, (0, 0)), (8, (0, None)), (8, (None, 0)), (8, (0, 0))],
)
def test_mapped_over_images_or_kernels_or_both(channels, axes):
  inputs = [
    many if axis == 0 else many[0]
    for many, axis in zip(draw(channels, (3,)), axes, strict=True)
  ]
  actual, expected = (
    jax.jit(jax.vmap(value_and_gradients(convolution, 1), axes))(*inputs)
    for convolution in (convolve, reference)
  )
  assert_agree(actual, expected)


@pytest.mark.parametrize('channels', [3, 8])
def test_inside_a_scan(channels):
  inputs = draw(channels, (3,))

  def scanned(convolution):
    def body(carry, inputs):
      return carry, value_and_gradients(convolution, 1)(*inputs)

    return jax.jit(lambda inputs: lax.scan(body, None, inputs)[1])

  assert_agree(scanned(convolve)(inputs), scanned(reference)(inputs))


@pytest.mark.parametrize('channels', [3, 8])
def test_gradients_are_finite_differences(channels):
  # The context manager moved in jax 0.8.
  module = 'jax' if hasattr(jax, 'enable_x64') else 'jax.experimental'
  with importlib.import_module(module).enable_x64(True):
    inputs = jax.tree.map(lambda x: x.astype(jnp.float64), draw(channels))
    convolution = jax.jit(lambda i, k: jnp.sin(convolve(i, k, 1)))
    check_grads(convolution, inputs, order=1, modes=['rev'])


@pytest.mark.parametrize('channels', [2, 6])
@pytest.mark.parametrize(
  ('sides', 'size', 'padding'),
  [
    ((6, 5), 3, 1),
    ((7, 8), 3, 1),
    ((6, 5), 3, 0),
    ((6, 7), 1, 0),
    ((5, 6), 2, 0),
    ((1, 2), 3, 1),
  ],
)
def test_a_stride_of_two_agrees_with_the_library(
  sides, size, padding, channels
):
  def reference_by_two(images, kernel, padding):
    return lax.conv_general_dilated(
      images,
      kernel,
      (2, 2),
      ((padding, padding),) * 2,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )

  images = jax.random.normal(KEY, (2, *sides, channels))
  kernel = jax.random.normal(jax.random.key(1), (size, size, channels, 4))
  ours = jax.jit(value_and_gradients(convolve_by_two, padding))
  theirs = jax.jit(value_and_gradients(reference_by_two, padding))
  assert_agree(ours(images, kernel), theirs(images, kernel))
