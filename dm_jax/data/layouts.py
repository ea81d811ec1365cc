"""The files that the paper's sets are published in, as torchvision keeps them.

A layout is a few files with known names: pickled batches, binary batches, idx
files or MATLAB's. They are read from a folder or from the archive itself.
"""

from collections.abc import Callable, Iterable, Sequence
import functools
import gzip
import hashlib
import io
import math
import os
import pathlib
import tarfile
from typing import Any, NamedTuple

import numpy as np

from dm_jax.data.files import file_state
from dm_jax.data.source import Contents, Source, Stored
from dm_jax.errors import InputError, first_line
from dm_jax.images.pictures import resize_images
from dm_jax.pickles import unpickle

_SIDE = 32  # Pixels, of the CIFAR sets.
_BYTE = 8  # The idx format's number of uint8.
# Folders of torchvision whose files have the same names.
_ALIKE = ('MNIST/raw', 'FashionMNIST/raw', 'KMNIST/raw')

Path = pathlib.Path


class Split(NamedTuple):
  """What one or several files hold.

  Attributes:
    images: uint8 [N, H, W, D].
    labels: integers [N].
  """

  images: np.ndarray
  labels: np.ndarray


class Layout(NamedTuple):
  """Names of files, and how they are read.

  Attributes:
    folder: where torchvision has them, below its root.
    train: names of the files of the training set, in order.
    test: of the test set.
    parse: what is in one of these files.
    join: makes a split of what is in its files.
    meta: the file of the class names; None where none is.
    parse_meta: C class names of that file's bytes.
    class_names: C names that are in no file; None is '0', '1', …
  """

  folder: str
  train: tuple[str, ...]
  test: tuple[str, ...]
  parse: Callable[[bytes], Split | np.ndarray]
  join: Callable[[Sequence], Split]
  meta: str | None = None
  parse_meta: Callable[[bytes], Sequence[str]] | None = None
  class_names: Sequence[str] | None = None

  @property
  def files(self) -> tuple[str, ...]:
    return (*self.train, *self.test, *([self.meta] if self.meta else []))


def find(
  layouts: Iterable[Layout], root: Path, resize: int | None = None
) -> Source | None:
  """Finds the files of a layout in torchvision's place, or in `root` itself.

  MNIST and FashionMNIST have files of the same names. The names of folders tell
  them apart where torchvision made them; files that lie directly in `root` are
  otherwise what the caller says they are.

  Args:
    layouts: the first that is there is taken.
    root: that holds torchvision's folder, or is it.
    resize: see `source`.

  Returns:
    The source; None where no file of any layout is.

  Raises:
    InputError: naming the files that are not there, where some are.
  """
  for layout in layouts:
    own = Path(layout.folder)
    for place in _places(own, root):
      named = layout.folder and place.parts[-len(own.parts) :] == own.parts
      some = any(_path(place, name) for name in layout.files)
      if some or named and place.is_dir():
        return source(layout, place, resize)
  return None


def _places(own: Path, root: Path) -> list[Path]:
  """Returns where the files of torchvision's folder `own` may lie."""
  parts = Path(os.path.abspath(root)).parts  # Not resolved: links have names.
  places = [root / own]
  if parts[-1:] == own.parts[:-1]:
    places.append(root / own.name)
  if parts[-2:] == own.parts or '/'.join(parts[-2:]) not in _ALIKE:
    places.append(root)
  return places


def source(layout: Layout, place: Path, resize: int | None = None) -> Source:
  """Reads a layout.

  The images come in the order that tfds gives them, so that a set has the same
  results whichever way it came.

  Args:
    layout: of the files.
    place: the folder that holds them, plain or compressed (.gz), or a tar
      archive of it.
    resize: pixels; to resize × resize, bicubic, with antialiasing. None takes
      the images as they are.

  Raises:
    InputError: naming the files that are not there.
  """
  if place.is_dir():
    paths = [_path(place, name) for name in layout.files]
    missing = [
      name for name, path in zip(layout.files, paths, strict=True) if not path
    ]
    if missing:
      raise InputError(
        f'{place} has no {", ".join(missing)}: lay it there, the whole set is'
        f' {", ".join(layout.files)}'
      )
    found = [path for path in paths if path]
  else:
    found = [place]
  return Source(
    state=functools.partial(file_state, found),
    open=functools.partial(_open, layout, place, resize),
  )


