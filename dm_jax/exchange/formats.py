"""The formats by name: which there are, which one a file is, read and write."""

from collections.abc import Callable
import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

from dm_jax.errors import InputError, choose, first_line
from dm_jax.exchange import arrays, pictures, torch_sets
from dm_jax.exchange.card import (
  card_path,
  make_card,
  read_card,
  write_card,
  write_readme,
)
from dm_jax.exchange.released import NORMALISED, Released, Wanted
from dm_jax.exchange.torch_file import read_tensors
from dm_jax.files import UNREADABLE, remove, temporary_path
from dm_jax.types import Json

OWN = 'dm_jax'  # A run's synthetic.npz, which `SyntheticSet.load` reads.
_LEVELS = 'uint8 [0, 255], rounded and clipped'
_FLOATS = f'float32, {NORMALISED}'


class Format(NamedTuple):
  """A layout of files.

  Attributes:
    read: (path, what is wanted) -> what it holds; messages speak of `it`.
    write: (path that is not there, images to write); None only reads.
    suffix: of the file; '' is a folder.
    pixels: what is written, in words.
  """

  read: Callable[[Path, Wanted], Released]
  write: Callable[[Path, Released], None] | None = None
  suffix: str = ''
  pixels: str = _FLOATS


# DM's layout goes by its own name and by that of its files.
_DM = Format(torch_sets.read_dm, torch_sets.write_dm, '.pt')
FORMATS = {
  'folder': Format(pictures.read_folder, pictures.write_folder, pixels=_LEVELS),
  'npz': Format(arrays.read_npz, arrays.write_npz, '.npz'),
  'parquet': Format(
    pictures.read_parquet, pictures.write_parquet, pixels=_LEVELS
  ),
  'pt': _DM,
  'dm': _DM,
  'ddranking': Format(torch_sets.read_pair, torch_sets.write_ddranking),
  'mtt': Format(torch_sets.read_pair, suffix='.pt'),
  'idc': Format(torch_sets.read_idc, suffix='.pt'),
  'kip': Format(arrays.read_kip, suffix='.npz'),
  'frepo': Format(arrays.read_frepo, suffix='.npz'),
}
WRITTEN = tuple(name for name, f in FORMATS.items() if f.write is not None)
READ = (OWN, *FORMATS)


def find_format(path: Path, name: str | None = None) -> str:
  """Returns the name of the format of a file or folder, from what it holds.

  Args:
    path: of the file or folder.
    name: what it is said to be; None looks.

  Raises:
    InputError: there is none, it is damaged, or it is of no known format.
  """
  if name is not None:
    choose('format', name, READ, setting='format')
  if not path.exists():
    raise InputError(f'there is no synthetic set at {path}')
  found = name or (
    _recognise_folder(path) if path.is_dir() else _recognise_file(path)
  )
  own = path / 'synthetic.npz'
  if found is None and own.exists():
    raise InputError(f'{path} is the folder of a run: give {own}')
  if found is None:
    raise InputError(
      f'{path} is of no format that is recognised: name it by format, one of'
      f' {", ".join(READ)}',
      setting='format',
    )
  return found


def _recognise_folder(path: Path) -> str | None:
  for name, file in torch_sets.PAIRS.items():
    if (path / file).exists():
      return name
  if (path / 'train').is_dir():
    return 'folder'
  return 'parquet' if any(path.rglob('*.parquet')) else None


def _recognise_file(path: Path) -> str | None:
  with open(path, 'rb') as file:
    start = file.read(4)
  if start == b'PAR1':
    return 'parquet'
  if start[:2] != b'PK':
    old = path.suffix in ('.pt', '.pth')
    return torch_sets.recognise_value(read_tensors(path)) if old else OWN
  names = arrays.array_names(path)
  if any(name.endswith('/data.pkl') for name in names):
    return torch_sets.recognise_value(read_tensors(path))
  return arrays.recognise_names(names) or OWN


