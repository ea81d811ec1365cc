import functools
import importlib
import math

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from dm_jax.config.protocols import ALL_OPERATIONS
from dm_jax.errors import InputError
from dm_jax.images import augment
from dm_jax.images.augment import Augmentation

KEY = jax.random.key(0)
SHAPE = (32, 16, 3)  # Unequal sides tell rows from columns.
EVERY = augment.parse(ALL_OPERATIONS)
(STAGE,) = EVERY


def image_of(rows):
  """[H, W] numbers as an image of one channel."""
  return jnp.asarray(rows, jnp.float32)[..., None]


def values_of(*values):
  return jnp.array([*values, 0, 0, 0][:3], jnp.float32)


def assert_image(actual, rows):
  np.testing.assert_allclose(actual[..., 0], rows, atol=1e-5)


def test_flip_mirrors_left_and_right():
  image = image_of([[1, 2, 3], [4, 5, 6]])
  assert_image(augment.flip(image, values_of(1)), [[3, 2, 1], [6, 5, 4]])
  assert_image(augment.flip(image, values_of(0)), [[1, 2, 3], [4, 5, 6]])


def test_crop_shifts_rows_and_columns_and_fills_with_zeros():
  rows = np.arange(1, 65).reshape(8, 8)
  expected = np.zeros((8, 8))
  expected[:7, 1:] = rows[1:, :7]
  output = augment.crop(image_of(rows), values_of(1, -1))
  assert_image(output, expected)


def test_cutout_zeroes_a_square_of_half_the_side_clipped_at_the_border():
  rows = np.ones((4, 4))
  inside = augment.cutout(image_of(rows), values_of(2, 1))
  corner = augment.cutout(image_of(rows), values_of(0, 4))
  assert_image(inside, [[1] * 4, [0, 0, 1, 1], [0, 0, 1, 1], [1] * 4])
  assert_image(corner, [[1, 1, 1, 0], [1] * 4, [1] * 4, [1] * 4])


def test_scale_resamples_width_and_height_apart():
  rows = np.array([[1.0, 3, 5, 7]] * 4)
  # Twice as far from the centre: between the pixels, and outside the image.
  expected = np.array([[0.0, 2, 6, 0]] * 4)
  assert_image(augment.scale(image_of(rows), values_of(2, 1)), expected)
  assert_image(augment.scale(image_of(rows.T), values_of(1, 2)), expected.T)
  # Half as far from the centre.
  nearer = augment.scale(image_of(rows), values_of(0.5, 1))
  assert_image(nearer, [[2.5, 3.5, 4.5, 5.5]] * 4)


def test_rotate_by_a_quarter_and_by_a_half_turn():
  rows = np.arange(16.0).reshape(4, 4)
  quarter = augment.rotate(image_of(rows), values_of(math.pi / 2))
  half = augment.rotate(image_of(rows), values_of(math.pi))
  assert_image(quarter, np.rot90(rows))
  assert_image(half, rows[::-1, ::-1])


def test_brightness_saturation_and_contrast():
  image = jnp.array([[[1.0, 3], [5, 7]]])
  factors = jnp.array([0.5, 2, -9])
  brighter = augment.brightness(image, factors[0])
  np.testing.assert_allclose(brighter, [[[1.5, 3.5], [5.5, 7.5]]])
  saturated = augment.saturation(image, factors[1])
  np.testing.assert_allclose(saturated, [[[0, 4], [4, 8]]])
  flatter = augment.contrast(image, factors[0])
  np.testing.assert_allclose(flatter, [[[2.5, 3.5], [4.5, 5.5]]])
  # Normalised values have no limits to be clipped at.
  assert augment.brightness(image, factors[2]).min() == -8


def test_color_is_brightness_saturation_and_contrast_together():
  image = jnp.array([[[1.0, 3], [5, 7]]])
  # [2 4 | 6 8], then about 3 and 7: [3 3 | 7 7], then about 5: [1 1 | 9 9].
  output = augment.color(image, values_of(1, 0, 2))
  np.testing.assert_allclose(output, [[[1, 1], [9, 9]]], atol=1e-6)


@pytest.fixture(scope='module')
def draws():
  """4,000 draws of values for each operation: [4000, 3]."""

  @jax.jit
  def draw(operation):
    return jax.vmap(
      lambda key: augment.sample_values(key, operation, STAGE, SHAPE)
    )(jax.random.split(KEY, 4000))

  return {name: np.asarray(draw(jnp.int32(i))) for i, name in enumerate(STAGE)}


@pytest.mark.parametrize(
  ('operation', 'bounds'),
  [
    ('color', [(-0.5, 0.5), (0, 2), (0.5, 1.5)]),
    ('scale', [(1 / 1.2, 1.2)] * 2),
    ('rotate', [(-math.pi / 12, math.pi / 12)]),
  ],
)
def test_values_are_uniform_in_their_ranges(draws, operation, bounds):
  values = draws[operation]
  for column, (low, high) in enumerate(bounds):
    share = (values[:, column] - low) / (high - low)
    assert 0 <= share.min() < 0.0025
    assert 0.9975 < share.max() <= 1
    counts = np.histogram(share, bins=4, range=(0, 1))[0]
    np.testing.assert_allclose(counts, 1000, atol=130)
  assert (values[:, len(bounds) :] == 0).all()


