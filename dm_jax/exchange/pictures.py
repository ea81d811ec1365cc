"""Layouts of images as PNG: a folder for each class, and Hugging Face's."""

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
from dm_jax.images.normalise import to_unit

TARGETS = 'targets.npy'
_TABLE = Path('data', 'train-00000-of-00001.parquet')
# What some system forbids in a file name, or gives a meaning.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*%]|^\.|[. ]$')


def encode_name(name: str) -> str:
  """Returns a class name as a folder's: unsafe characters as %XX of UTF-8.

  It is undone by `urllib.parse.unquote`; the empty name is a lone %.
  """
  return _UNSAFE.sub(lambda match: f'%{ord(match[0]):02X}', name) or '%'


def decode_name(folder: str) -> str:
  """Returns the class name that a folder stands for."""
  return '' if folder == '%' else urllib.parse.unquote(folder)


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
  """
  folders = sorted(p for p in (path / 'train').glob('*') if p.is_dir())
  found = {decode_name(folder.name): folder for folder in folders}
  names = wanted.class_names or ()
  if sorted(names) != sorted(found):
    names = tuple(found)
  files = [(file, k) for k, n in enumerate(names) for file in _pngs(found[n])]
  if not files:
    raise InputError('it has no train/CLASS/*.png')
  images = _stack([_decoded(file, file.name) for file, _ in files])
  labels = np.array([k for _, k in files], np.int64)
  read = Released(images, labels, None, UNIT, None, None, names)
  if not (path / TARGETS).exists():
    return read
  targets = np.load(path / TARGETS, allow_pickle=False)
  return dataclasses.replace(read, targets=targets)


def _pngs(folder: Path) -> list[Path]:
  # By number: 10000.png comes after 9999.png.
  return sorted(folder.glob('*.png'), key=lambda p: (len(p.name), p.name))


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
    features['probabilities'] = {'feature': value, '_type': 'List'}
  about = json.dumps({'info': {'features': features}})
  table = pa.table(columns).replace_schema_metadata({'huggingface': about})
  file = path / _TABLE
  file.parent.mkdir(parents=True)
  pq.write_table(table, file)


def read_parquet(path: Path, _: Wanted) -> Released:
  """Reads image bytes and labels, of a file or all in a folder.

  Raises:
    InputError: there is no column of images or labels; the columns are named.
  """
  pa, pq = _pyarrow()
  files = sorted(path.rglob('*.parquet')) if path.is_dir() else [path]
  try:
    table = pa.concat_tables([pq.read_table(file) for file in files])
  except (pa.ArrowException, OSError) as error:
    raise InputError(f'it is no whole table: {first_line(error)}') from error
  for column in ('image', 'label'):
    if column not in table.column_names:
      raise InputError(
        f'it has no column {column}: it has {", ".join(table.column_names)}'
      )
  rows = [value.as_py() for value in table['image']]
  if not all(isinstance(row, dict) and row.get('bytes') for row in rows):
    raise InputError('its column image holds no bytes of images')
  images = _stack(
    [_decoded(io.BytesIO(r['bytes']), f'row {n}') for n, r in enumerate(rows)]
  )
  labels = np.array(table['label'].to_pylist(), np.int64)
  targets = None
  if 'probabilities' in table.column_names:
    targets = np.array(table['probabilities'].to_pylist(), np.float32)
  about = (table.schema.metadata or {}).get(b'huggingface', b'{}')
  features = json.loads(about).get('info', {}).get('features', {})
  names = features.get('label', {}).get('names')
  return Released(
    images, labels, targets, UNIT, None, None, names and tuple(names)
  )


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
  from PIL import Image

  try:
    with Image.open(file) as image:
      grey = image.mode in ('1', 'L')
      pixels = np.asarray(image.convert('L' if grey else 'RGB'))
  except Exception as error:  # Pillow raises any of a dozen types.
    raise InputError(f'cannot read {what}: {first_line(error)}') from error
  return pixels[..., None] if grey else pixels


def _stack(images: list[np.ndarray]) -> np.ndarray:
  """Returns unit float32 [N, H, W, D]."""
  shapes = sorted({image.shape for image in images})
  if len(shapes) > 1:
    raise InputError(f'its images differ in shape: {shapes[0]} and {shapes[1]}')
  return np.asarray(to_unit(np.stack(images)))
