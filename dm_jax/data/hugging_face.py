"""Image sets of the Hugging Face hub, and folders that `datasets` wrote."""

import functools
import pathlib
from typing import Any

import numpy as np

from dm_jax.data.columns import Table, choose_splits, contents
from dm_jax.data.files import file_state
from dm_jax.data.source import Contents, Source
from dm_jax.errors import InputError, first_line

Path = pathlib.Path


def source(
  name: str, directory: str | None = None, resize: int | None = None
) -> Source:
  """Opens a set by the package `datasets`, downloading it where needed.

  Args:
    name: as the hub has it, e.g. uoft-cs/cifar100, or NAME:CONFIGURATION; ''
      is a set in `directory`.
    directory: with a name, where it is downloaded to; None is the package's own
      cache. Without one, a folder that `save_to_disk` wrote, or whatever else
      `load_dataset` reads.
    resize: pixels; images are resized to resize × resize, bicubic, with
      antialiasing. None takes them as they are, all of one size.

  Raises:
    InputError: in one line, whatever the package says.
  """
  splits = _load(name, directory)
  where = f'hf:{name}' if name else str(directory)
  train, tests = choose_splits(list(splits), where)
  chosen = {split: splits[split] for split in (train, *tests)}
  return Source(
    state=functools.partial(_state, *chosen.values()),
    open=functools.partial(_open, where, chosen, resize),
  )


def _load(name: str, directory: str | None) -> dict[str, Any]:
  """Returns the splits by name."""
  try:
    import datasets
  except ImportError as error:
    raise InputError(
      f'data.name=hf:NAME needs the package datasets ({first_line(error)}): pip'
      " install datasets, or in a clone pip install -e '.[hf]'"
    ) from error
  place = None if directory is None else Path(directory).expanduser()
  cache = None if place is None else str(place)
  if not name and (place is None or not place.is_dir()):
    raise InputError(
      'data.name=hf needs a name or a folder: give --config.data.name=hf:NAME,'
      f' or --config.data.dir=FOLDER that is there, not {directory}'
    )
  repository, _, configuration = name.partition(':')
  try:
    if repository:
      found = datasets.load_dataset(
        repository, configuration or None, cache_dir=cache
      )
    elif place and (place / 'dataset_dict.json').is_file():
      found = datasets.load_from_disk(str(place))
    else:
      found = datasets.load_dataset(str(place))
  except Exception as error:
    # The hub's, the network's, Arrow's and its own errors have no common type.
    raise InputError(
      f'{name or place} was not loaded by the package datasets'
      f' ({first_line(error)}): see https://huggingface.co/datasets'
    ) from error
  if not isinstance(found, dict):
    raise InputError(f'{name or place} has no splits: give train and test')
  return {str(split): rows for split, rows in found.items()}


def _state(*splits) -> str:
  """Returns the rows, versions and files of the splits, see `file_state`."""
  files = [file['filename'] for split in splits for file in split.cache_files]
  rows = [(split.num_rows, str(split.version)) for split in splits]
  return f'{rows}{file_state(files)}'


def _open(where: str, chosen: dict[str, Any], resize: int | None) -> Contents:
  # A set that was made in memory does not know the names of its splits.
  train, *tests = (_table(f'{where}, {s}', rows) for s, rows in chosen.items())
  return contents(train, tests, resize)


def _table(where: str, split) -> Table:
  arrow = split.with_format('arrow')

  def read(column: str, rows: np.ndarray) -> list[Any]:
    some = arrow.select_columns([column])[rows.tolist()]
    return some.column(column).to_pylist()

  schema = split.features.arrow_schema
  return Table(
    where,
    dict(zip(schema.names, schema.types, strict=True)),
    split.features.to_dict(),
    split.num_rows,
    read,
  )
