"""Folders of image files: train/CLASS/*.png and test/CLASS/*.png."""

import functools
import hashlib
import os
import pathlib
from typing import NamedTuple, NoReturn
import unicodedata

import numpy as np

from dm_jax.data.files import deep_notes, read_files
from dm_jax.data.source import Contents, Source, Stored
from dm_jax.errors import InputError, check_text
from dm_jax.files import LITTER
from dm_jax.images.pictures import decode_image, image_header
from dm_jax.types import ImageShape

_IMAGES = ('.png', '.jpg', '.jpeg', '.webp')
# Notes and annotations that image sets carry along, and file managers' own.
_SIDECARS = ('.txt', '.csv', '.json', '.xml', '.md', '.ini', '.db')
_ANNOTATIONS = 'val_annotations.txt'
_TEST_FOLDERS = ('test', 'val', 'valid', 'validation')
_LAYOUT = (
  'expected train/CLASS/*.png and test/CLASS/*.png, or val/, valid/ or '
  'validation/ for test/ (png, jpg, jpeg, webp)'
)

Path = pathlib.Path


class _Files(NamedTuple):
  """The files of one set and their labels."""

  # Text: a million of `Path` take half a GB.
  paths: list[str]
  labels: list[int]


def source(directory: str | None, resize: int | None = None) -> Source:
  """Finds train/ and test/, or val/, valid/, validation/ for a labelled test/.

  Both hold a folder for each class, with images in it or in its sub-folder
  images/. Tiny ImageNet's val/ (val_annotations.txt and images/) is read too;
  the annotations then define the set. Classes are the folder names of train/,
  sorted, which must be UTF-8; files are read in sorted order.

  Hidden files, sidecars (.txt, .csv, .json, .xml, .md, .ini, .db) and the
  folders __MACOSX and @eaDir are ignored. Any other file that is no image by
  its name is refused: skipping an image in a format that is not read would
  change the class unseen.

  If all images are grey they have one channel, else all have three. They are
  read as viewers show them, see `decode_image`; 16 bits are scaled to 8, which
  `Contents.notes` tells.

  Args:
    directory: the folder that holds train/.
    resize: pixels; images are resized to resize × resize, bicubic, with
      antialiasing. None takes them as they are, all of one size.

  Returns:
    The source. It knows the files by name; opened, it has read all headers.

  Raises:
    InputError: naming the first file or folder that is wrong. Images that
      cannot be read are not skipped, but named when they are read, all others
      having been tried.
  """
  if directory is None:
    raise InputError(
      'data.dir is not set: for data.name=folder name the folder that holds '
      'train/, e.g. --config.data.dir=my_images'
    )
  root = Path(directory).expanduser()
  if not root.is_dir():
    raise InputError(f'data.dir: no folder {root}: {_LAYOUT}')
  names, train = _train_files(root)
  test = _test_files(root, names)
  return Source(
    state=functools.partial(_state, root, names, (train, test)),
    open=functools.partial(_open, names, train, test, resize),
  )


def _state(root: Path, names: list[str], sets: tuple[_Files, _Files]) -> str:
  """Returns a digest of the files' names, classes, sizes and times."""
  digest = hashlib.sha256(repr((str(root.resolve()), names)).encode())
  for files in sets:
    for path, label in zip(*files, strict=True):
      stat = os.stat(path) if os.path.exists(path) else None
      facts = stat and (stat.st_size, stat.st_mtime_ns)
      digest.update(repr((os.path.relpath(path, root), label, facts)).encode())
  return digest.hexdigest()


def _open(
  names: list[str], train: _Files, test: _Files, resize: int | None
) -> Contents:
  paths = [*train.paths, *test.paths]
  shape, notes = _look(paths, resize)

  def stored(files: _Files) -> Stored:
    read = functools.partial(_read, paths, files.paths, shape, resize)
    return Stored(np.array(files.labels), read)

  return Contents(stored(train), stored(test), shape, names, notes)


def _train_files(root: Path) -> tuple[list[str], _Files]:
  """Returns the class names and the training files."""
  if not (root / 'train').is_dir():
    raise InputError(f'no folder train/ in {root}: {_LAYOUT}{_found(root)}')
  folders = _class_folders(root / 'train')
  if not folders:
    raise InputError(f'no class folders in {root / "train"}: {_LAYOUT}')
  for folder in folders:
    check_text(f'in {root / "train"} the class folder', folder.name)
  names = [folder.name for folder in folders]
  return names, _class_files(folders, names)


def _test_files(root: Path, names: list[str]) -> _Files:
  """Returns the test files, from the first set that has labels."""
  for folder in (root / name for name in _TEST_FOLDERS):
    if not folder.is_dir():
      continue
    if (folder / _ANNOTATIONS).is_file():
      return _annotated_files(folder, names)
    folders = _class_folders(folder)
    # Tiny ImageNet's test/images/ has no labels.
    if not folders or _is_nested(folders) and 'images' not in names:
      continue
    return _class_files(folders, names)
  raise InputError(
    f'no labelled images in test/ or val/ of {root}: {_LAYOUT}{_found(root)}'
  )


def _found(root: Path) -> str:
  """Returns what folders are there: the images may be under another name."""
  with os.scandir(root) as entries:
    folders = sorted(entry.name for entry in entries if entry.is_dir())
  more = ', …' if len(folders) > 5 else ''
  return f'; it has {", ".join(folders[:5]) or "no folders"}{more}'


