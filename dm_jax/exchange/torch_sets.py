"""The layouts of other methods' .pt files."""

from collections.abc import Mapping, Sequence
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from dm_jax.errors import InputError
from dm_jax.exchange.released import UNIT, Released, Wanted
from dm_jax.exchange.torch_file import read_tensors, write_tensors

# The names of a pair of files, in the order they are looked for in a folder.
PAIRS = {'ddranking': 'images.pt', 'mtt': 'images_best.pt'}
_CLASSES = 'hard_labels.pt'  # Beside labels.pt of probabilities.


def recognise_value(value: Any) -> str | None:
  """Returns the layout of what a .pt file holds; None for an unknown one."""
  if isinstance(value, Mapping) and 'data' in value:
    return 'dm'
  if _is_pair(value):
    return 'idc'
  return 'mtt' if _is_images(value) else None


def read_dm(path: Path, wanted: Wanted) -> Released:
  """Reads a dictionary whose `data` lists [images, labels] of experiments.

  DC, DSA, DM, DataDAM and IDM write it: normalised images [N, D, H, W].
  """
  value = read_tensors(path)
  data = value.get('data') if isinstance(value, Mapping) else None
  if not isinstance(data, Sequence) or not all(map(_is_pair, data)):
    raise InputError('it has no data, a list of [images, labels]')
  if not 0 <= wanted.experiment < len(data):
    raise InputError(
      f'it holds {len(data)} experiments, 0 to {len(data) - 1}: there is no'
      f' {wanted.experiment}'
    )
  images, labels = data[wanted.experiment]
  return Released.from_arrays(channels_last(images), labels)


def read_idc(path: Path, _: Wanted) -> Released:
  """Reads [images, labels], unit images [N, D, H, W].

  IDC, DANCE, DSDM, M3D, TGDD and NCFM write it. Their images are stored ones,
  of several tiles: the file does not say how many.
  """
  value = read_tensors(path)
  if not _is_pair(value):
    raise InputError('it is no list of [images, labels]')
  images, labels = value
  read = Released.from_arrays(channels_last(images), labels, UNIT)
  return dataclasses.replace(read, may_be_tiled=True)


def read_pair(path: Path, _: Wanted) -> Released:
  """Reads two files, images… and labels…, normalised images [N, D, H, W].

  MTT, FTD, ATT, DATM and DD-Ranking have it.

  Args:
    path: of the images' file, or of the folder of both.
  """
  if path.is_dir():
    found = [name for name in PAIRS.values() if (path / name).exists()]
    if not found:
      raise InputError(f'it has none of {", ".join(PAIRS.values())}')
    path = path / found[0]
  other = path.with_name(path.name.replace('images', 'labels', 1))
  if other == path or not other.exists():
    raise InputError(f'there is no file of labels beside it, {other.name}')
  images, labels = read_tensors(path), read_tensors(other)
  if not _is_images(images) or not isinstance(labels, np.ndarray):
    raise InputError('it is no tensor of images with one of labels beside it')
  read = Released.from_arrays(channels_last(images), labels)
  if not (path.parent / _CLASSES).exists():
    return read
  classes = read_tensors(path.parent / _CLASSES)
  if not _are_classes(classes, read):
    raise InputError(
      f'{_CLASSES} beside it is not a class for each of its'
      f' {len(read.images)} images'
    )
  return dataclasses.replace(read, labels=np.asarray(classes, np.int64))


def _are_classes(value: Any, read: Released) -> bool:
  """Whether a file of classes goes with what was read."""
  if not isinstance(value, np.ndarray) or value.dtype.kind not in 'iu':
    return False
  if value.shape != read.labels.shape:
    return False
  return read.targets is not None or bool((value == read.labels).all())


def write_dm(path: Path, released: Released) -> None:
  """Writes a dictionary of one experiment, as `read_dm` reads it.

  Raises:
    InputError: the labels are probabilities, and the layout has classes alone.
  """
  if released.targets is not None:
    raise InputError(
      'the labels are probabilities, and the format pt holds classes alone: use'
      ' ddranking, npz, parquet or folder'
    )
  pair = [channels_first(released.images), released.labels]
  write_tensors(path, {'data': [pair], 'accs_all_exps': {}})


def write_ddranking(path: Path, released: Released) -> None:
  """Writes a folder of images.pt and labels.pt, for DD-Ranking.

  Where the labels are probabilities, hard_labels.pt holds the classes.
  """
  soft = released.targets
  labels = released.labels if soft is None else soft.astype(np.float32)
  path.mkdir()
  if soft is not None:
    write_tensors(path / _CLASSES, released.labels)
  write_tensors(path / 'images.pt', channels_first(released.images))
  write_tensors(path / 'labels.pt', labels)


def channels_last(images: np.ndarray) -> np.ndarray:
  """Returns [N, H, W, D] of [N, D, H, W]; others as they are."""
  return np.moveaxis(images, 1, -1) if np.ndim(images) == 4 else images


def channels_first(images: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(np.moveaxis(images, -1, 1), np.float32)


def _is_images(value: Any) -> bool:
  return isinstance(value, np.ndarray) and value.ndim == 4


def _is_pair(value: Any) -> bool:
  return (
    isinstance(value, Sequence)
    and len(value) == 2
    and _is_images(value[0])
    and isinstance(value[1], np.ndarray)
  )
