"""Parquet files of images, as Hugging Face exports them."""

from collections.abc import Sequence
import functools
import json
import pathlib
import re
from typing import Any

import numpy as np

from dm_jax.data.columns import TESTS, Table, choose_splits, contents
from dm_jax.data.files import file_state
from dm_jax.data.source import Contents, Source
from dm_jax.errors import InputError, first_line

_ENDING = '.parquet'
# Of a file's or its folder's name: train-00000-of-00001, train, my_train_2.
_SPLIT = re.compile(rf'(?<![a-z])(train|{"|".join(TESTS)})(?![a-z])')

Path = pathlib.Path


def source(directory: str | None, resize: int | None = None) -> Source:
  """Finds the files of the training and of the test set.

  Their names, or those of their folders, say which: train, and test,
  validation, valid or val, e.g. data/train-00000-of-00001.parquet or
  test/0000.parquet. They are read in sorted order.

  A file has a column of image files' bytes, plain or as Hugging Face's
  {'bytes': …, 'path': …}, and one of labels, numbers or texts; see
  `columns.contents`.

  Args:
    directory: the folder, in which all folders are looked through; or the one
      file of the training set, beside which those of the test set lie.
    resize: pixels; images are resized to resize × resize, bicubic, with
      antialiasing. None takes them as they are, all of one size.

  Raises:
    InputError: naming the folder and what is not there, or the folders that
      have files of one split.
  """
  if directory is None:
    raise InputError(
      'data.dir is not set: for data.name=parquet name the folder that holds'
      ' the files, e.g. --config.data.dir=my_set'
    )
  root = Path(directory).expanduser()
  if root.is_file():
    splits, where = _beside(root), f'{root} and the files beside it'
  else:
    splits, where = _below(root), str(root)
  train, tests = choose_splits(sorted(splits), where)
  chosen = [splits[name] for name in (train, *tests)]
  return Source(
    state=functools.partial(file_state, [p for paths in chosen for p in paths]),
    open=functools.partial(_open, chosen, resize),
  )


def _beside(file: Path) -> dict[str, list[Path]]:
  """Returns the files of each split: `file` alone is that of train."""
  splits: dict[str, list[Path]] = {'train': [file]}
  for path in sorted(file.parent.glob(f'*{_ENDING}')):
    split = _split(Path(path.name))
    if split in TESTS and path != file:
      splits.setdefault(split, []).append(path)
  return splits


def _below(root: Path) -> dict[str, list[Path]]:
  """Returns the files of each split in all folders of `root`."""
  if not root.is_dir():
    raise InputError(f'data.dir: no folder {root}: name that of the files')
  paths = sorted(root.rglob(f'*{_ENDING}'))
  if not paths:
    raise InputError(
      f'no *{_ENDING} in {root}: expected train*{_ENDING} and test*{_ENDING}'
    )
  splits: dict[str, list[Path]] = {}
  for path in paths:
    splits.setdefault(_split(path.relative_to(root)), []).append(path)
  for split in ('train', *TESTS):
    folders = sorted({path.parent for path in splits.get(split, ())})
    if len(folders) > 1:
      # Two configurations of a set; fine/train/0000 is in that of fine.
      named = {f.parent if f.name == split else f for f in folders}
      if len(named) == len(folders):
        folders = sorted(named)
      raise InputError(
        f'files of {split} lie in several folders,'
        f' {", ".join(map(str, folders))}: name one by data.dir'
      )
  return splits


def _split(path: Path) -> str:
  """Returns what a file is of: the last part of its path that says so."""
  for part in reversed(path.with_suffix('').parts):
    found = _SPLIT.search(part.lower())
    if found:
      return found[1]
  return path.stem


def _open(chosen: Sequence[Sequence[Path]], resize: int | None) -> Contents:
  train, *tests = chosen
  return contents(_table(train), map(_table, tests), resize)


def _table(paths: Sequence[Path]) -> Table:
  """Returns files of the same columns as one table."""
  from pyarrow import parquet

  files = []
  for path in paths:
    try:
      files.append(parquet.ParquetFile(path))
    except Exception as error:  # Arrow's and the operating system's.
      raise _unreadable(path, error) from error
  schema = files[0].schema_arrow
  for path, file in zip(paths, files, strict=True):
    if file.schema_arrow.names != schema.names:
      raise InputError(
        f'{path} has the columns {", ".join(file.schema_arrow.names)},'
        f' {paths[0]} {", ".join(schema.names)}: all must have the same'
      )
  features = _features(schema.metadata or {})
  known = _class_names(features)
  for path, file in zip(paths, files, strict=True):
    theirs = _class_names(_features(file.schema_arrow.metadata or {}))
    if known and theirs and theirs != known:
      raise InputError(
        f'{path} and {paths[0]} have other class names, by which labels are'
        ' numbers: write them anew, from one table'
      )
  # A row group is what can be read without the rest of its file.
  groups = [
    (path, file, group)
    for path, file in zip(paths, files, strict=True)
    for group in range(file.num_row_groups)
  ]
  counts = [file.metadata.row_group(g).num_rows for _, file, g in groups]
  ends = np.cumsum(counts, dtype=np.int64)

  @functools.lru_cache(maxsize=1)  # The next rows are often of the same group.
  def group_values(column: str, number: int):
    path, file, group = groups[number]
    try:
      return file.read_row_group(group, columns=[column]).column(column)
    except Exception as error:
      raise _unreadable(path, error) from error

  def read(column: str, rows: np.ndarray) -> list[Any]:
    values = []
    numbers = np.searchsorted(ends, rows, side='right')
    for number in np.unique(numbers):
      start = ends[number] - counts[number]
      inside = rows[numbers == number] - start
      values += group_values(column, int(number)).take(inside).to_pylist()
    return values

  return Table(
    str(paths[0]) if len(paths) == 1 else f'{paths[0]} … {paths[-1].name}',
    dict(zip(schema.names, schema.types, strict=True)),
    features,
    int(sum(counts)),
    read,
  )


def _features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
  """Returns what Hugging Face notes of the columns, {} where it does not."""
  try:
    return json.loads(metadata[b'huggingface'])['info']['features']
  except (KeyError, ValueError, TypeError):
    return {}


def _class_names(features: dict[str, Any]) -> dict[str, Any]:
  """Returns the class names of each column that has such."""
  return {
    column: feature['names']
    for column, feature in features.items()
    if isinstance(feature, dict) and feature.get('names')
  }


def _unreadable(path: Path, error: Exception) -> InputError:
  return InputError(
    f'{path} cannot be read ({first_line(error)}): replace it by a whole one'
  )