def _entries(folder: Path) -> tuple[list[Path], list[str]]:
  """Returns the sorted sub-folders and image files; refuses unknown files."""
  folders, images = [], []
  with os.scandir(folder) as entries:
    for entry in sorted(entries, key=lambda e: e.name):
      extension = os.path.splitext(entry.name)[1].lower()
      if entry.name.startswith('.') or entry.name in LITTER:
        continue
      if entry.is_dir():
        folders.append(Path(entry.path))
      elif extension in _IMAGES:
        images.append(entry.path)
      elif extension not in _SIDECARS:
        raise InputError(
          f'{entry.path} is none of {", ".join(_IMAGES)}: convert it, or move '
          'it out of the image folders'
        )
  return folders, images


def _class_folders(folder: Path) -> list[Path]:
  """Returns the folders of the classes."""
  folders, images = _entries(folder)
  if images:
    raise InputError(f'{images[0]} is in no class folder: {_LAYOUT}')
  return folders


def _is_nested(folders: list[Path]) -> bool:
  return [folder.name for folder in folders] == ['images']


def _class_files(folders: list[Path], names: list[str]) -> _Files:
  """Returns the images of all class folders and their labels."""
  files = _Files([], [])
  for folder in folders:
    label = _label(folder.name, names, folder)
    inner, images = _entries(folder)
    if _is_nested(inner) and not images:
      inner, images = _entries(inner[0])
    if inner:
      raise InputError(f'{inner[0]} is a folder in a class folder: {_LAYOUT}')
    if not images:
      raise InputError(
        f'no images in class folder {folder}: add some ({", ".join(_IMAGES)}) '
        'or remove it'
      )
    files.paths.extend(images)
    files.labels.extend([label] * len(images))
  return files


def _annotated_files(folder: Path, names: list[str]) -> _Files:
  """Returns Tiny ImageNet's validation files: lines of file, class, box."""
  files = _Files([], [])
  annotations = folder / _ANNOTATIONS
  try:
    # Some editors put a byte order mark before the first name.
    lines = annotations.read_text(encoding='utf-8-sig').splitlines()
  except UnicodeDecodeError as error:
    reason = f'{annotations} is not UTF-8 ({error}): convert it'
    raise InputError(reason) from error
  for line in sorted(filter(str.strip, lines)):
    fields = line.split('\t')
    if len(fields) < 2:
      raise InputError(
        f'{annotations}: expected FILE, tab, CLASS on each line, got {line!r}'
      )
    files.paths.append(str(folder / 'images' / fields[0]))
    files.labels.append(_label(fields[1], names, annotations))
  if not files.paths:
    raise InputError(f'{annotations} is empty: it must list the images')
  return files


def _label(name: str, names: list[str], where: Path) -> int:
  # A Mac may write é as two letters in one folder and as one in another.
  for spell in (str, functools.partial(unicodedata.normalize, 'NFC')):
    spelled = [*map(spell, names)]
    if spell(name) in spelled:
      return spelled.index(spell(name))
  raise InputError(
    f'{where}: class {name!r} is not in train/, whose {len(names)} classes '
    f'are {names[0]} to {names[-1]}: each test class must be there'
  )


def _look(
  paths: list[str], resize: int | None
) -> tuple[ImageShape, tuple[str, ...]]:
  """Returns (H, W, D), D = 1 if all images are grey, else 3; and notes."""
  channels, deep, first, failed = 1, 0, {}, None
  read = functools.partial(image_header, resize=resize)
  for path, header, failure in read_files(read, paths, 'headers'):
    failed = failed or failure
    if header:
      channels = max(channels, header.shape[2])
      deep += header.is_deep
      first.setdefault(header.shape[:2], path)
  if failed:
    _refuse(paths, resize, failed)
  (height, width), *others = first
  if others:
    (tall, wide), (one, other, *_) = others[0], first.values()
    _refuse(
      paths,
      resize,
      f'images differ in size: {one} is {width}x{height}, {other} is '
      f'{wide}x{tall}: give one size, e.g. --config.data.resize=64',
    )
  return (height, width, channels), deep_notes(deep, len(paths))


def _read(
  paths: list[str],
  own: list[str],
  shape: ImageShape,
  resize: int | None,
  rows: np.ndarray,
) -> np.ndarray:
  """Returns the pixels of some rows of `own`, uint8 [n, H, W, D]."""

  def decode(path: str) -> np.ndarray:
    pixels = decode_image(path, resize=resize)
    if pixels.shape[:2] != shape[:2] or pixels.shape[2] > shape[2]:
      raise ValueError('it has just changed')
    return pixels

  images, failed = np.empty((len(rows), *shape), np.uint8), None
  results = read_files(decode, [own[row] for row in rows])
  for target, (_, pixels, failure) in zip(images, results, strict=True):
    failed = failed or failure
    if not failed:
      target[...] = pixels  # Grey repeats into RGB.
  if failed:
    _refuse(paths, resize, failed)
  return images


def _refuse(paths: list[str], resize: int | None, reason: str) -> NoReturn:
  """Raises InputError: of all unreadable files, or else for a reason."""

  def decode(path: str) -> None:
    decode_image(path, resize=resize)

  failures = [f for _, _, f in read_files(decode, paths, 'check') if f]
  if not failures:
    raise InputError(reason)
  more = f' (and {len(failures) - 1} more)' if failures[1:] else ''
  raise InputError(
    f'{failures[0]}{more}, of {len(paths)} images: repair or remove them'
  )
