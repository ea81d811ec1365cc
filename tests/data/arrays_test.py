import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.data.arrays import (
  channel_statistics,
  channel_sums,
  check_images,
  check_labels,
  chunks,
)
from dm_jax.errors import InputError

IMAGES = np.arange(2 * 2 * 1 * 3, dtype=np.uint8).reshape(2, 2, 1, 3)


def test_uint8_images_come_back_uncopied():
  assert check_images(IMAGES) is IMAGES


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_float_images_recover_all_256_levels(dtype):
  levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
  unit = (levels / 255).astype(dtype)
  before = unit.copy()
  np.testing.assert_array_equal(check_images(unit), levels)
  np.testing.assert_array_equal(unit, before)


def test_float_images_round_to_the_nearest_level():
  # 0.3 / 255 -> 0, 0.7 / 255 -> 1, 127.5 / 255 -> 128 (half to even).
  unit = np.array([0.3 / 255, 0.7 / 255, 0.5, 1]).reshape(1, 4, 1, 1)
  assert check_images(unit).ravel().tolist() == [0, 1, 128, 255]


def levels_of(shape):
  """Levels, uint8, of random images."""
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize('module', [np, jnp])
@pytest.mark.parametrize('dtype', ['float16', 'float32'])
def test_rounding_beyond_the_ends_is_clipped(module, dtype):
  # The last is 1 + 1 / 1024, the next float16 above 1.
  values = [-0.001, -1e-6, 1.000001, 1.0009765625]
  images = module.asarray(np.array(values, dtype).reshape(1, 4, 1, 1))
  assert np.asarray(check_images(images)).ravel().tolist() == [0, 0, 255, 255]
  edge = module.full((1, 1, 1, 1), 1.001, 'float32')
  assert np.asarray(check_images(edge)).item() == 255


@pytest.mark.parametrize('module', [np, jnp])
@pytest.mark.parametrize(
  ('low', 'high', 'shown'),
  [
    (0, 1.0012, '0 to 1.0012:'),
    (-0.00101, 1, '-0.00101 to 1:'),
    (0.25, 1.000123e3, '0.25 to 1000.123:'),
  ],
)
def test_what_is_beyond_rounding_is_shown_to_its_last_digit(
  module, low, high, shown
):
  images = module.asarray(np.array([low, high], 'float32').reshape(2, 1, 1, 1))
  with pytest.raises(InputError) as error:
    check_images(images)
  assert f'must be in [0, 1] when they are float, got {shown}' in str(error)


@pytest.mark.parametrize('module', [np, jnp])
@pytest.mark.parametrize(
  'shape',
  [
    *((5, 3, 32, 32), (5, 1, 28, 28), (5, 3, 48, 64), (5, 4, 8, 9)),
    *((5, 3, 4, 4), (5, 1, 2, 2), (5, 2, 5, 6)),
  ],
)
def test_channels_first_are_recognised(module, shape):
  message = (
    r'which looks like \[N, D, H, W\]: move .* images.transpose\(0, 2, 3,'
  )
  with pytest.raises(InputError, match=message) as error:
    check_images(module.zeros(shape, 'uint8'))
  assert f'got shape {shape}' in str(error.value)
  # What the message says is what helps.
  assert check_images(module.zeros(shape, 'uint8').transpose(0, 2, 3, 1)).shape


@pytest.mark.parametrize(
  'shape',
  [
    *((5, 32, 32, 3), (5, 3, 32, 1), (5, 1, 32, 3), (5, 3, 3, 3), (5, 1, 1, 1)),
    *((5, 1, 40, 4), (5, 2, 2, 4), (5, 8, 8, 16), (5, 5, 6, 7), (5, 1, 1, 2)),
  ],
)
def test_small_and_deep_images_are_not_taken_for_channels_first(shape):
  assert check_images(np.zeros(shape, np.uint8)).shape == shape


# One chunk; several, of images that do not divide into them; one image each.
SHAPES = [(7, 5, 4, 3), (7, 500, 400, 3), (2, 2000, 600, 2)]


def test_chunks_cover_every_image_once():
  # At most 2**21 values, but one image at least.
  assert [[(c.start, c.stop) for c in chunks(shape)] for shape in SHAPES] == [
    [(0, 7)],
    [(0, 3), (3, 6), (6, 7)],
    [(0, 1), (1, 2)],
  ]
  assert chunks((5, 2), 4) == [slice(0, 2), slice(2, 4), slice(4, 5)]
  assert chunks((0, 2)) == []


