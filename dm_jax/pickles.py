"""Unpickles plain values and NumPy arrays, and runs no code that a file names.

A pickle may name any function of any module to be called. Here it may name
those of a table; whatever else it names is refused before it is looked up.
"""

from collections.abc import Callable, Mapping
import math
import pickle
from typing import IO, Any

import numpy as np

from dm_jax.errors import InputError

# What a pickle names -> what is used for it.
Names = Mapping[tuple[str, str], Any]

_NUMBERS = 'biufc'  # NumPy's letters of booleans, integers, floats, complex.


def _encode(text: str, encoding: str) -> bytes:
  """How protocol 2 holds bytes: as text of their values."""
  return text.encode(encoding)


def _empty() -> bytes:
  """How protocol 2 holds no bytes. `bytes` itself would take any size."""
  return b''


class _Kind:
  """A type of numbers, in the place of `numpy.dtype`.

  A type that is built from its pickled state may say that objects are numbers,
  and NumPy then takes the file's bytes for addresses.
  """

  def __init__(self, code: Any, *_: Any):
    """Takes a code such as 'f8'; other arguments do not count."""
    code = code.decode() if isinstance(code, bytes) else code
    if not isinstance(code, str) or np.dtype(code).kind not in _NUMBERS:
      raise InputError(
        f'it holds values of {code!r}, and only numbers are read'
      )
    self.dtype = np.dtype(code)

  def __setstate__(self, state: Any) -> None:
    """Takes nothing but the byte order of (version, order, …)."""
    order: Any = _as_bytes(state[1]).decode()
    self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
  """An array that takes its state only of a `_Kind`, and of its own size."""

  def __setstate__(self, state: Any) -> None:
    """Takes (version, shape, kind, whether in Fortran's order, bytes)."""
    _, shape, kind, fortran, data = state
    kind = _check_kind(kind)
    data = _as_bytes(data)
    count = math.prod(shape)
    if min(shape, default=0) < 0 or len(data) != count * kind.itemsize:
      raise InputError(f'an array of shape {shape} has {len(data)} bytes')
    whole: Any = (1, shape, kind, bool(fortran), data)
    super().__setstate__(whole)


def _array(*_: Any) -> _Array:
  """An empty array, which its state fills afterwards."""
  return _Array(0, np.uint8)


def _check_kind(kind: Any) -> np.dtype:
  """Returns the type of numbers that a pickle means.

  Raises:
    InputError: it is none of those that `NUMPY` makes.
  """
  if not isinstance(kind, _Kind):
    raise InputError('it holds an array of no type that is read')
  return kind.dtype


def _scalar(kind: Any, data: Any) -> Any:
  """Returns one number, of its type and its bytes."""
  return np.frombuffer(_as_bytes(data), _check_kind(kind), 1)[0]


def _as_bytes(data: Any) -> bytes:
  # Texts of Python 2 are bytes, however they were decoded.
  data = data.encode('latin1') if isinstance(data, str) else data
  if not isinstance(data, bytes):
    raise InputError(f'it holds an array of {type(data).__name__}, not bytes')
  return data


# NumPy 2 calls `numpy.core` `numpy._core`. The class of arrays is only handed
# to `_reconstruct`: no pickle can call its name.
NUMPY: Names = {
  ('numpy', 'ndarray'): 'ndarray',
  ('numpy', 'dtype'): _Kind,
  ('_codecs', 'encode'): _encode,
  **{(module, 'bytes'): _empty for module in ('__builtin__', 'builtins')},
  **{
    (f'numpy.{core}.multiarray', name): make
    for core in ('core', '_core')
    for name, make in (('_reconstruct', _array), ('scalar', _scalar))
  },
}


class _Unpickler(pickle.Unpickler):
  """Finds only what a table has."""

  def __init__(
    self,
    file: IO[bytes],
    names: Names,
    persistent: Callable[[Any], Any] | None,
    encoding: str,
  ):
    super().__init__(file, encoding=encoding)
    self._names, self._persistent = names, persistent

  def find_class(self, module: str, name: str) -> Any:
    found = self._names.get((module, name))
    if found is None:
      raise InputError(
        f'it needs {module}.{name} to be read, and only plain values and arrays'
        ' are read: a pickle that names anything else may run code'
      )
    return found

  def persistent_load(self, pid: Any) -> Any:
    if self._persistent is None:
      raise InputError('it refers to objects outside of itself')
    return self._persistent(pid)


def unpickle(
  file: IO[bytes],
  names: Names = NUMPY,
  persistent: Callable[[Any], Any] | None = None,
  encoding: str = 'bytes',
) -> Any:
  """Reads one pickled value.

  Args:
    file: opened for reading bytes, where the pickle starts.
    names: all that it may name.
    persistent: returns what a reference to outside stands for; None refuses
      them.
    encoding: of texts that Python 2 wrote; 'bytes' leaves them as bytes.

  Returns:
    Dictionaries, lists, tuples, numbers, texts, bytes and what `names` makes.

  Raises:
    InputError: it names something else, or is damaged. The line does not say
      which file: the caller does.
  """
  try:
    return _as_plain(_Unpickler(file, names, persistent, encoding).load(), {})
  except InputError:
    raise
  except Exception as error:  # Damaged bytes raise errors of any kind.
    raise InputError(f'it is no whole pickle: {error}') from error


def _as_plain(value: Any, done: dict[int, Any]) -> Any:
  """Returns a value with `numpy.ndarray` in the place of `_Array`.

  Args:
    value: what was unpickled, whose dictionaries and lists are changed.
    done: id -> the result for what was met before: a value may hold one object
      many times, and itself. No id means two objects, as all were there first.
  """
  if id(value) in done:
    return done[id(value)]
  if isinstance(value, _Array):
    done[id(value)] = value.view(np.ndarray)
  elif isinstance(value, dict):
    done[id(value)] = value
    for name, item in value.items():
      value[name] = _as_plain(item, done)
  elif isinstance(value, list):
    done[id(value)] = value
    value[:] = [_as_plain(item, done) for item in value]
  elif isinstance(value, tuple):
    parts = tuple(_as_plain(item, done) for item in value)
    done[id(value)] = parts
  else:
    return value
  return done[id(value)]
