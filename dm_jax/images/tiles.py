"""Several images in one: tiles, each a smaller image, enlarged to train on."""

import math

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from dm_jax.errors import InputError
from dm_jax.types import Array, ImageShape

_LEAST = 2  # Pixels a side of the smallest tile.


def cut(stored: Array, grey: Array, *, factor: int) -> Array:
  """Cuts an image into tiles and enlarges each to the image's size.

  Where the factor does not divide a side, it is padded at its end. Pixels
  between are interpolated bilinearly, with half-pixel centres; beyond the
  outermost ones the image goes on as it is at its edge. (Kim et al. 2022,
  "Dataset Condensation via Efficient Synthetic-Data Parameterization".)

  Args:
    stored: float [H, W, D].
    grey: to pad with [D].
    factor: f, tiles a side.

  Returns:
    [f · f, H, W, D], row by row.
  """
  height, width, channels = stored.shape
  tall, wide = math.ceil(height / factor), math.ceil(width / factor)
  canvas = jnp.broadcast_to(grey, (tall * factor, wide * factor, channels))
  padded = lax.dynamic_update_slice(canvas, stored, (0, 0, 0))
  tiles = padded.reshape(factor, tall, factor, wide, channels).swapaxes(1, 2)
  return jax.image.resize(
    tiles.reshape(-1, tall, wide, channels),
    (factor * factor, height, width, channels),
    'linear',
  )


def lay(images: Array, *, factor: int) -> Array:
  """Shrinks images to tiles of one image, by taking the nearest pixels.

  Where the factor does not divide a side, the first tiles have a pixel more.

  Args:
    images: [f · f, H, W, D].
    factor: f, tiles a side.

  Returns:
    [H, W, D], the images row by row.
  """
  height, width = images.shape[1:3]
  (row, y), (column, x) = _sources(height, factor), _sources(width, factor)
  tile = row[:, None] * factor + column
  return images[tile, y[:, None], x[None, :]]


def _sources(side: int, factor: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns of every pixel along a side its tile and its place in the image."""
  sizes = side // factor + (np.arange(factor) < side % factor)
  tile = np.repeat(np.arange(factor), sizes)
  place = np.concatenate([np.arange(size) * side // size for size in sizes])
  return tile, place


def check_factor(factor: int, image_shape: ImageShape) -> None:
  """Raises InputError if images are too small to be cut so.

  Args:
    factor: tiles a side.
    image_shape: (H, W, D).
  """
  side = min(image_shape[:2])
  if _is_possible(factor, side):
    return
  possible = [f for f in range(2, factor) if _is_possible(f, side)]
  remedy = f'use {possible[-1]}' if possible else 'use condense.storage plain'
  raise InputError(
    f'condense.factor {factor} leaves tiles of less than {_LEAST} pixels in'
    f' images of {image_shape[0]}×{image_shape[1]}: {remedy}',
    setting='condense.factor',
  )


def _is_possible(factor: int, side: int) -> bool:
  """Whether the last tile, which padding fills up, has pixels of its own."""
  return side - (factor - 1) * math.ceil(side / factor) >= _LEAST
