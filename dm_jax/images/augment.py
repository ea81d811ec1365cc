"""Differentiable Siamese augmentation (Zhao & Bilen 2021), for one image.

`parse` gives the stages, `sample` draws an `Augmentation` for each and `apply`
applies them in turn; all are pure, `apply` is differentiable in the image.
Siamese: map `apply` over the images of a class with one and the same draw. In
training: one operation a batch and stage, and values for each image
(`sample_values`).

`apply` branches on the operation. As long as the operation itself is not
mapped over, only the one that was drawn is computed.
"""

from collections.abc import Callable
import itertools
import math
from typing import NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.errors import InputError, choose
from dm_jax.types import Array, ImageShape, Key

_SCALE = 1.2
_ROTATE = 15.0  # Degrees.
_CROP = 0.125  # Of the side.
_CUTOUT = 0.5  # Of the side.
_VALUES = 3  # The most that an operation needs.

Stage = tuple[str, ...]  # Operations, of which one is drawn.


class Augmentation(NamedTuple):
  """What is drawn for one stage.

  Attributes:
    operation: int32 [], an index into the operations of the stage.
    values: float32 [3], in the units of that operation; unused ones are 0.
  """

  operation: Array
  values: Array


def _transform(image: Array, matrix: Array) -> Array:
  """Resamples bilinearly at `matrix` · (u, v), zeros outside.

  u runs along the width and v along the height, both from -1 to 1 between the
  outer edges of the outer pixels.
  """
  height, width, _ = image.shape
  u = (2 * jnp.arange(width, dtype=jnp.float32) + 1) / width - 1
  v = (2 * jnp.arange(height, dtype=jnp.float32) + 1) / height - 1
  u, v = jnp.meshgrid(u, v)
  column = ((matrix[0, 0] * u + matrix[0, 1] * v + 1) * width - 1) / 2
  row = ((matrix[1, 0] * u + matrix[1, 1] * v + 1) * height - 1) / 2
  top, left = jnp.floor(row), jnp.floor(column)

  def tap(tap_row, tap_column):
    inside = (tap_row >= 0) & (tap_row < height)
    inside &= (tap_column >= 0) & (tap_column < width)
    weight = (1 - jnp.abs(row - tap_row)) * (1 - jnp.abs(column - tap_column))
    weight *= inside.astype(jnp.float32)
    rows = jnp.clip(tap_row, 0, height - 1).astype(jnp.int32)
    columns = jnp.clip(tap_column, 0, width - 1).astype(jnp.int32)
    return image[rows, columns] * weight[..., None]

  return (
    tap(top, left)
    + tap(top, left + 1)
    + tap(top + 1, left)
    + tap(top + 1, left + 1)
  )


def scale(image: Array, values: Array) -> Array:
  """Resamples at (values[0] · u, values[1] · v): above 1 shrinks."""
  return _transform(image, jnp.diag(values[:2]))


def rotate(image: Array, values: Array) -> Array:
  """Resamples on a grid turned by values[0] radians."""
  cos, sin = jnp.cos(values[0]), jnp.sin(values[0])
  return _transform(image, jnp.stack([cos, -sin, sin, cos]).reshape(2, 2))


def flip(image: Array, values: Array) -> Array:
  """Mirrors left and right if values[0] is 1."""
  return jnp.where(values[0] > 0.5, image[:, ::-1], image)


def crop(image: Array, values: Array) -> Array:
  """Shifts by (rows, columns) = values[:2] whole pixels, zeros outside."""
  rows, columns = _crop_shift(image.shape[0]), _crop_shift(image.shape[1])
  padded = jnp.pad(image, ((rows, rows), (columns, columns), (0, 0)))
  shift = values[:2].astype(jnp.int32)
  start = (rows + shift[0], columns + shift[1], jnp.int32(0))
  return lax.dynamic_slice(padded, start, image.shape)


