"""Layouts of .npz files: our plain one, and those of KIP and FRePo."""

from collections.abc import Iterable
import dataclasses
from pathlib import Path
import zipfile

import numpy as np

from dm_jax.errors import InputError, first_line
from dm_jax.exchange.released import Released, Wanted
from dm_jax.files import UNREADABLE

# Names of images and labels in files of others.
_NAMES = {'kip': ('images', 'labels'), 'frepo': ('image', 'label')}


def recognise_names(names: Iterable[str]) -> str | None:
  """Returns the layout of a file with such arrays; None for an unknown one."""
  names = set(names)
  if 'normalised' in names:
    return 'npz'
  if 'provenance' in names:
    return None
  found = (n for n, pair in _NAMES.items() if names.issuperset(pair))
  return next(found, None)


def array_names(path: Path) -> list[str]:
  """Returns the names of the arrays in a zip, whatever it is."""
  try:
    with zipfile.ZipFile(path) as archive:
      return [name.removesuffix('.npy') for name in archive.namelist()]
  except UNREADABLE as error:
    raise InputError(
      f'{path} cannot be read, it is cut off or damaged: {first_line(error)}'
    ) from error


def read_npz(path: Path, _: Wanted) -> Released:
  """Reads what `write_npz` wrote."""
  arrays = _load(
    path, ('normalised', 'labels', 'targets', 'mean', 'std', 'class_names')
  )
  read = Released.from_arrays(arrays['normalised'], arrays['labels'])
  for name in ('mean', 'std', 'class_names'):
    if arrays[name].ndim != 1:
      raise InputError(
        f'its {name} has shape {arrays[name].shape}, not one axis'
      )
  soft = arrays['targets'].ndim == 2
  return dataclasses.replace(
    read,
    targets=arrays['targets'] if soft else None,
    mean=tuple(arrays['mean'].tolist()),
    std=tuple(arrays['std'].tolist()),
    class_names=tuple(map(str, arrays['class_names'].tolist())),
  )


def read_kip(path: Path, _: Wanted) -> Released:
  """Reads `images` [N, H, W, D], normalised, and `labels` [N, C]: KIP, RFAD."""
  return _read(path, *_NAMES['kip'])


def read_frepo(path: Path, _: Wanted) -> Released:
  """Reads `image` [N, H, W, D], normalised, and `label` [N, C]: FRePo."""
  return _read(path, *_NAMES['frepo'])


def _read(path: Path, images: str, labels: str) -> Released:
  arrays = _load(path, (images, labels))
  return Released.from_arrays(arrays[images], arrays[labels])


def _load(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as file:
      missing = [name for name in names if name not in file.files]
      if missing:
        raise InputError(f'it lacks {", ".join(missing)}')
      return {name: file[name] for name in names}
  except InputError:
    raise
  except UNREADABLE as error:
    raise InputError(
      f'it is cut off, damaged or no .npz: {first_line(error)}'
    ) from error


def write_npz(path: Path, released: Released) -> None:
  """Writes plain arrays, for `numpy.load` alone.

  `images` uint8 and `normalised` float32 [N, H, W, D], `labels` int64 [N],
  `targets` (the same, or probabilities float32 [N, C]), `class_names`, `mean`
  and `std` float32 [D].
  """
  soft = released.targets
  arrays = {
    'images': released.pixels,
    'normalised': released.images,
    'labels': released.labels,
    'targets': released.labels if soft is None else soft,
    'class_names': np.array(released.class_names, np.str_),
    'mean': np.array(released.mean, np.float32),
    'std': np.array(released.std, np.float32),
  }
  with open(path, 'wb') as file:
    np.savez(file, **arrays)
