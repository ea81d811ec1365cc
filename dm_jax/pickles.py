"""Unpickles plain values and NumPy arrays, and runs no code that a file names.

A pickle may name any function of any module to be called. Here it may name
those of a table; whatever else it names is refused before it is looked up.
"""

from collections.abc import Callable, Mapping
import pickle
from typing import IO, Any

import numpy as np

from dm_jax.errors import InputError

# What a pickle names -> what is used for it.
Names = Mapping[tuple[str, str], Any]


def _encode(text: str, encoding: str) -> bytes:
  """How protocol 2 holds bytes: as text of their values."""
  return text.encode(encoding)


def _array(kind: type, shape: tuple[int, ...], code: Any) -> np.ndarray:
  """An empty array, which its state fills afterwards.

  Args:
    kind: `numpy.ndarray`, as the table has no other.
    shape: (0,) in every pickle of NumPy's.
    code: of its values, until the state says another.
  """
  code = code.decode() if isinstance(code, bytes) else code
  return np.ndarray.__new__(kind, shape, code)


# NumPy 2 calls `numpy.core` `numpy._core`.
NUMPY: Names = {
  ('numpy', 'ndarray'): np.ndarray,
  ('numpy', 'dtype'): np.dtype,
  ('_codecs', 'encode'): _encode,
  **{
    (f'numpy.{core}.multiarray', '_reconstruct'): _array
    for core in ('core', '_core')
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
    return _Unpickler(file, names, persistent, encoding).load()
  except InputError:
    raise
  except Exception as error:  # Damaged bytes raise errors of any kind.
    raise InputError(f'it is no whole pickle: {error}') from error
