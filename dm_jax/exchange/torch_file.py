"""PyTorch's files of tensors, read and written without PyTorch.

Such a file (of `torch.save`, since PyTorch 1.6) is a zip: a pickle names where
in which raw storage each tensor lies. The pickle is read by a table of what it
may name, so no file runs code. `torch.load(weights_only=True)` would refuse
those of DM, which hold NumPy scalars beside their tensors; it reads the files
of older versions, where PyTorch is there.
"""

import collections
from collections.abc import Sequence
import io
from pathlib import Path
import pickle
from typing import IO, Any
import zipfile

import numpy as np

from dm_jax.errors import InputError, first_line
from dm_jax.files import UNREADABLE
from dm_jax.pickles import NUMPY, Names, unpickle

_STORAGES = {
  'FloatStorage': np.dtype('<f4'),
  'DoubleStorage': np.dtype('<f8'),
  'HalfStorage': np.dtype('<f2'),
  'LongStorage': np.dtype('<i8'),
  'IntStorage': np.dtype('<i4'),
  'ShortStorage': np.dtype('<i2'),
  'CharStorage': np.dtype('i1'),
  'ByteStorage': np.dtype('u1'),
  'BoolStorage': np.dtype('?'),
}


def read_tensors(path: Path) -> Any:
  """Reads what `torch.save` wrote; tensors come as NumPy arrays.

  Args:
    path: of the file.

  Returns:
    Dictionaries, lists, tuples, plain values and arrays.

  Raises:
    InputError: it is damaged, needs code to be read, or is of an old PyTorch
      and there is none here.
  """
  try:
    with open(path, 'rb') as raw:
      if raw.read(2) != b'PK':
        return _read_old(path)
      with zipfile.ZipFile(raw) as archive:
        return _read_zip(archive)
  except InputError as error:
    raise InputError(f'{path} cannot be read: {error}') from error
  except UNREADABLE as error:
    raise InputError(
      f'{path} cannot be read, it is cut off or damaged: {first_line(error)}'
    ) from error


def _read_zip(archive: zipfile.ZipFile) -> Any:
  pickles = [n for n in archive.namelist() if n.endswith('/data.pkl')]
  if len(pickles) != 1:
    raise InputError('it is a zip, but not one of torch.save')
  root = pickles[0].removesuffix('data.pkl')
  order = f'{root}byteorder'
  big = order in archive.namelist() and archive.read(order).strip() == b'big'

  def find(reference: Any) -> np.ndarray:
    """Returns a storage; several tensors may lie in one."""
    _, name, key, _, count = reference
    if name not in _STORAGES:
      raise InputError(f'it has a storage of an unknown kind, {name!r}')
    kind = _STORAGES[name]
    data = archive.read(f'{root}data/{key}')
    return np.frombuffer(data, kind.newbyteorder('>') if big else kind, count)

  with archive.open(pickles[0]) as file:
    return unpickle(io.BytesIO(file.read()), _NAMES, find)


def _tensor(
  storage: np.ndarray,
  offset: int,
  shape: Sequence[int],
  strides: Sequence[int],
  *_: Any,
) -> np.ndarray:
  """Returns a tensor, which must lie in its storage: the file says where."""
  if storage.ndim != 1:
    raise InputError('a tensor lies in what is no storage')
  if 0 in shape:
    return np.empty(shape, storage.dtype)
  last = offset + sum(
    (n - 1) * step for n, step in zip(shape, strides, strict=True)
  )
  if min(offset, *shape, *strides, 0) < 0 or last >= len(storage):
    raise InputError('a tensor lies outside of its storage')
  steps = [step * storage.itemsize for step in strides]
  view = np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)
  native = storage.dtype.newbyteorder('=')
  return np.array(view, native)


_NAMES: Names = {
  **NUMPY,
  # By name: a pickle could change the state of a NumPy type that it holds.
  **{('torch', name): name for name in _STORAGES},
  ('torch._utils', '_rebuild_tensor_v2'): _tensor,
  ('torch._utils', '_rebuild_parameter'): lambda tensor, *_: tensor,
  ('collections', 'OrderedDict'): collections.OrderedDict,
}


def _read_old(path: Path) -> Any:
  """Reads a file that is no zip: PyTorch before 1.6 wrote such ones."""
  try:
    import torch
  except ImportError:
    raise InputError(
      'it is no zip: it is damaged, no .pt, or of a PyTorch before 1.6, whose'
      ' files take PyTorch to be read (pip install torch)'
    ) from None
  try:
    read = torch.load(path, map_location='cpu', weights_only=True)
  except Exception as error:  # Damaged files raise errors of any kind.
    raise InputError(
      'it is damaged, no .pt, or needs code to be read, which is not run'
      f' ({type(error).__name__})'
    ) from error
  return _as_arrays(read)


def _as_arrays(value: Any) -> Any:
  if isinstance(value, dict):
    return {name: _as_arrays(item) for name, item in value.items()}
  if isinstance(value, list | tuple):
    return [_as_arrays(item) for item in value]
  return value.detach().numpy() if hasattr(value, 'detach') else value


def write_tensors(file: IO[bytes] | Path, value: Any) -> None:
  """Writes what `torch.load` reads, as tensors where there are arrays.

  Args:
    file: opened for writing, or its path.
    value: dictionaries, lists, plain values, and arrays of float32 or int64.
  """
  storages: list[np.ndarray] = []
  with zipfile.ZipFile(file, 'w') as archive:
    body = b'\x80\x02' + _encode(value, storages) + b'.'
    archive.writestr('archive/data.pkl', body)
    archive.writestr('archive/byteorder', 'little')
    for number, storage in enumerate(storages):
      data = storage.astype(storage.dtype.newbyteorder('<')).tobytes()
      archive.writestr(f'archive/data/{number}', data)
    archive.writestr('archive/version', '3\n')


_KINDS = {
  np.dtype(np.float32): 'FloatStorage',
  np.dtype(np.int64): 'LongStorage',
}


def _encode(value: Any, storages: list[np.ndarray]) -> bytes:
  """Returns a value in the words of a pickle of protocol 2.

  What PyTorch's functions are called is written out, since `pickle` itself
  writes the names of those alone that can be imported here.
  """
  if isinstance(value, dict):
    items = (part for item in value.items() for part in item)
    return b'}(' + _join(items, storages) + b'u'
  if isinstance(value, list):
    return b'](' + _join(value, storages) + b'e'
  if not isinstance(value, np.ndarray):
    return _plain(value)
  array = np.ascontiguousarray(value)
  kind = _KINDS[array.dtype]
  steps = tuple(step // array.itemsize for step in array.strides)
  storages.append(array)
  key = str(len(storages) - 1)
  return b''.join(
    (
      b'ctorch._utils\n_rebuild_tensor_v2\n(',
      b'(' + _plain('storage') + f'ctorch\n{kind}\n'.encode(),
      _plain(key) + _plain('cpu') + _plain(array.size) + b'tQ',
      _plain(0) + _plain(array.shape) + _plain(steps),
      b'\x89ccollections\nOrderedDict\n)RtR',
    )
  )


def _plain(value: Any) -> bytes:
  return pickle.dumps(value, 2)[2:-1]


def _join(values, storages: list[np.ndarray]) -> bytes:
  return b''.join(_encode(value, storages) for value in values)
