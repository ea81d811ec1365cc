"""Tables of images as Hugging Face lays them out: image bytes and a label."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import functools
import io
from typing import Any, NamedTuple

import numpy as np

from dm_jax.data.files import deep_notes
from dm_jax.data.source import Contents, Stored, first_labelled
from dm_jax.errors import InputError, first_line
from dm_jax.images.pictures import decode_image, image_header
from dm_jax.types import ImageShape

_ROWS = 1000  # Read at a time: encoded images are small beside pixels.
_IMAGES = ('image', 'img', 'images')
_LABELS = ('label', 'labels', 'fine_label', 'class', 'target')


class Table(NamedTuple):
  """The rows of one split.

  Attributes:
    where: for messages.
    types: what Arrow stores, by column.
    features: what Hugging Face knows of a column, e.g. {'_type': 'Image'}.
    count: of rows.
    read: (column, ascending rows [n]) -> n values. Images are encoded bytes, or
      {'bytes': …, 'path': …}, of which one may be None.
  """

  where: str
  types: Mapping[str, Any]
  features: Mapping[str, Any]
  count: int
  read: Callable[[str, np.ndarray], list[Any]]


# The names of splits that hold the test set: the first that has labels counts.
TESTS = ('test', 'validation', 'valid', 'val')


def choose_splits(
  names: Sequence[str], where: str
) -> tuple[str, tuple[str, ...]]:
  """Returns the name of the training split, and those that may be the test set.

  Raises:
    InputError: naming those that are there.
  """
  tests = tuple(name for name in TESTS if name in names)
  if 'train' not in names or not tests:
    raise InputError(
      f'{where} must have the splits train and {" or ".join(TESTS)}, it has'
      f' {", ".join(names) or "none"}'
    )
  return 'train', tests


def contents(
  train: Table, tests: Iterable[Table], resize: int | None
) -> Contents:
  """Finds the images and the labels of both splits.

  Args:
    train: has a column of images and one of labels. Labels are numbers, or
      texts, which are then the class names, sorted.
    tests: at least one; the first that has labels is the test set. It has
      columns of the same names.
    resize: pixels; images are resized to resize × resize, bicubic, with
      antialiasing. None takes them as they are, all of one size.

  Returns:
    What is in the tables; all labels and the sizes of all images are read.

  Raises:
    InputError: naming the columns, where one is not found, the row that cannot
      be read, or the splits that are all unlabelled.
  """
  image = _column(train, _is_image, _IMAGES, 'image bytes')
  label = _column(train, _is_label, _LABELS, 'labels')
  names = train.features.get(label, {}).get('names')
  values = _labels(train, label)
  are_texts = any(isinstance(value, str) for value in values)
  if are_texts:
    names = sorted(set(map(str, values)))
  test, test_values, skipped = first_labelled(
    _read_labels(tests, image, label), label
  )
  shape, notes = _look((train, test), image, resize)
  decode = functools.partial(_decoded, image=image, shape=shape, resize=resize)

  def stored(table: Table, numbers: np.ndarray) -> Stored:
    return Stored(numbers, functools.partial(decode, table))

  own = _as_texts(test, label, test_values, names, are_texts)
  return Contents(
    stored(train, _numbers(values, names, train.where)),
    stored(test, _numbers(own, names, test.where)),
    shape,
    names,
    (*skipped, *notes),
  )


def _read_labels(
  tests: Iterable[Table], image: str, label: str
) -> Iterator[tuple[str, list[Any], Table]]:
  """Yields where each split is, its labels and the split itself."""
  for test in tests:
    for name in (image, label):
      if name not in test.types:
        raise InputError(f'{test.where} has no column {name}, as train has')
    yield test.where, _labels(test, label), test


def _column(
  table: Table,
  fits: Callable[[Table, str], bool],
  usual: Sequence[str],
  what: str,
) -> str:
  """Returns the only column that fits, or the one with a usual name."""
  found = [name for name in table.types if fits(table, name)]
  named = [name for name in usual if name in found]
  if named or len(found) == 1:
    return (named or found)[0]
  columns = ', '.join(f'{name} ({kind})' for name, kind in table.types.items())
  raise InputError(
    f'{table.where} must have one column of {what}, called'
    f' {" or ".join(usual)} if several could be it; its columns are {columns}'
  )


def _is_image(table: Table, name: str) -> bool:
  import pyarrow

  kind = table.types[name]
  if table.features.get(name, {}).get('_type') == 'Image':
    return True
  if pyarrow.types.is_struct(kind):
    return kind.get_field_index('bytes') >= 0
  return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _is_label(table: Table, name: str) -> bool:
  import pyarrow

  kind = table.types[name]
  is_text = pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)
  # Texts are seldom labels: captions, file names.
  return pyarrow.types.is_integer(kind) or (is_text and name in _LABELS)


def _labels(table: Table, name: str) -> list[Any]:
  values = table.read(name, np.arange(table.count))
  if None in values:
    raise InputError(
      f'{table.where}: row {values.index(None)} has no {name}: remove it'
    )
  return values


def _as_texts(
  test: Table,
  label: str,
  values: list[Any],
  names: Sequence[str] | None,
  are_texts: bool,
) -> list[Any]:
  """Returns a test set's labels, by name where its numbers are not train's.

  Args:
    test: may have class names of its own, e.g. of fewer classes.
    label: its column of labels.
    values: these.
    names: of train's classes, where they are known.
    are_texts: whether the labels of train are.

  Raises:
    InputError: numbers without names, where those of train are texts.
  """
  theirs = test.features.get(label, {}).get('names')
  if any(isinstance(value, str) for value in values):
    return values
  if theirs is None and are_texts:
    raise InputError(
      f'{test.where}: label {values[0]} is a number, and those of train are'
      ' texts: give texts in both'
    )
  if None in (theirs, names) or list(theirs) == list(names or ()):
    return values
  return [theirs[v] if 0 <= v < len(theirs) else v for v in values]


def _numbers(
  values: list[Any], names: Sequence[str] | None, where: str
) -> np.ndarray:
  """Returns labels as integers; texts are looked up among the names."""
  if not any(isinstance(value, str) for value in values):
    return np.array(values, np.int64)
  numbers = {name: number for number, name in enumerate(names or ())}
  unknown = next((value for value in values if value not in numbers), None)
  if unknown is not None:
    raise InputError(f'{where}: label {unknown!r} is not among those of train')
  return np.array([numbers[value] for value in values], np.int64)


def _encoded(
  table: Table, image: str, rows: np.ndarray
) -> Iterator[tuple[int, Any]]:
  """Yields (row, the image's bytes as a file, or its path)."""
  for start in range(0, len(rows), _ROWS):
    some = rows[start : start + _ROWS]
    for row, value in zip(some.tolist(), table.read(image, some), strict=True):
      if isinstance(value, dict):
        value = value['bytes'] or value.get('path')
      if value is None:
        raise InputError(f'{table.where}: row {row} has no {image}: remove it')
      yield row, io.BytesIO(value) if isinstance(value, bytes) else value


def _look(
  tables: Sequence[Table], image: str, resize: int | None
) -> tuple[ImageShape, tuple[str, ...]]:
  """Returns (H, W, D), D = 1 if all images are grey, else 3; and notes."""
  channels, deep, first = 1, 0, {}
  for table in tables:
    for row, file in _encoded(table, image, np.arange(table.count)):
      try:
        header = image_header(file, resize=resize)
      except Exception as error:  # Pillow's, as the broken file has it.
        raise _unreadable(table, row, error) from error
      channels = max(channels, header.shape[2])
      deep += header.is_deep
      first.setdefault(header.shape[:2], f'row {row} of {table.where}')
  if not first:
    raise InputError(f'{tables[0].where} has no rows')
  (height, width), *others = first
  if others:
    (tall, wide), (one, other, *_) = others[0], first.values()
    raise InputError(
      f'images differ in size: {one} is {width}x{height}, {other} is'
      f' {wide}x{tall}: give one size, e.g. --config.data.resize=64'
    )
  count = sum(table.count for table in tables)
  return (height, width, channels), deep_notes(deep, count)


def _decoded(
  table: Table,
  rows: np.ndarray,
  *,
  image: str,
  shape: ImageShape,
  resize: int | None,
) -> np.ndarray:
  """Returns the pixels of some rows, uint8 [n, H, W, D]."""
  images = np.empty((len(rows), *shape), np.uint8)
  files = _encoded(table, image, rows)
  for target, (row, file) in zip(images, files, strict=True):
    try:
      target[...] = decode_image(file, channels=shape[-1], resize=resize)
    except Exception as error:  # Pillow's, as the broken file has it.
      raise _unreadable(table, row, error) from error
  return images


def _unreadable(table: Table, row: int, error: Exception) -> InputError:
  return InputError(
    f'{table.where}: the image of row {row} cannot be read'
    f' ({first_line(error)}): repair or remove it'
  )