def cutout(image: Array, values: Array) -> Array:
  """Zeroes a rectangle of half the sides around (row, column) = values[:2]."""

  def covered(side: int, centre: Array) -> Array:
    size = int(side * _CUTOUT + 0.5)
    offset = jnp.arange(side, dtype=jnp.float32) - (centre - size // 2)
    return (offset >= 0) & (offset < size)

  rows = covered(image.shape[0], values[0])
  columns = covered(image.shape[1], values[1])
  keep = ~(rows[:, None] & columns[None])
  return image * keep[..., None].astype(image.dtype)


def brightness(image: Array, shift: Array) -> Array:
  """Adds `shift` to every value."""
  return image + shift


def saturation(image: Array, factor: Array) -> Array:
  """Scales the distance to each pixel's mean over the channels."""
  mean = image.mean(-1, keepdims=True)
  return (image - mean) * factor + mean


def contrast(image: Array, factor: Array) -> Array:
  """Scales the distance to the image's mean."""
  mean = image.mean()
  return (image - mean) * factor + mean


def color(image: Array, values: Array) -> Array:
  """Brightness by values[0], then saturation [1], then contrast [2]."""
  image = saturation(brightness(image, values[0]), values[1])
  return contrast(image, values[2])


def _crop_shift(side: int) -> int:
  return int(side * _CROP + 0.5)


Bounds = list[tuple[float, float]]


class Operation(NamedTuple):
  """One operation.

  Attributes:
    apply: (image, values) -> image.
    bounds: (H, W) -> (low, high) for each value; uniform in [low, high).
    whole: whether the values are whole numbers.
  """

  apply: Callable[[Array, Array], Array]
  bounds: Callable[[int, int], Bounds]
  whole: bool = False


def _color_bounds(height: int, width: int) -> Bounds:
  return [(-0.5, 0.5), (0.0, 2.0), (0.5, 1.5)]


def _crop_bounds(height: int, width: int) -> Bounds:
  most = _crop_shift(height), _crop_shift(width)
  return [(-shift, shift + 1) for shift in most]


def _cutout_bounds(height: int, width: int) -> Bounds:
  # An even square may also be centred on the edge beyond the last pixel.
  return [
    (0, side + 1 - int(side * _CUTOUT + 0.5) % 2) for side in (height, width)
  ]


def _flip_bounds(height: int, width: int) -> Bounds:
  return [(0, 2)]


def _scale_bounds(height: int, width: int) -> Bounds:
  return [(1 / _SCALE, _SCALE)] * 2


def _rotate_bounds(height: int, width: int) -> Bounds:
  return [(-math.radians(_ROTATE), math.radians(_ROTATE))]


OPERATIONS = {
  'color': Operation(color, _color_bounds),
  'crop': Operation(crop, _crop_bounds, whole=True),
  'cutout': Operation(cutout, _cutout_bounds, whole=True),
  'flip': Operation(flip, _flip_bounds, whole=True),
  'scale': Operation(scale, _scale_bounds),
  'rotate': Operation(rotate, _rotate_bounds),
}


def parse(augment: str) -> tuple[Stage, ...]:
  """Returns the stages of e.g. 'flip+color+crop_scale'; none for 'none'.

  `+` joins stages, all of which are applied in this order; `_` joins the
  operations of a stage, of which one is drawn.

  Raises:
    InputError: an unknown operation (naming near ones) or one given twice.
  """
  if augment == 'none':
    return ()
  stages = tuple(tuple(stage.split('_')) for stage in augment.split('+'))
  operations = [*itertools.chain(*stages)]
  for operation in operations:
    choose('augmentation', operation, OPERATIONS)
  if len(set(operations)) < len(operations):
    raise InputError(f'an augmentation stands twice in {augment!r}')
  return stages


def stage_keys(key: Key, stages: tuple[Stage, ...]) -> Key:
  """Returns a key for each stage; a stage that is alone takes `key` itself."""
  return key[None] if len(stages) <= 1 else jax.random.split(key, len(stages))


def sample_operation(key: Key, stage: Stage) -> Array:
  """Draws which operation of a stage to use: int32 []."""
  return jax.random.randint(key, (), 0, len(stage), jnp.int32)


def sample_values(
  key: Key, operation: Array, stage: Stage, image_shape: ImageShape
) -> Array:
  """Draws the values of a stage's operation for one image: float32 [3]."""
  rows, whole = [], []
  for name in stage:
    bounds = OPERATIONS[name].bounds(*image_shape[:2])
    rows.append(bounds + [(0.0, 0.0)] * (_VALUES - len(bounds)))
    whole.append(OPERATIONS[name].whole)
  low, high = jnp.moveaxis(jnp.array(rows, jnp.float32)[operation], -1, 0)
  values = jax.random.uniform(key, (_VALUES,), jnp.float32, low, high)
  # Rounding may reach `high`, which a whole number must not.
  floor = jnp.floor(values).clip(max=jnp.maximum(high - 1, low))
  return jnp.where(jnp.array(whole)[operation], floor, values)


def sample(
  key: Key, stages: tuple[Stage, ...], image_shape: ImageShape
) -> tuple[Augmentation, ...]:
  """Draws an augmentation for all images of a class.

  Args:
    key: is consumed.
    stages: as `parse` gives them; the operations of each are equally likely.
    image_shape: (H, W, D).

  Returns:
    One draw for each stage.
  """

  def one(key: Key, stage: Stage) -> Augmentation:
    operation_key, values_key = jax.random.split(key)
    operation = sample_operation(operation_key, stage)
    values = sample_values(values_key, operation, stage, image_shape)
    return Augmentation(operation, values)

  return tuple(map(one, stage_keys(key, stages), stages))


def apply(
  drawn: tuple[Augmentation, ...], image: Array, stages: tuple[Stage, ...]
) -> Array:
  """Augments one image, stage by stage.

  Args:
    drawn: for the same `stages`.
    image: float32, normalised [H, W, D].
    stages: as `parse` gives them.

  Returns:
    An image of the same shape; the same image if there are no stages.
  """
  for (operation, values), stage in zip(drawn, stages, strict=True):
    chex.assert_rank([operation, values, image], [0, 1, 3])
    branches = [OPERATIONS[name].apply for name in stage]
    image = lax.switch(operation, branches, image, values)
  return image
