"""Sees training images that were read or made wrongly, by their values."""

import numpy as np

from dm_jax.data.arrays import chunks
from dm_jax.data.class_data import ClassData
from dm_jax.data.mapped import release
from dm_jax.errors import InputError

_NAMED = 3  # Classes; the others are counted.


def suspicions(data: ClassData) -> list[str]:
  """Returns a warning for each thing that looks wrong; see the two checks."""
  return [*filter(None, (check_variety(data), check_levels(data)))]


def check_levels(data: ClassData) -> str | None:
  """Returns a warning if no pixel is above 1 of 255, or None.

  As of images in [0, 1] that were cast to uint8. Little is read of others.

  Args:
    data: the training set; only classes that are held are looked at.
  """
  counts, (low, high) = np.asarray(data.counts), data.held_range
  if np.max(np.asarray(data.images[low:high, :2]), initial=0) > 1:
    return None
  for label in range(low, high):
    images = np.asarray(data.images[label])
    shape = images[: counts[label]].shape
    bright = any((images[piece] > 1).any() for piece in chunks(shape))
    release(images)
    if bright:
      return None
  return (
    'no training image has a value above 1, and uint8 goes to 255: give images'
    ' in [0, 1] as float32, and masks of 0 and 1 times 255'
  )


def check_variety(data: ClassData) -> str | None:
  """Returns a warning of classes whose images are all equal, if there are any.

  Little is read: of most classes the first two images.

  Args:
    data: the training set; only classes that are held are looked at. A class of
      one image is as it must be.

  Returns:
    One line that names the classes, or None.

  Raises:
    InputError: all images of all classes are equal.
  """
  counts, (low, high) = np.asarray(data.counts), data.held_range
  firsts = np.asarray(data.images[low:high, :2])  # A view, unless on a device.
  equal = [
    label
    for label, pair in enumerate(firsts, low)
    if counts[label] > 1
    and np.array_equal(*pair)
    and _are_equal(np.asarray(data.images[label]), counts[label])
  ]
  if data.held is None and len(equal) == np.count_nonzero(counts > 1):
    _check_classes(firsts[:, 0], counts.sum())
  if not equal:
    return None
  names = ', '.join(repr(data.names[label]) for label in equal[:_NAMED])
  more = f' and {len(equal) - _NAMED:,} more' if equal[_NAMED:] else ''
  which = (
    f'each of the classes {names}{more}' if equal[1:] else f'class {names}'
  )
  return f'all images of {which} are equal: look at how they were read or made'


def _check_classes(firsts: np.ndarray, count: int) -> None:
  """Raises InputError if all classes have one image, and the same one."""
  if count > 1 and all(np.array_equal(image, firsts[0]) for image in firsts):
    raise InputError(
      f'all {count:,} training images are equal, which tells no class from'
      ' another: look at how they were read or made'
    )


def _are_equal(images: np.ndarray, count: int) -> bool:
  """Whether the first images are, [N, H, W, D]."""
  same = all(
    (images[p] == images[0]).all() for p in chunks(images[:count].shape)
  )
  release(images)
  return same