def read_released(path: Path, name: str, wanted: Wanted) -> Released:
  """Reads a set in one of `FORMATS`; the card beside it says what it does not.

  Args:
    path: of the file or folder.
    name: of the format.
    wanted: which of several, and the order of the classes.

  Raises:
    InputError: it, or its card, is damaged or of another format; or the two
      name different classes.
  """
  card = read_card(path)
  names = card.get('class_names', wanted.class_names)
  try:
    read = FORMATS[name].read(path, wanted._replace(class_names=names))
  except InputError as error:
    at = '' if str(path) in str(error) else f'{path} is no {name} set: '
    raise InputError(f'{at}{error}') from error
  except (*UNREADABLE, IndexError, AttributeError) as error:
    # What no reader foresaw: a damaged set is no error of the program.
    raise InputError(
      f'{path} is no whole {name} set: {first_line(error)}'
    ) from error
  _check_lengths(path, name, read)
  if card:
    _check_card_names(path, read.class_names, card['class_names'])
  return dataclasses.replace(read, **card)


def _check_lengths(path: Path, name: str, read: Released) -> None:
  """Refuses a set whose labels are not one for each image."""
  count = len(read.images)
  for what, values in (('labels', read.labels), ('targets', read.targets)):
    axes = 1 if what == 'labels' else 2
    if values is not None and (values.ndim != axes or len(values) != count):
      raise InputError(
        f'{path} is no whole {name} set: its {what} have shape {values.shape},'
        f' for {count} images'
      )


def _check_card_names(
  path: Path, found: tuple[str, ...] | None, names: tuple[str, ...]
) -> None:
  """Refuses a card whose names would go to the labels of other classes."""
  if found is None or found == names:
    return
  told = [
    f'{what} {", ".join(map(repr, sorted(some)))}'
    for what, some in (
      ('only it has', {*found} - {*names}),
      ('only the card has', {*names} - {*found}),
    )
    if some
  ]
  card = card_path(path, is_folder=path.is_dir())
  raise InputError(
    f'{path} has other classes than its card'
    f' ({"; ".join(told) or "their order differs"}): name them as they were, or'
    f' delete {card}'
  )


def write_released(
  path: Path, released: Released, name: str, about: Json
) -> Path:
  """Writes a set and its card, both or neither.

  Args:
    path: of the file or folder, which must not be there; folders above it are
      made.
    released: normalised images to train on, with statistics and names.
    name: of the format, of `WRITTEN`.
    about: what the card says besides, see `card.make_card`.

  Returns:
    The path of the card.

  Raises:
    InputError: there is something already, the format cannot hold the set, or
      it cannot be written there.
  """
  choose('format', name, WRITTEN, setting='format')
  try:
    return _write(path, released, name, about)
  except OSError as error:
    raise InputError(
      f'{path} cannot be written: {error.strerror or first_line(error)}; name'
      ' another place or format'
    ) from error


def _write(path: Path, released: Released, name: str, about: Json) -> Path:
  layout = FORMATS[name]
  is_folder = not layout.suffix
  card_file = card_path(path, is_folder=is_folder)
  for target in (path, card_file):
    if target.exists() or target.is_symlink():
      raise InputError(f'{target} is there already: name another, or remove it')
  if layout.pixels == _LEVELS:
    about = {**about, 'accuracy_of': 'the float images, before rounding'}
  card = make_card(released, name, layout.pixels, about)
  temporary = temporary_path(path)
  _make_parent(path)
  try:
    assert layout.write is not None
    layout.write(temporary, released)
    if is_folder:
      write_card(card_path(temporary, is_folder=True), card)
      if name == 'parquet':
        write_readme(temporary / 'README.md', card)
    else:
      write_card(card_file, card)
    os.rename(temporary, path)
  except BaseException:
    remove(temporary)
    if not is_folder:  # Inside a folder it may be another export's.
      remove(card_file)
    raise
  return card_file


def _make_parent(path: Path) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(
      f'{path.parent} cannot be made: {error.strerror}; name another'
    ) from error
