"""Pytrees in files of a pool's folder."""

from collections.abc import Iterator
import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dm_jax.errors import InputError
from dm_jax.files import UNREADABLE, write_atomically


def save_leaves(path: Path, what: str, tree: Any, **arrays: Any) -> None:
  """Writes the leaves of a pytree, and arrays by name, into one file.

  Args:
    path: of the .npz; its folder is made.
    what: is written, for the error.
    tree: of arrays.
    **arrays: beside the leaves.

  Raises:
    InputError: the file cannot be written.
  """
  for i, leaf in enumerate(jax.tree.leaves(tree)):
    arrays[f'leaf_{i:03d}'] = leaf
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: np.savez(file, **arrays))
  except OSError as error:
    raise InputError(
      f'{what} cannot be written to {path}: {error}; make room, or choose'
      ' another embedder.dir'
    ) from error


@contextlib.contextmanager
def opened(path: Path, what: str) -> Iterator[dict[str, np.ndarray]]:
  """Gives the arrays of a file that `save_leaves` wrote, by name.

  Args:
    path: of the .npz.
    what: it should hold, for the error.

  Raises:
    InputError: it is damaged or something else, as NumPy finds or the caller,
      who raises ValueError or KeyError inside.
  """
  try:
    with open(path, 'rb') as raw, np.load(raw, allow_pickle=False) as file:
      yield dict(file)
  except UNREADABLE as error:
    raise InputError(
      f'{path} cannot be read as {what}: {error}; delete it, or choose another'
      ' embedder.dir'
    ) from error


def leaves_of(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
  """Returns the leaves in their order."""
  return [arrays[name] for name in sorted(arrays) if name.startswith('leaf_')]