@pytest.mark.parametrize(
  ('operation', 'ranges'),
  [
    ('crop', [range(-4, 5), range(-2, 3)]),
    ('cutout', [range(33), range(17)]),
    ('flip', [range(2)]),
  ],
)
def test_whole_values_are_equally_likely_ends_included(
  draws, operation, ranges
):
  values = draws[operation]
  for column, expected in enumerate(ranges):
    found, counts = np.unique(values[:, column], return_counts=True)
    np.testing.assert_array_equal(found, list(expected))
    mean = 4000 / len(expected)
    np.testing.assert_allclose(counts, mean, atol=4.5 * math.sqrt(mean))
  assert (values[:, len(ranges) :] == 0).all()


@pytest.mark.parametrize('side', [1, 3, 30])
def test_odd_and_tiny_images_keep_their_shape(side):
  image = jnp.ones((side, side, 1))
  keys = jax.random.split(KEY, 50)

  def augmented(key):
    drawn = augment.sample(key, EVERY, image.shape)
    return augment.apply(drawn, image, EVERY)

  outputs = jax.jit(jax.vmap(augmented))(keys)
  assert outputs.shape == (50, side, side, 1)
  assert np.isfinite(outputs).all()


def test_operations_are_equally_likely():
  @jax.jit
  def draw(keys):
    return jax.vmap(lambda key: augment.sample(key, EVERY, SHAPE)[0])(keys)

  operations = draw(jax.random.split(KEY, 6000)).operation
  counts = np.bincount(operations, minlength=6)
  # The 99.9 % point of chi-square with five degrees of freedom is 20.5.
  assert np.square(counts - 1000).sum() / 1000 < 20.5
  assert counts.size == 6


def test_a_key_decides_the_draw():
  (first,) = augment.sample(KEY, EVERY, SHAPE)
  (same,) = augment.sample(KEY, EVERY, SHAPE)
  (other,) = augment.sample(jax.random.key(1), EVERY, SHAPE)
  np.testing.assert_array_equal(first.values, same.values)
  assert not np.array_equal(first.values, other.values)


def test_none_is_the_identity():
  assert augment.parse('none') == ()
  image = jax.random.normal(KEY, SHAPE)
  drawn = augment.sample(KEY, (), SHAPE)
  np.testing.assert_array_equal(augment.apply(drawn, image, ()), image)


VALUES = {
  'color': values_of(0.3, 1.5, 0.7),
  'crop': values_of(1, -1),
  'cutout': values_of(2, 5),
  'flip': values_of(1),
  'scale': values_of(0.9, 1.15),
  'rotate': values_of(0.2),
}


@jax.jit
def apply(drawn, image):
  return augment.apply((drawn,), image, EVERY)


@pytest.mark.parametrize('operation', STAGE)
def test_jit_and_gradient_of_the_operation_that_is_drawn(operation):
  image = jax.random.normal(KEY, (6, 5, 2))
  drawn = Augmentation(jnp.int32(STAGE.index(operation)), VALUES[operation])
  with jax.disable_jit():
    plain = augment.apply((drawn,), image, EVERY)
  assert not np.allclose(plain, image)
  compiled = functools.partial(apply, drawn)
  np.testing.assert_allclose(compiled(image), plain, atol=1e-5)
  # Linear in the image, so that large steps are exact.
  check_grads(compiled, (image,), order=1, modes=['rev'], eps=0.5)


def test_64_bits_change_no_type():
  # The context manager moved in jax 0.8.
  module = 'jax' if hasattr(jax, 'enable_x64') else 'jax.experimental'
  with importlib.import_module(module).enable_x64(True):
    (drawn,) = jax.eval_shape(
      lambda key: augment.sample(key, EVERY, SHAPE), KEY
    )
    image = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    output = jax.eval_shape(apply, drawn, image)
  assert drawn.operation.dtype == jnp.int32
  assert drawn.values.dtype == output.dtype == jnp.float32


@pytest.mark.parametrize('values_axis', [None, 0])
def test_only_the_operation_that_is_drawn_is_computed(values_axis):
  images = jnp.ones((4, 8, 8, 1))
  values = values_of(0) if values_axis is None else jnp.zeros((4, 3))

  def augment_all(operation, values, images):
    return jax.vmap(
      lambda value, image: augment.apply(
        (Augmentation(operation, value),), image, EVERY
      ),
      (values_axis, 0),
    )(values, images)

  jaxpr = jax.make_jaxpr(augment_all)(jnp.int32(0), values, images)
  (conditional,) = (eqn for eqn in jaxpr.eqns if eqn.primitive.name == 'cond')
  assert len(conditional.params['branches']) == len(STAGE)
  outside = {eqn.primitive.name for eqn in jaxpr.eqns}
  assert not outside & {'gather', 'dynamic_slice', 'select_n'}


