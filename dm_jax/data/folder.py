"""Folders of image files: train/CLASS/*.png and test/CLASS/*.png."""

import concurrent.futures
import itertools
import os
import pathlib
from typing import NamedTuple

import numpy as np

from dm_jax.data.class_data import Dataset
from dm_jax.data.files import decode_image, one_line
from dm_jax.types import InputError

_IMAGES = ('.png', '.jpg', '.jpeg', '.webp')
# Notes and annotations that image sets carry along, and file managers' own.
_SIDECARS = ('.txt', '.csv', '.json', '.xml', '.md', '.ini', '.db')
_ANNOTATIONS = 'val_annotations.txt'
_LAYOUT = (
  'expected train/CLASS/*.png and test/CLASS/*.png or val/CLASS/*.png (png, '
  'jpg, jpeg, webp)'
)
_BATCH = 64  # Files that a thread reads at a time: a task costs about a file.

Path = pathlib.Path


class _Files(NamedTuple):
  """The files of one set and their labels."""

  paths: list[Path]
  labels: list[int]


def load(directory: str | None, resize: int | None = None) -> Dataset:
  """Reads train/ and test/, or val/ where no labelled test/ is.

  Both hold a folder for each class, with images in it or in its sub-folder
  images/. Tiny ImageNet's val/ (val_annotations.txt and images/) is read too;
  the annotations then define the set. Classes are the folder names of train/,
  sorted; files are read in sorted order.

  Hidden files and sidecars (.txt, .csv, .json, .xml, .md, .ini, .db) are
  ignored. Any other file that is no image by its name is refused: skipping an
  image in a format that is not read would change the class unseen.

  If all images are grey they have one channel, else all have three. Alpha is
  dropped. More than 8 bits are refused.

  Args:
    directory: the folder that holds train/.
    resize: pixels; images are resized to resize × resize, bicubic, with
      antialiasing. None takes them as they are, all of one size.

  Returns:
    Both sets, with the training set's own statistics.

  Raises:
    InputError: naming the first file or folder that is wrong. Images that
      cannot be read are not skipped.
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
  images = _read([*train.paths, *test.paths], resize)
  count = len(train.paths)
  return Dataset.from_arrays(
    images[:count],
    train.labels,
    images[count:].copy(),  # A view would keep the training images alive.
    test.labels,
    class_names=names,
  )


def _train_files(root: Path) -> tuple[list[str], _Files]:
  """Returns the class names and the training files."""
  if not (root / 'train').is_dir():
    raise InputError(f'no folder train/ in {root}: {_LAYOUT}')
  folders = _class_folders(root / 'train')
  if not folders:
    raise InputError(f'no class folders in {root / "train"}: {_LAYOUT}')
  names = [folder.name for folder in folders]
  return names, _class_files(folders, names)


def _test_files(root: Path, names: list[str]) -> _Files:
  """Returns the test files, from the first set that has labels."""
  for folder in (root / 'test', root / 'val'):
    if not folder.is_dir():
      continue
    if (folder / _ANNOTATIONS).is_file():
      return _annotated_files(folder, names)
    folders = _class_folders(folder)
    # Tiny ImageNet's test/images/ has no labels.
    if not folders or _is_nested(folders) and 'images' not in names:
      continue
    return _class_files(folders, names)
  raise InputError(f'no labelled images in test/ or val/ of {root}: {_LAYOUT}')


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
  """Returns the sorted sub-folders and image files; refuses unknown files."""
  folders, images = [], []
  with os.scandir(folder) as entries:
    for entry in sorted(entries, key=lambda e: e.name):
      extension = os.path.splitext(entry.name)[1].lower()
      if entry.name.startswith('.'):
        continue
      if entry.is_dir():
        folders.append(Path(entry.path))
      elif extension in _IMAGES:
        images.append(Path(entry.path))
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
  lines = annotations.read_text(encoding='utf-8').splitlines()
  for line in sorted(filter(str.strip, lines)):
    fields = line.split('\t')
    if len(fields) < 2:
      raise InputError(
        f'{annotations}: expected FILE, tab, CLASS on each line, got {line!r}'
      )
    files.paths.append(folder / 'images' / fields[0])
    files.labels.append(_label(fields[1], names, annotations))
  if not files.paths:
    raise InputError(f'{annotations} is empty: it must list the images')
  return files


def _label(name: str, names: list[str], where: Path) -> int:
  try:
    return names.index(name)
  except ValueError:
    raise InputError(
      f'{where}: class {name!r} is not in train/, whose {len(names)} classes '
      f'are {names[0]} to {names[-1]}: each test class must be there'
    ) from None


def _read(paths: list[Path], resize: int | None) -> np.ndarray:
  """Returns uint8 [N, H, W, D], D = 1 if all images are grey, else 3."""
  decoded = _decode_all(paths, resize)
  height, width = decoded[0].shape[:2]
  for path, image in zip(paths, decoded, strict=True):
    if image.shape[:2] != (height, width):
      raise InputError(
        f'images differ in size: {paths[0]} is {width}x{height}, {path} is '
        f'{image.shape[1]}x{image.shape[0]}: give one size, e.g. '
        '--config.data.resize=64'
      )
  channels = max(image.shape[2] for image in decoded)
  images = np.empty((len(decoded), height, width, channels), np.uint8)
  for target, image in zip(images, decoded, strict=True):
    target[...] = image  # Grey repeats into RGB.
  return images


def _decode_all(paths: list[Path], resize: int | None) -> list[np.ndarray]:
  """Returns each file's pixels; reads all before refusing any."""
  from tqdm import tqdm

  images, failures = [], []

  def decode(batch):
    return [_try_decode(path, resize) for path in batch]

  batches = [paths[i : i + _BATCH] for i in range(0, len(paths), _BATCH)]
  with (
    concurrent.futures.ThreadPoolExecutor() as pool,
    # disable=None: no bar unless standard error is a terminal.
    tqdm(total=len(paths), unit=' images', delay=1, disable=None) as bar,
  ):
    for pixels, failure in itertools.chain.from_iterable(
      pool.map(decode, batches)
    ):
      images.append(pixels)
      failures += [failure] if failure else []
      bar.update()
  if failures:
    more = f' (and {len(failures) - 1} more)' if failures[1:] else ''
    raise InputError(
      f'{failures[0]}{more}, of {len(paths)} images: repair or remove them'
    )
  return images


def _try_decode(
  path: Path, resize: int | None
) -> tuple[np.ndarray, None] | tuple[None, str]:
  """Returns (pixels, None), or (None, what is wrong)."""
  try:
    return decode_image(path, resize=resize), None
  except Exception as error:
    # Pillow raises any of a dozen types, as the broken file has it.
    return None, f'cannot read {path} ({one_line(error)})'