def _path(place: Path, name: str) -> Path | None:
  """Returns the file of this name, or its compressed form; None for neither."""
  paths = (place / name, place / f'{name}.gz')
  return next((path for path in paths if path.is_file()), None)


def _open(layout: Layout, place: Path, resize: int | None) -> Contents:
  data = _read_tar(layout, place) if place.is_file() else _read(layout, place)

  def split(names: tuple[str, ...]) -> Split:
    parts = [_parsed(layout.parse, *data.pop(name)) for name in names]
    images, labels = split = layout.join(parts)
    if len(images) != len(labels):
      raise InputError(
        f'{place}: {", ".join(names)} hold {len(images)} images and'
        f' {len(labels)} labels: replace them by whole ones'
      )
    return split

  train, test = split(layout.train), split(layout.test)
  height, width, channels = train.images.shape[1:]
  shape = (resize or height, resize or width, channels)
  names = layout.class_names
  if layout.meta and layout.parse_meta:
    names = _parsed(layout.parse_meta, *data.pop(layout.meta))
  return Contents(
    _stored(train, 'train', resize), _stored(test, 'test', resize), shape, names
  )


def _read(layout: Layout, place: Path) -> dict[str, tuple[str, bytes]]:
  """Returns (path, bytes) of each file by name."""
  data = {}
  for name in layout.files:
    path = _path(place, name) or place / name
    data[name] = str(path), _parsed(_bytes, str(path), path)
  return data


def _bytes(path: Path) -> bytes:
  data = path.read_bytes()
  return gzip.decompress(data) if path.suffix == '.gz' else data


def _read_tar(layout: Layout, place: Path) -> dict[str, tuple[str, bytes]]:
  """Returns (path, bytes) of each file in an archive by name."""

  def read(path: Path) -> dict[str, tuple[str, bytes]]:
    data = {}
    with tarfile.open(path) as archive:
      for member in archive:
        name = pathlib.PurePosixPath(member.name).name
        content = archive.extractfile(member) if member.isfile() else None
        if name in layout.files and content:
          data[name] = f'{path}/{member.name}', content.read()
    return data

  data = _parsed(read, str(place), place)
  missing = [name for name in layout.files if name not in data]
  if missing:
    raise InputError(
      f'{place} has no {", ".join(missing)}: it is another archive, or damaged'
    )
  return data


def _parsed(parse: Callable, path: str, data):
  """Returns parse(data), or says which file cannot be read."""
  try:
    return parse(data)
  except Exception as error:
    # zlib, tarfile, SciPy and NumPy raise a dozen types, as the file is broken.
    raise InputError(
      f'{path} cannot be read ({first_line(error)}): replace it by a whole one'
    ) from error


def _stored(split: Split, name: str, resize: int | None) -> Stored:
  images, labels = split
  order = tfds_order(name, len(labels))

  def read(rows: np.ndarray) -> np.ndarray:
    return resize_images(images[order[rows]], resize)

  return Stored(labels[order], read)


def tfds_order(split: str, count: int) -> np.ndarray:
  """Returns the order in which tfds keeps the images of a split.

  It sorts them by the MD5 digest of the split's name and their number.

  Returns:
    The numbers in the original files, integers [count].
  """
  salt = hashlib.md5(split.encode(), usedforsecurity=False)

  def digest(number: int) -> bytes:
    salted = salt.copy()
    salted.update(str(number).encode())
    return salted.digest()

  return np.array(sorted(range(count), key=digest), np.int64)


def _concatenated(parts: Sequence[Split]) -> Split:
  return Split(*map(np.concatenate, zip(*parts, strict=True)))


def _paired(parts: Sequence[np.ndarray]) -> Split:
  """A split of a file of images [N, H, W] and one of labels [N]."""
  images, labels = parts
  if (images.ndim, labels.ndim) != (3, 1):
    raise InputError(
      f'the idx files hold arrays of {images.ndim} and {labels.ndim}'
      ' dimensions: images have 3, labels 1'
    )
  return Split(images[..., None], labels)


def _cifar_images(planes: np.ndarray) -> np.ndarray:
  """Returns uint8 [N, H, W, D] of [N, D × H × W]."""
  if planes.dtype != np.uint8:
    raise ValueError(f'its images are {planes.dtype}, not uint8')
  images = planes.reshape(-1, 3, _SIDE, _SIDE)
  return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def _cifar_pickle(data: bytes, labels: str) -> Split:
  """A batch for Python; `labels` is the key of its labels."""
  planes, numbers = _entries(data, 'data', labels)
  return Split(_cifar_images(planes), np.array(numbers, np.int64))


