"""One NumPy .npz file with both sets."""

import functools
import math
import pathlib
from typing import Any
import zipfile

import numpy as np

from dm_jax.data.arrays import check_images, check_labels
from dm_jax.data.source import Contents, Source, from_array
from dm_jax.errors import InputError, first_line
from dm_jax.files import UNREADABLE

_NEEDED = ('train_images', 'train_labels', 'test_images', 'test_labels')
_OPTIONAL = 'class_names'
_PIECE = 2**20  # Bytes.
_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}


def source(path: str | None) -> Source:
  """One file: train_images, train_labels, test_images, test_labels [, names].

  Args:
    path: the file. Images are [N, H, W, D], or [N, H, W] of one channel, uint8
      or float in [0, 1]; labels are integers [N]; class_names are C strings.
      Pickled objects are never loaded.

  Returns:
    The source. What is not compressed, as `numpy.savez` leaves it, is mapped;
    the rest passes through memory whole.

  Raises:
    InputError: no file is named. What the source raises names the file and what
      is missing or wrong.
  """
  if path is None:
    raise InputError(
      'data.dir is not set: for data.name=npz name the file, e.g. '
      '--config.data.dir=images.npz'
    )
  return Source(
    state=functools.partial(_state, pathlib.Path(path).expanduser()),
    open=functools.partial(_open, path),
  )


def _state(path: pathlib.Path) -> str:
  _check_file(path)
  stat = path.stat()
  return f'{path.resolve()} {stat.st_size} {stat.st_mtime_ns}'


def _open(path: str) -> Contents:
  arrays = _read(pathlib.Path(path).expanduser())
  names = arrays.get(_OPTIONAL)
  train, train_labels = _images_and_labels(arrays, 'train', path)
  test, test_labels = _images_and_labels(arrays, 'test', path)
  if train.shape[1:] != test.shape[1:]:
    raise InputError(
      f'test_images must be {train.shape[1:]} like the training images, '
      f'got {test.shape[1:]}'
    )
  return Contents(
    from_array(train, train_labels),
    from_array(test, test_labels),
    train.shape[1:],
    None if names is None else _names(names, path),
  )


def _check_file(path: pathlib.Path) -> None:
  if not path.is_file():
    raise InputError(
      f'data.dir: no file {path}: for data.name=npz it must be an .npz file'
    )


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns the arrays by name, all needed ones among them."""
  _check_file(path)
  # Opened here: np.load leaves the file of a broken archive open.
  with path.open('rb') as file:
    try:
      archive = np.load(file, allow_pickle=False)
    except UNREADABLE as error:
      # Of any other file NumPy says that it is pickled, which is no help.
      whole = zipfile.is_zipfile(path)
      reason = first_line(error) if whole else 'it is no zip archive'
      raise InputError(
        f'{path} is not a whole .npz file ({reason}): write it with numpy.savez'
      ) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
      raise InputError(
        f'{path} holds a single array: write {", ".join(_NEEDED)} together '
        'with numpy.savez'
      )
    missing = [name for name in _NEEDED if name not in archive]
    if missing:
      raise InputError(
        f'{path} has no {", ".join(missing)}: it has '
        f'{", ".join(archive) or "nothing"}'
      )
    names = (*_NEEDED, *([_OPTIONAL] if _OPTIONAL in archive else []))
    return {name: _member(archive, name, path) for name in names}


def _images_and_labels(
  arrays: dict[str, np.ndarray], part: str, path: str
) -> tuple[Any, np.ndarray]:
  """Returns one set; checked here too, for messages that name the file."""
  images = arrays[f'{part}_images']
  if images.ndim == 3:
    images = images[..., None]
  images = check_images(images, f'{part}_images in {path}')
  labels = arrays[f'{part}_labels']
  what = f'{part}_labels in {path}'
  return images, check_labels(labels, what, count=len(images))


def _member(archive, name: str, path: pathlib.Path) -> np.ndarray:
  """Returns one array of an open file, mapped where that can be done."""
  try:
    mapped = _mapped(archive, name, path)
    return archive[name] if mapped is None else mapped
  except UNREADABLE as error:
    if 'allow_pickle' in str(error):
      raise InputError(
        f'{name} in {path} holds Python objects, which are not loaded: save an '
        'array of numbers (names: of strings)'
      ) from error
    raise InputError(
      f'{name} in {path} cannot be read ({first_line(error)}): write the file '
      'again'
    ) from error


def _mapped(archive, name: str, path: pathlib.Path) -> np.ndarray | None:
  """Maps an array that lies in the file as it is; None where it does not."""
  members = {member.filename: member for member in archive.zip.infolist()}
  info = members.get(f'{name}.npy')
  if info is None or info.compress_type != zipfile.ZIP_STORED:
    return None
  with archive.zip.open(info) as member:
    start = archive.zip.fp.tell()  # Opening reads the member's header alone.
    version = np.lib.format.read_magic(member)
    if version not in _HEADERS:
      return None
    shape, fortran, dtype = _HEADERS[version](member)
    start += (header := member.tell())
    while member.read(_PIECE):  # To its end, where the checksum is met.
      pass
  size = math.prod(shape) * dtype.itemsize
  if dtype.hasobject or not size or header + size != info.file_size:
    return None
  return np.memmap(path, dtype, 'r', start, shape, 'F' if fortran else 'C')


def _names(names: np.ndarray, path: str) -> list[str]:
  """Returns C strings."""
  if names.ndim != 1 or names.dtype.kind not in 'US':
    raise InputError(
      f'class_names in {path} must be strings [C], got {names.dtype} of shape '
      f'{names.shape}'
    )
  # What is not UTF-8 is refused where names are checked.
  return [
    n.decode(errors='surrogateescape') if isinstance(n, bytes) else str(n)
    for n in names
  ]