@pytest.mark.parametrize('shape', SHAPES)
def test_float_images_are_quantised_in_chunks_as_in_one(shape):
  levels = levels_of(shape)
  unit = levels.astype(np.float32) / 255
  np.testing.assert_array_equal(check_images(unit), levels)


@pytest.mark.parametrize('dtype', [jnp.uint8, jnp.float32, jnp.bfloat16])
def test_jax_images_stay_on_their_device(dtype):
  device = jax.devices()[-1]
  images = jax.device_put(jnp.ones((2, 3, 3, 1), dtype), device)
  checked = check_images(images)
  assert isinstance(checked, jax.Array)
  assert checked.devices() == {device}
  assert checked.dtype == jnp.uint8
  level = 1 if dtype == jnp.uint8 else 255
  np.testing.assert_array_equal(checked, np.full((2, 3, 3, 1), level))
  assert not images.is_deleted()


@pytest.mark.parametrize('module', [np, jnp])
@pytest.mark.parametrize(
  ('shape', 'value', 'dtype', 'message'),
  [
    ((2, 4), 0, 'uint8', r'must be \[N, H, W, D\], got shape \(2, 4\)$'),
    ((2, 4, 4), 0, 'uint8', r'append an axis, images\[\.\.\., None\]'),
    ((0, 4, 4, 1), 0, 'uint8', r'at least one image .* \(0, 4, 4, 1\)'),
    ((2, 0, 4, 1), 0, 'float32', r'at least one pixel, .* \(2, 0, 4, 1\)'),
    ((1, 2, 2, 1), 7, 'int32', r"got int32: convert .* images.astype\('uint8'"),
    ((1, 2, 2, 1), True, 'bool', r"got bool: .* images.astype\('float32'\)"),
    ((1, 2, 2, 1), math.nan, 'float32', 'NaN or infinite pixels: remove'),
    ((1, 2, 2, 1), -math.inf, 'float32', 'NaN or infinite pixels: remove'),
    ((1, 2, 2, 1), 255, 'float32', r'in \[0, 1\].* 255 to 255: divide by 255'),
    ((1, 2, 2, 1), 1.01, 'float32', r'1\.01: undo .*, or clip them'),
    ((1, 2, 2, 1), 65535, 'uint16', r'\(images // 257\)\.astype'),
    ((1, 2, 2, 1), -0.5, 'float32', r'got -0.5 to -0.5'),
  ],
)
def test_bad_images_are_refused(module, shape, value, dtype, message):
  with pytest.raises(InputError, match=message) as error:
    check_images(module.full(shape, value, dtype), 'test images')
  assert str(error.value).startswith('test images ')
  assert '\n' not in str(error.value)


def test_one_bad_pixel_is_found():
  images = np.full((3, 4, 4, 1), 0.5)
  images[1, 2, 3, 0] = 1.25
  with pytest.raises(InputError, match='got 0.5 to 1.25'):
    check_images(images)
  images[1, 2, 3, 0] = -0.5
  with pytest.raises(InputError, match=r'take \(images \+ 1\) / 2'):
    check_images(images)
  images[1, 2, 3, 0] = np.nan
  with pytest.raises(InputError, match='NaN'):
    check_images(images)


def test_lists_of_unequal_images_are_refused():
  ragged = [np.zeros((2, 2, 1), np.uint8), np.zeros((3, 2, 1), np.uint8)]
  with pytest.raises(InputError, match='images must form one array, got list'):
    check_images(ragged)


@pytest.mark.parametrize('shape', [(2,), (2, 4, 4, 1)])
def test_python_objects_are_refused(shape):
  images = np.empty(shape, object)
  images[:] = None
  message = r'got Python objects of shape .* np.stack\(list\(images\)\)'
  with pytest.raises(InputError, match=message):
    check_images(images)


class Tensor:
  """What other libraries hand out where they give no NumPy array."""

  def __init__(self, error):
    self.error = error

  def __array__(self, dtype=None, copy=None):
    raise self.error


