"""Holds training images out for validation."""

import dataclasses
from typing import NamedTuple

import numpy as np

from dm_jax.data.arrays import chunks
from dm_jax.data.class_data import ClassData
from dm_jax.data.mapped import release, zeros_like
from dm_jax.errors import InputError

_PIECE = 2**24  # Bytes that are copied at a time.


class Split(NamedTuple):
  """A training set in two parts.

  Attributes:
    train: what is left to condense, with the whole set's statistics.
    images: uint8 [N, H, W, D], held out of the classes that are held here.
    labels: int32 [N].
  """

  train: ClassData
  images: np.ndarray
  labels: np.ndarray


def hold_out(data: ClassData, share: float, seed: int) -> Split:
  """Holds a random share of each class's images out, the test set untouched.

  Args:
    data: the whole training set; only `held` classes are read.
    share: of each class, in [0, 1), rounded; at least one image where it is
      above 0.
    seed: decides which; a class's do not depend on what is held.

  Returns:
    Both parts. What is left is mapped to a file where the images are, and in
    memory otherwise.

  Raises:
    InputError: a class would have no image left, or no folder has room for a
      file.
  """
  if not share:
    none = np.zeros((0, *data.image_shape), np.uint8)
    return Split(data, none, np.zeros(0, np.int32))
  images, counts = np.asarray(data.images), np.asarray(data.counts)
  kept, out = _draw(data, share, seed)
  held = data.held_range
  classes = range(*held)
  sizes = [len(rows) for rows in kept]
  shape = (len(counts), max(sizes), *images.shape[2:])
  rest = zeros_like(images, shape, held)
  labels = np.repeat(
    np.arange(*held, dtype=np.int32), [len(out[c]) for c in classes]
  )
  held_out = np.empty((len(labels), *images.shape[2:]), np.uint8)
  for label in classes:
    _copy(images[label], kept[label], rest[label])
    start = np.searchsorted(labels, label)
    _copy(images[label], out[label], held_out[start:])
    release(images)
    release(rest)
  train = dataclasses.replace(
    data, images=rest, counts=np.array(sizes, np.int32)
  )
  return Split(train, held_out, labels)


def _draw(
  data: ClassData, share: float, seed: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
  """Returns the rows of each class that stay and those that are held out."""
  random = np.random.default_rng(seed)
  kept, out = [], []
  counts = np.asarray(data.counts)
  for name, count in zip(data.names, counts, strict=True):
    number = max(round(share * count), 1)
    if number >= count:
      raise InputError(
        f'data.validation {share} leaves no image of class {name!r}, which has'
        f' {count}: choose a smaller share'
      )
    order = random.permutation(count)
    out.append(np.sort(order[:number]))
    kept.append(np.sort(order[number:]))
  return kept, out


def _copy(images: np.ndarray, rows: np.ndarray, target: np.ndarray) -> None:
  """Copies some images to the first places of `target`, a few MB at a time."""
  for piece in chunks((len(rows), *images.shape[1:]), _PIECE):
    target[piece] = images[rows[piece]]
