"""A folder that keeps decoded images, grouped by class, to be mapped.

Each state of a set has a folder of its own there:

  NAME-DIGEST/train.npy   uint8 [C, N_max, H, W, D], padded with zeros
  NAME-DIGEST/test.npy    uint8 [N, H, W, D]
  NAME-DIGEST/about.json  counts, test labels, names, statistics and notes

It appears under this name when it is whole, so that a reader needs no lock.
"""

import hashlib
import json
import os
import pathlib
import shutil
import sys

import numpy as np

from dm_jax.data.class_data import WHOLE, ClassData, Dataset, Part
from dm_jax.data.mapped import create
from dm_jax.data.source import (
  Source,
  check_contents,
  fill,
  fill_classes,
  own_statistics,
)
from dm_jax.errors import InputError, first_line
from dm_jax.files import locked, write_atomically

_FORMAT = 2  # Of these files, and of how images are decoded.
# What files meet that are damaged or something else.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, OverflowError, EOFError)

Path = pathlib.Path


def load_cached(
  folder: str,
  name: str,
  resize: int | None,
  source: Source,
  part: Part,
) -> Dataset:
  """Maps the images that are kept; reads and keeps them where none are.

  One process reads the set; others that want it wait. A process that is killed
  leaves a hidden folder, which the next one begins anew.

  Args:
    folder: of all sets that are kept; is made.
    name: of the set.
    resize: as the source was given it.
    source: of the images. Kept ones are of its present state.
    part: of this process. All classes are mapped, which costs nothing, but
      `ClassData.held` is as without a cache.

  Returns:
    Both sets, mapped for reading, with the training set's own statistics.

  Raises:
    InputError: the folder cannot be used, what is in it is damaged, or whatever
      the source raises.
    OSError: e.g. the disk is full.
  """
  key = json.dumps([_FORMAT, name, resize, source.state()])
  digest = hashlib.sha256(key.encode()).hexdigest()[:16]
  root = Path(folder).expanduser()
  kept = root / f'{name.replace("/", "_")}-{digest}'
  if not kept.is_dir():
    try:
      root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise InputError(
        f'data.cache: {root} is no folder ({first_line(error)}): name another'
      ) from error
    if not os.access(root, os.W_OK):
      raise InputError(
        f'data.cache: {root} has not kept {name} as it is now, and cannot be'
        ' written: name another'
      )
    _keep(source, kept)
  return _map(kept, part)


def _keep(source: Source, kept: Path) -> None:
  """Makes a folder of a set, or waits until another process has made it."""
  lock = kept.with_name(f'.{kept.name}.lock')
  with locked(lock, 'waiting for another process to decode images'):
    if kept.is_dir():
      return
    print(f'decoded images will be kept in {kept}', file=sys.stderr)
    unfinished = kept.with_name(f'.{kept.name}.tmp')
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
      _write(source, unfinished)
      unfinished.rename(kept)
    except BaseException:
      shutil.rmtree(unfinished, ignore_errors=True)
      raise


def _write(source: Source, folder: Path) -> None:
  """Reads a whole set into files, a few MB at a time."""
  contents = source.open()
  outline = check_contents(contents)
  counts, shape = outline.counts, contents.image_shape
  everything = (0, len(counts))
  capacity = int(counts.max())
  images = create(folder / 'train.npy', (len(counts), capacity, *shape))
  fill_classes(images, contents.train, outline, everything)
  mean, std = own_statistics(images, counts, everything, WHOLE)
  test_images = create(folder / 'test.npy', (len(outline.test_labels), *shape))
  fill(test_images, contents.test)
  images.flush()
  test_images.flush()
  about = {
    'counts': counts.tolist(),
    'test_labels': outline.test_labels.tolist(),
    'class_names': outline.class_names,
    'mean': mean,
    'std': std,
    'notes': contents.notes,
  }
  text = json.dumps(about).encode()
  write_atomically(folder / 'about.json', lambda file: file.write(text))


def _map(kept: Path, part: Part) -> Dataset:
  """Returns what a folder keeps, having seen that it is whole."""
  try:
    about = json.loads((kept / 'about.json').read_text(encoding='utf-8'))
    counts = np.array(about['counts'], np.int32)
    test_labels = np.array(about['test_labels'], np.int32)
    images = np.lib.format.open_memmap(kept / 'train.npy', mode='r')
    test_images = np.lib.format.open_memmap(kept / 'test.npy', mode='r')
    names = tuple(map(str, about['class_names']))
    notes = tuple(map(str, about['notes']))
    mean, std = (tuple(map(float, about[key])) for key in ('mean', 'std'))
    shape = images.shape[2:]
    fits = (
      images.dtype == test_images.dtype == np.uint8
      and images.shape == (len(names), counts.max(), *shape)
      and counts.shape == (len(names),)
      and test_images.shape == (*test_labels.shape, *shape)
      and len(shape) == 3
      and shape[2:] == (len(mean),) == (len(std),)
    )
    if not fits:
      raise ValueError('its files do not belong together')
  except _DAMAGED as error:
    raise InputError(
      f'{kept} is damaged ({first_line(error)}): delete it, and the images are'
      ' decoded anew'
    ) from error
  held = part.held(len(counts))
  whole = held == (0, len(counts))
  train = ClassData(images, counts, mean, std, names, None if whole else held)
  return Dataset(train, test_images, test_labels, notes)