# As PyTorch and CuPy say it.
@pytest.mark.parametrize(
  'error',
  [
    TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor."),
    RuntimeError("Can't call numpy() on Tensor that requires grad."),
    TypeError('Implicit conversion to a NumPy array is not allowed.\n.get()'),
  ],
)
@pytest.mark.parametrize('listed', [False, True])
def test_arrays_that_their_library_does_not_give_are_refused(error, listed):
  tensor = [Tensor(error)] * 3 if listed else Tensor(error)
  for check in (check_images, functools.partial(check_labels, count=3)):
    with pytest.raises(InputError) as raised:
      check(tensor, 'these')
    line = str(raised.value)
    assert line.startswith('these cannot be read from a Tensor (')
    assert str(error).splitlines()[0] in line
    assert line.endswith('of a PyTorch tensor by .detach().cpu().numpy()')
    assert '\n' not in line


def test_arrays_of_other_libraries_that_can_be_read_are_taken():
  class Readable:
    def __array__(self, dtype=None, copy=None):
      return IMAGES

  np.testing.assert_array_equal(check_images(Readable()), IMAGES)


@pytest.mark.parametrize(
  'labels',
  [[0, 2, 1], np.array([0, 2, 1], np.uint8), jnp.array([0, 2, 1])],
)
def test_labels_become_int32_on_the_host(labels):
  checked = check_labels(labels, count=3, classes=3)
  assert isinstance(checked, np.ndarray)
  assert checked.dtype == np.int32
  assert checked.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
  ('labels', 'message'),
  [
    (np.eye(3, dtype=int), r'1-D.*got shape \(3, 3\): for one-hot labels use'),
    (np.array(3), r'1-D.*got shape \(\)$'),
    ([0.0, 1.0, 2.0], 'must be integers, got float64: number the classes'),
    (['a', 'b', 'c'], r'must be integers, got <U1: .* np.unique\(labels, ret'),
    ([b'a', b'b', b'c'], r'must be integers, got .S1: .* np.unique\(labels, '),
    (
      [[2], [0], [1]],
      r'1-D.*got shape \(3, 1\): take the column, labels\[:, 0\]',
    ),
    ([0.0, math.nan, 1.0], 'must be integers, got float64'),
    ([False, True, True], 'must be integers, got bool'),
    ([0, 1], 'one for each image, got 2 for 3 images'),
    ([0, -1, 2], 'at least 0, got -1'),
    ([0, 1, 4], 'below 4, the number of classes, got 4'),
  ],
)
def test_bad_labels_are_refused(labels, message):
  with pytest.raises(InputError, match=message) as error:
    check_labels(labels, count=3, classes=4)
  assert str(error.value).startswith('labels ')


@pytest.mark.parametrize('module', [np, jnp])
def test_statistics_by_hand(module):
  # Two images of two pixels. Channel 0: 0, 0, 0, 255 -> mean 1/4, variance
  # 1/4 - 1/16 = 3/16. Channel 1: 51, 51, 204, 204 = 1/5, 1/5, 4/5, 4/5 -> mean
  # 1/2, deviation 3/10.
  images = [[[[0, 51], [0, 51]]], [[[0, 204], [255, 204]]]]
  mean, std = channel_statistics(module.array(images, 'uint8'))
  assert mean == (0.25, 0.5)
  np.testing.assert_allclose(std, [math.sqrt(3) / 4, 0.3], rtol=1e-15)


@pytest.mark.parametrize('module', [np, jnp])
def test_a_constant_channel_has_deviation_one(module):
  mean, std = channel_statistics(module.full((3, 2, 2, 1), 51, 'uint8'))
  assert (mean, std) == ((0.2,), (1.0,))


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('module', [np, jnp])
def test_statistics_are_those_of_float64(module, shape):
  images = levels_of(shape)
  mean, std = channel_statistics(module.asarray(images))
  unit = images.astype(np.float64) / 255
  np.testing.assert_allclose(mean, unit.mean((0, 1, 2)), rtol=1e-12)
  np.testing.assert_allclose(std, unit.std((0, 1, 2)), rtol=1e-12)


@pytest.mark.parametrize('module', [np, jnp])
def test_sums_do_not_overflow_32_bits(module):
  # Σx² = 255² · 70,000 = 4.6e9 is above 2^32, over pixels as over images.
  for shape in ((70_000, 1, 1, 1), (1, 700, 100, 1)):
    images = module.full(shape, 255, 'uint8')
    assert channel_sums(images).tolist() == [
      [255 * 70_000],
      [255**2 * 70_000],
    ]
