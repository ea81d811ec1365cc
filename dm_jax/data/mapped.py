"""Arrays that lie in a file and are mapped into memory."""

import errno
import mmap
import os
import pathlib
import tempfile
from typing import IO

import numpy as np

from dm_jax.errors import InputError, first_line

# Of a folder that this process may only read: a mount, or another person's.
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def release(array: object) -> None:
  """Gives the memory of a mapped array's pages back; other arrays stay.

  The values stay as they are: what is read again comes from the file, and what
  was written is on its way there. Call it after each class that has been read,
  so that a pass over a whole set keeps one class in memory.

  Args:
    array: a `numpy.memmap` or a view of one. Anything else is left alone.
  """
  owner = array
  while isinstance(owner, np.ndarray):
    # Private pages hold what was written to them, and nothing else does.
    if isinstance(owner, np.memmap) and owner.mode == 'c':
      return
    owner = owner.base
  if isinstance(owner, mmap.mmap) and hasattr(mmap, 'MADV_DONTNEED'):
    owner.madvise(mmap.MADV_DONTNEED)


def create(path: os.PathLike, shape: tuple[int, ...]) -> np.memmap:
  """Makes an .npy file of zeros, uint8, and maps it for writing.

  Raises:
    OSError: e.g. the disk is full.
  """
  images = np.lib.format.open_memmap(path, 'w+', np.uint8, shape)
  with open(path, 'r+b') as file:
    _reserve(file, 0, os.fstat(file.fileno()).st_size)
  return images


def zeros_like(
  array: object, shape: tuple[int, ...], rows: tuple[int, int]
) -> np.ndarray:
  """Returns zeros, uint8: mapped where `array` is, else in memory.

  A mapped result lies in a nameless file and goes when it is no longer used: in
  the folder of the file of `array`, which has had room for as much, or in the
  temporary folder where that one can only be read.

  Args:
    array: what the result is like, `numpy.memmap`, a view of one, or any other.
    shape: of the result.
    rows: the range of the first axis that will be written to; the rest takes
      neither memory nor disk space.

  Raises:
    InputError: the temporary folder is needed and has no room.
    OSError: e.g. the disk is full.
  """
  path = _path(array)
  if path is None:
    return np.zeros(shape, np.uint8)
  folder = path.parent
  try:
    return _nameless(folder, shape, rows)
  except OSError as error:
    if error.errno not in _READ_ONLY:
      raise
  try:
    return _nameless(None, shape, rows)
  except OSError as error:
    raise InputError(
      f'data.cache: {folder} can only be read, and the temporary folder does'
      f' not take the images that data.validation leaves ({first_line(error)}):'
      ' set the variable TMPDIR to a folder with room, or data.cache to'
      ' one that can be written to'
    ) from error


def _nameless(
  folder: pathlib.Path | None, shape: tuple[int, ...], rows: tuple[int, int]
) -> np.memmap:
  """Returns zeros that are mapped to a file without a name; None is TMPDIR."""
  with tempfile.TemporaryFile(dir=folder) as file:
    images = np.memmap(file, np.uint8, 'w+', shape=shape)
    size = images.nbytes // shape[0]
    _reserve(file, rows[0] * size, (rows[1] - rows[0]) * size)
  return images


def _path(array: object) -> pathlib.Path | None:
  """Returns the file that an array is a view of."""
  while isinstance(array, np.ndarray):
    if isinstance(array, np.memmap) and array.filename is not None:
      return pathlib.Path(array.filename)
    array = array.base
  return None


def _reserve(file: IO[bytes], start: int, size: int) -> None:
  """Takes the disk space: without it, a write through a map kills."""
  if size and hasattr(os, 'posix_fallocate'):
    os.posix_fallocate(file.fileno(), start, size)