def _cifar_names(data: bytes, key: str) -> list[str]:
  (names,) = _entries(data, key)
  return [_text(name) for name in names]


def _entries(data: bytes, *keys: str) -> list[Any]:
  """Returns some values of a pickled dictionary."""
  pickled = unpickle(io.BytesIO(data))
  if not isinstance(pickled, dict):
    raise ValueError('it holds no dictionary')
  values = {_text(key): value for key, value in pickled.items()}
  missing = [key for key in keys if key not in values]
  if missing:
    raise ValueError(f'it has no {" and no ".join(missing)}')
  return [values[key] for key in keys]


def _text(value: Any) -> Any:
  """Python 2 wrote texts as bytes."""
  return value.decode() if isinstance(value, bytes) else value


def _cifar_binary(data: bytes, labels: int) -> Split:
  """A batch of rows: `labels` bytes, the last of which counts, and pixels."""
  row = labels + 3 * _SIDE * _SIDE
  rows = np.frombuffer(data, np.uint8).reshape(-1, row)
  return Split(_cifar_images(rows[:, labels:]), rows[:, labels - 1])


def _lines(data: bytes) -> list[str]:
  return data.decode().split()


def _idx(data: bytes) -> np.ndarray:
  """An array: zero, zero, type, dimensions, their sizes, and the values."""
  zeros, kind, dimensions = data[:2], data[2], data[3]
  if zeros != b'\0\0' or kind != _BYTE:
    raise ValueError('it is no idx file of bytes')
  start = 4 + 4 * dimensions
  shape = tuple(map(int, np.frombuffer(data[4:start], '>u4')))
  values = np.frombuffer(data, np.uint8, offset=start)
  if len(shape) != dimensions or values.size != math.prod(shape):
    raise ValueError(f'it has {values.size} values for the shape {shape}')
  return values.reshape(shape)


def _mat(data: bytes) -> Split:
  """SVHN's file: X [H, W, D, N], and y [N, 1], where 10 is the digit 0."""
  from scipy import io as scipy_io

  arrays = scipy_io.loadmat(io.BytesIO(data), variable_names=['X', 'y'])
  images, labels = arrays['X'], arrays['y'].reshape(-1)
  if images.dtype != np.uint8 or images.ndim != 4:
    raise ValueError(f'its X is {images.dtype} {images.shape}')
  images = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
  return Split(images, labels.astype(np.int64) % 10)


_CIFAR10_BATCHES = tuple(f'data_batch_{i}' for i in range(1, 6))
_IDX = {
  'train': ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte'),
  'test': ('t10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte'),
  'parse': _idx,
  'join': _paired,
}

CIFAR10 = Layout(
  'cifar-10-batches-py',
  train=_CIFAR10_BATCHES,
  test=('test_batch',),
  parse=functools.partial(_cifar_pickle, labels='labels'),
  join=_concatenated,
  meta='batches.meta',
  parse_meta=functools.partial(_cifar_names, key='label_names'),
)
CIFAR10_BINARY = Layout(
  'cifar-10-batches-bin',
  train=tuple(f'{name}.bin' for name in _CIFAR10_BATCHES),
  test=('test_batch.bin',),
  parse=functools.partial(_cifar_binary, labels=1),
  join=_concatenated,
  meta='batches.meta.txt',
  parse_meta=_lines,
)
CIFAR100 = Layout(
  'cifar-100-python',
  train=('train',),
  test=('test',),
  parse=functools.partial(_cifar_pickle, labels='fine_labels'),
  join=_concatenated,
  meta='meta',
  parse_meta=functools.partial(_cifar_names, key='fine_label_names'),
)
CIFAR100_BINARY = Layout(
  'cifar-100-binary',
  train=('train.bin',),
  test=('test.bin',),
  parse=functools.partial(_cifar_binary, labels=2),  # Coarse, fine.
  join=_concatenated,
  meta='fine_label_names.txt',
  parse_meta=_lines,
)
MNIST = Layout('MNIST/raw', **_IDX)
FASHION_MNIST = Layout(
  'FashionMNIST/raw',
  **_IDX,
  class_names=(
    *('T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat'),
    *('Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'),
  ),
)
SVHN = Layout(
  '',
  train=('train_32x32.mat',),
  test=('test_32x32.mat',),
  parse=_mat,
  join=_concatenated,
)
