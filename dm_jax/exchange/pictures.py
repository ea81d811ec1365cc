"""Layouts of images as PNG: a folder for each class, and Hugging Face's."""

from collections.abc import Mapping, Sequence
import dataclasses
import io
import json
from pathlib import Path
import re
from typing import Any
import urllib.parse

import numpy as np

from dm_jax.errors import InputError, first_line
from dm_jax.exchange.released import UNIT, Released, Wanted
from dm_jax.files import LITTER, UNREADABLE
from dm_jax.images.normalise import to_unit
from dm_jax.images.pictures import decode_image

TARGETS = 'targets.npy'
_TABLE = Path('data', 'train-00000-of-00001.parquet')
# Of a table's or its folder's name, as Hugging Face has them: test-00000-of-….
_SPLIT = re.compile(r'(?<![a-z])(train|test|validation|valid|val)(?![a-z])')
# What some system forbids in a file name, or gives a meaning.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*%]|^\.|[. ]$')

# Of images that a folder of classes may hold in other tools.
_OTHER_IMAGES = frozenset(
  ['.bmp', '.gif', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp']
)


def encode_name(name: str) -> str:
  """Returns a class name as a folder's: unsafe characters as %XX of UTF-8.

  It is undone by `urllib.parse.unquote`; the empty name is a lone %.
  """
  return _UNSAFE.sub(lambda match: f'%{ord(match[0]):02X}', name) or '%'


def decode_name(folder: str) -> str:
  """Returns the class name that a folder stands for."""
  return '' if folder == '%' else urllib.parse.unquote(folder)


def sorting_note(class_names: Sequence[str]) -> str | None:
  """Returns a warning where folders in sorted order are other classes."""
  folders = [*map(encode_name, class_names)]
  if folders == sorted(folders):
    return None
  return (
    'tools that number folders of classes in sorted order give these other'
    ' labels: their order stands in card.json, under classes'
  )


def write_folder(path: Path, released: Released) -> None:
  """Writes train/CLASS/NNNN.png, 8 bits and lossless; see `encode_name`.

  Probabilities go into targets.npy, float32 [N, C], in the order of the classes
  and, within one, of the names.

  Raises:
    InputError: the images have other than 1 or 3 channels, or two classes one
      name.
  """
  names = _names(released)
  for name in names:
    if names.count(name) > 1:
      raise InputError(
        f'two classes are called {name!r}, and each needs a folder of its own:'
        ' use another format'
      )
  folders = [path / 'train' / encode_name(name) for name in names]
  for folder in folders:
    folder.mkdir(parents=True)
  written = [0] * len(names)
  for png, label in zip(_encoded(released), released.labels, strict=True):
    file = folders[label] / f'{written[label]:04d}.png'
    file.write_bytes(png)
    written[label] += 1
  if released.targets is not None:
    order = np.argsort(released.labels, kind='stable')
    np.save(path / TARGETS, released.targets[order])


def read_folder(path: Path, wanted: Wanted) -> Released:
  """Reads train/CLASS/*.png of equal sizes, class by class.

  Classes come in the order that is wanted, if these are the folders' names, and
  else in that of the folders.

  Raises:
    InputError: there are no images, or others than *.png, or targets.npy is
      damaged, or there without the order of the classes.
  """
  folders = sorted(
    p for p in (path / 'train').glob('*') if p.is_dir() and not _is_left(p)
  )
  found = {decode_name(folder.name): folder for folder in folders}
  names, has_targets = wanted.class_names or (), (path / TARGETS).exists()
  if sorted(names) != sorted(found):
    if has_targets:
      others = ', '.join(map(repr, sorted({*names} ^ {*found})))
      remedy = (
        f'and the folders are others ({others}): name them as they were'
        if names
        else 'which its card said: give class_names in that order'
      )
      raise InputError(f'{TARGETS} goes by the order of the classes, {remedy}')
    names = tuple(found)
  files = [(file, k) for k, n in enumerate(names) for file in _pngs(found[n])]
  if not files:
    raise InputError('it has no train/CLASS/*.png')
  images = _stack([_decoded(file, file.name) for file, _ in files])
  labels = np.array([k for _, k in files], np.int64)
  read = Released(images, labels, None, UNIT, None, None, names)
  if not has_targets:
    return read
  return dataclasses.replace(read, targets=_read_targets(path / TARGETS))


def _read_targets(file: Path) -> np.ndarray:
  try:
    with open(file, 'rb') as raw:
      return np.lib.format.read_array(raw, allow_pickle=False)
  except UNREADABLE as error:
    raise InputError(
      f'{file} cannot be read, it is cut off or damaged: {first_line(error)}'
    ) from error


def _is_left(path: Path) -> bool:
  """Whether a notebook, an archive or a file server left it beside the images.

  No folder of a class begins with a dot, see `encode_name`.
  """
  return path.name.startswith('.') or path.name in LITTER


def _pngs(folder: Path) -> list[Path]:
  for file in sorted(folder.iterdir()):
    if file.suffix != '.png' and file.suffix.lower() in _OTHER_IMAGES:
      raise InputError(
        f'{file} is no .png, and only those are read: convert or remove it'
      )
  # By number: 10000.png comes after 9999.png.
  files = [file for file in folder.glob('*.png') if not _is_left(file)]
  return sorted(files, key=lambda p: (len(p.name), p.name))


def write_parquet(path: Path, released: Released) -> None:
  """Writes a folder of one table in Hugging Face's layout.

  Column `image` is a struct of a PNG's bytes and a name, `label` int64, whose
  class names stand in the schema's metadata; `probabilities` where they are
  learned.

  Raises:
    InputError: the images have other than 1 or 3 channels.
  """
  pa, pq = _pyarrow()
  names = _names(released)
  images = [
    {'bytes': png, 'path': f'{number:05d}.png'}
    for number, png in enumerate(_encoded(released))
  ]
  kind = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
  columns: dict[str, Any] = {
    'image': pa.array(images, kind),
    'label': pa.array(released.labels, pa.int64()),
  }
  features: dict[str, Any] = {
    'image': {'_type': 'Image'},
    'label': {'names': names, '_type': 'ClassLabel'},
  }
  if released.targets is not None:
    columns['probabilities'] = pa.array(
      list(released.targets), pa.list_(pa.float32())
    )
    value = {'dtype': 'float32', '_type': 'Value'}
    # Not List, which datasets below 4.0 does not know.
    features['probabilities'] = {'feature': value, '_type': 'Sequence'}
  about = json.dumps({'info': {'features': features}})
  table = pa.table(columns).replace_schema_metadata({'huggingface': about})
  file = path / _TABLE
  file.parent.mkdir(parents=True)
  pq.write_table(table, file)


def read_parquet(path: Path, wanted: Wanted) -> Released:
  """Reads image bytes and labels, of a file or a folder.

  Of a folder that has several splits by its files' names, only train is read.
  Labels are numbers, or texts, which are then the class names: in the order
  that is wanted, if all are among those, and else sorted.

  Raises:
    InputError: there are splits but no train, and they are named; there is no
      column of images or labels, and the columns are named; or a row that is
      named has none of its own.
  """
  pa, pq = _pyarrow()
  files = _training_tables(path) if path.is_dir() else [path]
  try:
    table = pa.concat_tables([pq.read_table(file) for file in files])
  except (pa.ArrowException, OSError) as error:
    raise InputError(f'it is no whole table: {first_line(error)}') from error
  for column in ('image', 'label'):
    if column not in table.column_names:
      raise InputError(
        f'it has no column {column}: it has {", ".join(table.column_names)}'
      )
  if not table.num_rows:
    raise InputError('it has no rows')
  rows = [value.as_py() for value in table['image']]
  if not all(isinstance(row, dict) and row.get('bytes') for row in rows):
    raise InputError('its column image holds no bytes of images')
  images = _stack(
    [_decoded(io.BytesIO(r['bytes']), f'row {n}') for n, r in enumerate(rows)]
  )
  labels, names = _labels(table['label'].to_pylist(), wanted)
  targets = None
  if 'probabilities' in table.column_names:
    targets = _probabilities(table['probabilities'].to_pylist())
  names = names or _known_names(table.schema.metadata or {})
  return Released(images, labels, targets, UNIT, None, None, names)


def _training_tables(folder: Path) -> list[Path]:
  """Returns the tables of train, or all where no names tell splits apart."""
  splits: dict[str, list[Path]] = {}
  for file in sorted(folder.rglob('*.parquet')):
    splits.setdefault(_split(file.relative_to(folder)), []).append(file)
  if len(splits) > 1 and 'train' not in splits:
    named = ', '.join(sorted(filter(None, splits)))
    raise InputError(f'it has {named} but no train: name the file to read')
  return splits['train'] if 'train' in splits else sum(splits.values(), [])


def _split(path: Path) -> str:
  """Returns what the name of a file, or of its folder, says; '' if none."""
  parts = reversed(path.with_suffix('').parts)
  found = (_SPLIT.search(part.lower()) for part in parts)
  return next((match[1] for match in found if match), '')


def _labels(
  values: list[Any], wanted: Wanted
) -> tuple[np.ndarray, tuple[str, ...] | None]:
  """Returns int64 [N] and, where the labels are texts, the class names."""
  if None in values:
    raise InputError(f'row {values.index(None)} has no label: remove it')
  names = None
  if all(isinstance(value, str) for value in values):
    names = wanted.class_names or ()
    if not set(values) <= set(names):
      names = tuple(sorted(set(values)))
    values = [names.index(value) for value in values]
  odd = [value for value in values if not isinstance(value, int)]
  if odd:
    raise InputError(f'its labels must be integers or texts, got {odd[0]!r}')
  return np.array(values, np.int64), names


def _probabilities(rows: list[Any]) -> np.ndarray:
  """Returns float32 [N, C]."""
  classes = len(rows[0] or ())
  for number, row in enumerate(rows):
    if not row or len(row) != classes or None in row:
      raise InputError(
        f'row {number} has not one probability for each of {classes} classes'
      )
  return np.array(rows, np.float32)


def _known_names(metadata: Mapping[bytes, bytes]) -> tuple[str, ...] | None:
  """Returns the class names that Hugging Face's metadata say."""
  try:
    about = json.loads(metadata.get(b'huggingface', b'{}'))
    label = about.get('info', {}).get('features', {}).get('label', {})
    names = label.get('names')
    return tuple(map(str, names)) if names else None
  except (ValueError, TypeError, AttributeError) as error:
    raise InputError(
      f'its metadata of huggingface are damaged: {first_line(error)}'
    ) from error


def _pyarrow() -> tuple[Any, Any]:
  """Imports it: tfds, which installs it today, need not do so for ever."""
  try:
    import pyarrow
    import pyarrow.parquet
  except ImportError:
    raise InputError(
      'tables take PyArrow to be read and written: pip install pyarrow'
    ) from None
  return pyarrow, pyarrow.parquet


def _names(released: Released) -> list[str]:
  assert released.class_names is not None
  return list(released.class_names)


def _encoded(released: Released) -> list[bytes]:
  """Returns each image as the bytes of a PNG."""
  from PIL import Image

  pixels = released.pixels
  channels = pixels.shape[-1]
  if channels not in (1, 3):
    raise InputError(
      f'the images have {channels} channels, and a PNG 1 or 3: use the format'
      ' npz, pt or ddranking'
    )
  encoded = []
  for image in pixels[..., 0] if channels == 1 else pixels:
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'PNG')
    encoded.append(file.getvalue())
  return encoded


def _decoded(file: Path | io.BytesIO, what: str) -> np.ndarray:
  """Returns the pixels of an image, uint8 [H, W, D]."""
  try:
    return decode_image(file)
  except Exception as error:  # Pillow raises any of a dozen types.
    raise InputError(f'cannot read {what}: {first_line(error)}') from error


def _stack(images: list[np.ndarray]) -> np.ndarray:
  """Returns unit float32 [N, H, W, D]."""
  shapes = sorted({image.shape for image in images})
  if len(shapes) > 1:
    raise InputError(f'its images differ in shape: {shapes[0]} and {shapes[1]}')
  return np.asarray(to_unit(np.stack(images)))