def test_an_unknown_operation_brings_near_ones():
  with pytest.raises(InputError, match='did you mean flip'):
    augment.parse('color_flpi')
  with pytest.raises(InputError, match='augmentation'):
    augment.parse('color__flip')


def test_an_operation_may_stand_only_once():
  with pytest.raises(InputError, match='twice'):
    augment.parse('flip_color_flip')
  with pytest.raises(InputError, match='twice'):
    augment.parse('flip+color_flip')
  for text in ('color+', '+color', 'none+color'):
    with pytest.raises(InputError, match='augmentation'):
      augment.parse(text)


def test_stages_are_joined_by_plus_and_their_operations_by_a_line():
  assert augment.parse('color_crop') == (('color', 'crop'),)
  assert augment.parse('color+crop') == (('color',), ('crop',))
  stages = (('flip',), ('color',), ('crop', 'scale', 'rotate'))
  assert augment.parse('flip+color+crop_scale_rotate') == stages


def peers_color_crop_cutout(image, colors, shift, centre):
  """All three in this order, in NumPy, as the recipe's formulas say."""
  height, width, _ = image.shape
  image = image + colors[0]
  grey = image.mean(2, keepdims=True)
  image = grey + colors[1] * (image - grey)
  image = image.mean() + colors[2] * (image - image.mean())
  shifted, result = np.zeros_like(image), np.zeros_like(image)
  for row in range(height):
    for column in range(width):
      source = row + int(shift[0]), column + int(shift[1])
      if 0 <= source[0] < height and 0 <= source[1] < width:
        shifted[row, column] = image[source]
      low = int(centre[0]) - height // 4, int(centre[1]) - width // 4
      in_rows = low[0] <= row < low[0] + height // 2
      if not (in_rows and low[1] <= column < low[1] + width // 2):
        result[row, column] = shifted[row, column]
  return result


def test_all_stages_are_applied_in_the_order_written():
  stages = augment.parse('color+crop+cutout')
  images = jax.random.normal(jax.random.key(3), (20, *SHAPE))

  @jax.jit
  def augmented(key, image):
    drawn = augment.sample(key, stages, SHAPE)
    return drawn, augment.apply(drawn, image, stages)

  all_drawn, outputs = jax.vmap(augmented)(jax.random.split(KEY, 20), images)
  values = np.stack([drawn.values for drawn in all_drawn], 1)
  for image, output, (colors, shift, centre) in zip(
    np.asarray(images, np.float64), outputs, values, strict=True
  ):
    expected = peers_color_crop_cutout(image, colors, shift, centre)
    np.testing.assert_allclose(output, expected, atol=2e-5)
  # Each has its own draws, in its own range.
  assert (np.abs(values[:, 0, 0]) <= 0.5).all()
  assert (np.abs(values[:, 1, :2]) <= [4, 2]).all()
  assert (values[:, 2, :2] >= 0).all()
  assert (values[:, 2, :2] <= SHAPE[:2]).all()
  assert len(np.unique(values[:, 0, 0])) == 20


def test_each_stage_draws_by_a_key_of_its_own():
  stages = augment.parse('color+crop_scale')
  drawn = augment.sample(KEY, stages, SHAPE)
  for key, stage, own in zip(
    jax.random.split(KEY, 2), stages, drawn, strict=True
  ):
    (alone,) = augment.sample(key, (stage,), SHAPE)
    np.testing.assert_array_equal(own.values, alone.values)
    np.testing.assert_array_equal(own.operation, alone.operation)


def test_a_stage_that_is_alone_draws_by_the_key_itself():
  """As before there were stages: the operation by the first of two keys."""
  (drawn,) = augment.sample(KEY, EVERY, SHAPE)
  operation_key, values_key = jax.random.split(KEY)
  operation = jax.random.randint(operation_key, (), 0, 6)
  assert drawn.operation == operation
  bounds = [
    [(-0.5, 0.5), (0, 2), (0.5, 1.5)],
    [(-4, 5), (-2, 3), (0, 0)],
    [(0, 33), (0, 17), (0, 0)],
    [(0, 2), (0, 0), (0, 0)],
    [(1 / 1.2, 1.2), (1 / 1.2, 1.2), (0, 0)],
    [(-math.pi / 12, math.pi / 12), (0, 0), (0, 0)],
  ][int(operation)]
  low, high = np.array(bounds, np.float32).T
  uniform = jax.random.uniform(values_key, (3,), jnp.float32, low, high)
  whole = STAGE[int(operation)] in ('crop', 'cutout', 'flip')
  expected = np.floor(uniform) if whole else uniform
  np.testing.assert_array_equal(drawn.values, expected)
