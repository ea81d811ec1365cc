"""`ClassData`: a labelled image set, grouped by class, ready for a device."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from dm_jax.arguments import as_statistic, refuse_traced
from dm_jax.data.arrays import (
  channel_statistics,
  check_class_names,
  check_images,
  check_labels,
)
from dm_jax.errors import InputError
from dm_jax.types import Array, ImageShape
from dm_jax.words import short_repr


@dataclasses.dataclass(frozen=True)
class Part:
  """The share of one process in what all of them load.

  Attributes:
    held: number of classes C -> the half-open range [low, high) of the classes
      that this process holds. The ranges of all processes cover every class
      once; a range may be empty.
    total: int64 [...] -> the same shape, added up over all processes. All of
      them call it equally often, with arrays of the same shape.
  """

  held: Callable[[int], tuple[int, int]]
  total: Callable[[np.ndarray], np.ndarray]


# One process alone holds everything.
WHOLE = Part(held=lambda classes: (0, classes), total=lambda sums: sums)


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=('images', 'counts', 'numbers'),
  meta_fields=('mean', 'std', 'held'),
  drop_fields=('class_names',),
)
@dataclasses.dataclass(frozen=True)
class ClassData:
  """A training set grouped by class.

  Names are no part of the pytree: equal shapes share what is compiled. What a
  transformation gives back has none, and goes by numbers, see `names`.

  Attributes:
    images: uint8 [C, N_max, H, W, D], each class padded with zeros to the
      largest one; NumPy or JAX.
    counts: int32 [C], the images that class c really has: its first ones.
    mean: per-channel mean of the training images in unit range, D values.
    std: per-channel deviation, D values.
    class_names: C names.
    held: the range [low, high) of the classes whose images are here, where
      several processes share a set; those of all others are undefined. All
      else speaks of all classes. None where all are here.
    numbers: int32 [C], the number of each class; None is 0, 1, ... All draws
      for a class follow from it and a key, whichever other classes are there.
  """

  images: Array | np.ndarray
  counts: Array | np.ndarray
  mean: tuple[float, ...]
  std: tuple[float, ...]
  class_names: tuple[str, ...] = ()
  held: tuple[int, int] | None = None
  numbers: Any = None

  def __post_init__(self):
    # A transformation may put anything where the arrays were.
    if self.numbers is None and hasattr(self.images, 'shape'):
      numbers = np.arange(len(self.images), dtype=np.int32)
      object.__setattr__(self, 'numbers', numbers)

  @property
  def held_range(self) -> tuple[int, int]:
    """`held`, or the range of all classes."""
    return (0, self.classes) if self.held is None else self.held

  @property
  def classes(self) -> int:
    return self.images.shape[0]

  @property
  def names(self) -> tuple[str, ...]:
    """The names of all classes; '0', '1', ... where there are none."""
    return self.class_names or tuple(map(str, range(self.classes)))

  @property
  def image_shape(self) -> ImageShape:
    height, width, channels = self.images.shape[-3:]
    return height, width, channels

  @property
  def own(self) -> Self:
    """The classes that are held, as a set of their own."""
    return self if self.held is None else self.part(*self.held)

  def part(self, low: int, high: int) -> Self:
    """Returns classes low to high - 1 as a set of their own, without a copy.

    Args:
      low: the first of the classes, which must all be held.
      high: one above the last; an empty range is allowed.

    Returns:
      [high - low, N_max, ...], of the same statistics, all of it held.

    Raises:
      ValueError: a class is not held.
    """
    first, last = self.held_range
    if not first <= low <= high <= last:
      raise ValueError(f'classes {low} to {high} of those held, {first}-{last}')
    rows = slice(low, high)
    return dataclasses.replace(
      self,
      images=self.images[rows],
      counts=self.counts[rows],
      numbers=self.numbers[rows],
      class_names=self.class_names[rows],
      held=None,
    )

  def take(self, classes: Sequence[int]) -> Self:
    """Returns some classes, in the order given, as a set of their own; a copy.

    Args:
      classes: different ones, at least one; all are held.

    Returns:
      [len(classes), N_max, ...], of the same statistics and as much padding, so
      that as many classes have the same shape; numbered from 0.
    """
    check_whole(self, 'choosing classes')
    rows = np.asarray(classes)
    return dataclasses.replace(
      self,
      images=self.images[rows],
      counts=np.asarray(self.counts)[rows],
      class_names=tuple(self.names[row] for row in rows),
      numbers=None,
    )

  def numbered_from(self, first: int) -> Self:
    """Returns the same classes with the numbers first, first + 1, ...

    Args:
      first: at least 0; e.g. how many classes of a stream came before.
    """
    numbers = first + np.arange(self.classes, dtype=np.int32)
    return dataclasses.replace(self, numbers=numbers)

  def __repr__(self) -> str:
    return short_repr(self)

  @classmethod
  def from_arrays(
    cls,
    images: Any,
    labels: Any,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
  ) -> Self:
    """Groups images by label, within a class in their order of appearance.

    Args:
      images: [N, H, W, D], uint8, or float in [0, 1], which is quantised to 256
        levels by rounding x * 255. JAX images stay on their device, all others
        become NumPy. Never modified or donated.
      labels: integers [N] in 0 to C - 1; each class needs an image.
      mean: per-channel mean in unit range, D values; None computes it.
      std: the same for the deviation. A constant channel gets 1.
      class_names: C names; None is '0', '1', …

    Returns:
      The training set, with counts as NumPy.

    Raises:
      InputError: naming the value and the remedy, if an argument breaks the
        above.

    Example:
      >>> images = np.zeros((3, 8, 8, 1), np.uint8)
      >>> ClassData.from_arrays(images, [1, 0, 1]).counts
      array([1, 2], dtype=int32)
    """
    refuse_traced('ClassData.from_arrays', images, labels)
    images = check_images(images)
    labels = check_labels(labels, count=len(images))
    names = check_class_names(labels, class_names)
    if mean is None or std is None:
      computed = channel_statistics(images)
      mean = computed[0] if mean is None else mean
      std = computed[1] if std is None else std
    channels = images.shape[-1]
    mean = as_statistic('mean', mean, channels)
    std = as_statistic('std', std, channels)
    counts = np.bincount(labels, minlength=len(names)).astype(np.int32)
    return cls(_group(images, labels, counts), counts, mean, std, names)


@dataclasses.dataclass(frozen=True)
class Dataset:
  """What every source gives: a training set, and a test set left as it is.

  Attributes:
    train: the training images by class.
    test_images: uint8 [N, H, W, D].
    test_labels: int32 [N], indices into `train.class_names`.
    notes: what a person should know of how images were read, a line each.
  """

  train: ClassData
  test_images: np.ndarray
  test_labels: np.ndarray
  notes: tuple[str, ...] = ()

  def __repr__(self) -> str:
    return short_repr(self)

  @classmethod
  def from_arrays(
    cls,
    train_images: Any,
    train_labels: Any,
    test_images: Any,
    test_labels: Any,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
  ) -> Self:
    """Checks both sets and groups the training set by class.

    Args:
      train_images: as in `ClassData.from_arrays`, as are all below.
      train_labels: [N].
      test_images: of the same height, width and channels.
      test_labels: of classes in the training set, but not of all of them.
      mean: D values or None.
      std: D values or None.
      class_names: C names or None.

    Returns:
      The two sets, the test set on the host.

    Raises:
      InputError: naming the value and the remedy.
    """
    refuse_traced('Dataset.from_arrays', train_images, train_labels)
    train = ClassData.from_arrays(
      train_images, train_labels, mean=mean, std=std, class_names=class_names
    )
    images = np.asarray(check_images(test_images, 'test_images'))
    if images.shape[1:] != train.image_shape:
      raise InputError(
        f'test_images must be {train.image_shape} like the training images, '
        f'got {images.shape[1:]}'
      )
    labels = check_labels(
      test_labels, 'test_labels', count=len(images), classes=train.classes
    )
    return cls(train, images, labels)


def check_whole(data: ClassData, what: str) -> None:
  """Raises InputError, where `what` is to be done, unless all classes are held.

  Args:
    data: any.
    what: as the message begins: '{what} needs the images of all classes'.
  """
  if data.held is not None:
    low, high = data.held
    here = f'classes {low} to {high - 1}' if low < high else 'none'
    raise InputError(
      f'{what} needs the images of all classes, this process holds'
      f' {here} of {data.classes}: run it in one process'
    )


def _group(
  images: Array | np.ndarray, labels: np.ndarray, counts: np.ndarray
) -> Array | np.ndarray:
  """Returns uint8 [C, N_max, H, W, D] where the images are."""
  order = np.argsort(labels, kind='stable').astype(np.int32)
  groups = np.split(order, np.cumsum(counts)[:-1])
  if isinstance(images, jax.Array):
    # Padding points behind the last image, where take fills in zeros.
    index = np.full((len(counts), counts.max()), len(images), np.int32)
    for row, group in zip(index, groups, strict=True):
      row[: len(group)] = group
    return jnp.take(images, index, axis=0, mode='fill', fill_value=0)
  grouped = np.zeros((len(counts), counts.max(), *images.shape[1:]), np.uint8)
  for row, group in zip(grouped, groups, strict=True):
    row[: len(group)] = images[group]
  return grouped
