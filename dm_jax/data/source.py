"""What every source of images gives, and how that becomes a `Dataset`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dm_jax.data.arrays import (
  channel_sums,
  check_class_names,
  check_form,
  check_labels,
  chunks,
  statistics_of,
)
from dm_jax.data.class_data import ClassData, Dataset, Part
from dm_jax.data.mapped import release
from dm_jax.data.statistics import Statistics
from dm_jax.errors import InputError
from dm_jax.types import ImageShape

# Of sources beside the sets of tfds; hf:NAME is one of Hugging Face.
NAMES = ('digits', 'npz', 'folder', 'parquet', 'hf', 'tiny_imagenet')
_UNLABELLED = -1  # The label of all test images, where they are kept back.
_READ_VALUES = 2**24  # Pixels in memory at a time, beside where they go.

_Labels = TypeVar('_Labels', bound=Iterable[Any])
_Split = TypeVar('_Split')


class Stored(NamedTuple):
  """One split where it is stored.

  Attributes:
    labels: integers [N].
    read: ascending rows [n] -> uint8 [n, H, W, D]. It is called with a few MB
      of rows at a time, and not with all of them where several processes share
      a set.
  """

  labels: np.ndarray
  read: Callable[[np.ndarray], np.ndarray]


class Contents(NamedTuple):
  """Both splits, before any pixels are read.

  Attributes:
    train: every class of it needs an image.
    test: of classes of the training set.
    image_shape: (H, W, D) of all images.
    class_names: C names; None is '0', '1', …
    notes: see `Dataset`.
  """

  train: Stored
  test: Stored
  image_shape: ImageShape
  class_names: Sequence[str] | None = None
  notes: tuple[str, ...] = ()


class Source(NamedTuple):
  """Where images come from.

  Attributes:
    state: text that changes when what is there changes; reads no images.
    open: looks at what is there. It and `Stored.read` raise InputError.
  """

  state: Callable[[], str]
  open: Callable[[], Contents]


class Outline(NamedTuple):
  """The labels of both splits, checked.

  Attributes:
    labels: int32 [N], of the training set.
    counts: int32 [C].
    test_labels: int32 [N].
    class_names: C names.
  """

  labels: np.ndarray
  counts: np.ndarray
  test_labels: np.ndarray
  class_names: tuple[str, ...]

  @property
  def capacity(self) -> int:
    """The images of the largest class, N_max."""
    return int(self.counts.max())


def first_labelled(
  tests: Iterable[tuple[str, _Labels, _Split]], label: str
) -> tuple[_Split, _Labels, tuple[str, ...]]:
  """Chooses the test set: labels of published ones are often kept back.

  Args:
    tests: (where it is, for messages; its labels; it) of at least one split,
      the best first. Those behind the chosen one are not asked for.
    label: what the splits call their labels.

  Returns:
    The first split that has labels, these, and notes of those before it.

  Raises:
    InputError: all are unlabelled.
  """
  skipped: list[str] = []
  for where, labels, test in tests:
    if set(labels) != {_UNLABELLED}:
      notes = (f'{w} is unlabelled: the test set is {where}' for w in skipped)
      return test, labels, tuple(notes)
    skipped.append(where)
  raise InputError(
    f'{" and ".join(skipped)}: the test split is unlabelled, every {label} is'
    f' {_UNLABELLED}: give it labels, or give a split validation that has them'
  )


def from_array(images: np.ndarray, labels: np.ndarray) -> Stored:
  """Returns a split of an array, uint8 [N, H, W, D], in memory or mapped."""
  return Stored(labels, lambda rows: images[rows])


def read_dataset(
  contents: Contents, part: Part, statistics: Statistics | None
) -> Dataset:
  """Reads the test set and the training images of the classes that are held.

  Args:
    contents: what a source has.
    part: of this process.
    statistics: to normalise with; None computes them over all processes.

  Returns:
    Both sets. The memory of classes that are not held is reserved, not used.

  Raises:
    InputError: the labels or the images cannot be used.
  """
  outline = check_contents(contents)
  counts = outline.counts
  low, high = part.held(len(counts))
  shape = contents.image_shape
  try:
    # The operating system gives zeros their memory when they are written to.
    images = np.zeros((len(counts), outline.capacity, *shape), np.uint8)
    test_images = np.empty((len(outline.test_labels), *shape), np.uint8)
  except MemoryError as error:
    raise InputError(
      f'the images do not fit the memory ({error}): keep them in files, by'
      ' --config.data.cache=FOLDER'
    ) from error
  fill_classes(images, contents.train, outline, (low, high))
  fill(test_images, contents.test)
  if statistics is None:
    statistics = own_statistics(images, counts, (low, high), part)
  held = None if (low, high) == (0, len(counts)) else (low, high)
  train = ClassData(images, counts, *statistics, outline.class_names, held)
  return Dataset(train, test_images, outline.test_labels, contents.notes)


def check_contents(contents: Contents) -> Outline:
  """Returns the labels of what a source has, or says what is wrong with them.

  Raises:
    InputError: an empty split, a label that is out of range, or a class without
      images.
  """
  for stored, what in (
    (contents.train, 'train_images'),
    (contents.test, 'test_images'),
  ):
    shape = (len(stored.labels), *contents.image_shape)
    check_form(shape, np.uint8, what)
  train, test = contents.train.labels, contents.test.labels
  labels = check_labels(train, 'train_labels', count=len(train))
  names = check_class_names(labels, contents.class_names)
  test_labels = check_labels(
    test, 'test_labels', count=len(test), classes=len(names)
  )
  counts = np.bincount(labels, minlength=len(names)).astype(np.int32)
  return Outline(labels, counts, test_labels, names)


def fill_classes(
  images: np.ndarray,
  stored: Stored,
  outline: Outline,
  held: tuple[int, int],
  values: int = _READ_VALUES,
) -> None:
  """Reads training images to their places, in their order of appearance.

  Args:
    images: uint8 [C, N_max, H, W, D], in memory or mapped; is written to.
    stored: the training images.
    outline: their labels.
    held: the range of classes that are read.
    values: pixels read at a time, about.
  """
  labels, counts = outline.labels, outline.counts
  starts = np.cumsum(counts) - counts
  places = np.empty(len(labels), np.int64)
  order = np.argsort(labels, kind='stable')
  places[order] = np.arange(len(labels)) - np.repeat(starts, counts)
  low, high = held
  wanted = np.flatnonzero((low <= labels) & (labels < high))
  shape = images.shape[2:]
  for rows, pixels in _batches(stored, wanted, shape, 'train', values):
    images[labels[rows], places[rows]] = pixels
    release(images)


def fill(images: np.ndarray, stored: Stored) -> None:
  """Reads all test images to uint8 [N, H, W, D], in memory or mapped."""
  wanted = np.arange(len(images))
  for rows, pixels in _batches(stored, wanted, images.shape[1:], 'test'):
    images[rows[0] : rows[-1] + 1] = pixels
    release(images)


def _batches(
  stored: Stored,
  wanted: np.ndarray,
  shape: ImageShape,
  what: str,
  values: int = _READ_VALUES,
):
  """Yields (rows, their pixels) a few MB at a time."""
  from tqdm import tqdm

  # disable=None: no bar unless standard error is a terminal.
  with tqdm(
    total=len(wanted), desc=what, unit=' images', delay=1, disable=None
  ) as bar:
    for piece in chunks((len(wanted), *shape), values):
      rows = wanted[piece]
      yield rows, stored.read(rows)
      bar.update(len(rows))


def own_statistics(
  images: np.ndarray, counts: np.ndarray, held: tuple[int, int], part: Part
) -> Statistics:
  """Returns channel mean and deviation over the images of all processes.

  Integers are added up, so that they do not depend on who holds what.

  Args:
    images: uint8 [C, N_max, H, W, D], in memory or mapped.
    counts: int32 [C].
    held: the range of classes that are read.
    part: of this process.
  """
  sums = np.zeros((2, images.shape[-1]), np.int64)
  for label in range(*held):
    sums += channel_sums(images[label, : counts[label]])
    release(images)
  height, width = images.shape[2:4]
  pixels = int(counts.sum(dtype=np.int64)) * height * width
  return statistics_of(np.asarray(part.total(sums)), pixels)
