"""Holds training images out for validation."""

import dataclasses
from typing import NamedTuple

import numpy as np

from dm_jax.data.class_data import ClassData
from dm_jax.types import InputError


class Split(NamedTuple):
  """A training set in two parts.

  Attributes:
    train: what is left to condense, with the whole set's statistics.
    images: uint8 [N, H, W, D], held out.
    labels: int32 [N].
  """

  train: ClassData
  images: np.ndarray
  labels: np.ndarray


def hold_out(data: ClassData, share: float, seed: int) -> Split:
  """Holds a random share of each class's images out, the test set untouched.

  Args:
    data: the whole training set.
    share: of each class, in [0, 1), rounded; at least one image where it is
      above 0.
    seed: decides which.

  Raises:
    InputError: a class would have no image left.
  """
  if not share:
    none = np.zeros((0, *data.image_shape), np.uint8)
    return Split(data, none, np.zeros(0, np.int32))
  images, counts = np.asarray(data.images), np.asarray(data.counts)
  random = np.random.default_rng(seed)
  kept, held = [], []
  for name, count in zip(data.class_names, counts, strict=True):
    out = max(round(share * count), 1)
    if out >= count:
      raise InputError(
        f'data.validation {share} leaves no image of class {name!r}, which has'
        f' {count}: choose a smaller share'
      )
    order = random.permutation(count)
    held.append(np.sort(order[:out]))
    kept.append(np.sort(order[out:]))
  rest = np.zeros(
    (len(counts), max(map(len, kept)), *images.shape[2:]), np.uint8
  )
  for row, image, rows in zip(rest, images, kept, strict=True):
    row[: len(rows)] = image[rows]
  train = dataclasses.replace(
    data, images=rest, counts=np.array([len(rows) for rows in kept], np.int32)
  )
  labels = np.repeat(np.arange(len(held), dtype=np.int32), [*map(len, held)])
  out = np.concatenate([i[rows] for i, rows in zip(images, held, strict=True)])
  return Split(train, out, labels)
