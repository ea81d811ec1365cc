"""Where a tensorflow_datasets set lies on disk, and how it gets there."""

from collections.abc import Callable
import difflib
import importlib.util
import json
import os
import pathlib
import re
import shlex

from dm_jax.data.download import PROBE, answers
from dm_jax.data.source import NAMES
from dm_jax.errors import InputError, first_line

# The one format that tfds reads without TensorFlow and pyarrow.
FORMAT = 'array_record'
_INSTALL = 'pip install tensorflow'
_VERSION = re.compile(r'\d+\.\d+\.\d+')
_CATALOG = 'https://www.tensorflow.org/datasets/catalog'

Path = pathlib.Path


def import_tfds():
  """Returns the package.

  Raises:
    InputError: saying what to install.
  """
  try:
    import tensorflow_datasets
  except ImportError as error:  # Also its undeclared importlib_resources.
    raise InputError(
      'data.name: tensorflow-datasets cannot be imported '
      f'({first_line(error)}): pip install tensorflow-datasets '
      'importlib_resources, or use data.name=folder or npz'
    ) from error
  return tensorflow_datasets


def open_builder(
  name: str, directory: str | None, online: Callable[[], bool] = answers
):
  """Opens a prepared set, preparing it first if that can be done here.

  Args:
    name: as tfds writes it, e.g. cifar10 or imagenet_resized/64x64; or any set
      on disk that no builder is registered for.
    directory: tfds's data_dir; None is $TFDS_DATA_DIR or ~/tensorflow_datasets.
    online: whether a download may be tried: tfds repeats one for minutes.

  Returns:
    A read-only tfds builder of the newest version, in the format `FORMAT`.

  Raises:
    InputError: within seconds, if the set is neither there nor can be prepared
      here, naming the folder looked in and the command that prepares it.
  """
  tfds = import_tfds()
  root, command = data_root(directory), _command(name, directory)
  folder = _find(root, name) or _prepare(tfds, root, name, command, online)
  try:
    builder = tfds.builder_from_directory(folder)
  except Exception as error:
    # JSON, protobuf and tfds's own errors, as the folder is broken.
    raise InputError(
      f'{folder} cannot be read ({first_line(error)}): delete it and prepare'
      ' the set again'
    ) from error
  formats = {f.value for f in builder.info.available_file_formats()}
  if FORMAT not in formats:
    raise InputError(
      f'{folder} is prepared as {" and ".join(sorted(formats))}, which only '
      f'TensorFlow reads: move it away and {_again(tfds, name, command)}'
    )
  return builder


def data_root(directory: str | None) -> Path:
  """Returns the folder that holds all sets, tfds's own where none is given."""
  if directory is None:
    directory = os.environ.get('TFDS_DATA_DIR', '~/tensorflow_datasets')
  return Path(directory).expanduser()


def is_prepared(root: Path, name: str) -> bool:
  """Returns whether tfds has prepared a set so that it is read here.

  Also True for one whose description is damaged: that is to be said.
  """
  folder = _find(root, name)
  if folder is None:
    return False
  text = (folder / 'dataset_info.json').read_text('utf-8', errors='replace')
  try:
    json.loads(text)
  except ValueError:
    return True
  return FORMAT in text


def _command(name: str, directory: str | None) -> str:
  """Returns the shell command that prepares a set."""
  root = data_root(directory).absolute()
  where = '' if directory is None else f'data_dir={str(root)!r}, '
  code = (
    f'import tensorflow_datasets as tfds; tfds.builder({name!r}, {where}'
    f'file_format={FORMAT!r}).download_and_prepare()'
  )
  # Double quotes read better, but let the shell see these characters.
  word = shlex.quote(code) if re.search(r'["$`\\!]', code) else f'"{code}"'
  return f'{_INSTALL} && python -c {word}'


def _again(tfds, name: str, command: str) -> str:
  """Says how a set is prepared again, in the other format."""
  if name.split('/')[0] in tfds.list_builders(with_community_datasets=False):
    return f'run {command}'
  return (
    'let its own builder prepare it again, by download_and_prepare(file_format='
    f'{FORMAT!r}), or save it for data.name=npz'
  )


def _find(root: Path, name: str) -> Path | None:
  """Returns the newest prepared version's folder, if there is one."""
  folder = root / name
  versions = _versions(folder)
  if versions:
    return max(versions, key=lambda v: tuple(map(int, v.name.split('.'))))
  configs = [c.name for c in _folders(folder) if _versions(c)]
  if configs:
    # tfds would take its default configuration, seldom the one that is here.
    raise InputError(
      f'data.name={name} has configurations: name one of those in {root}: '
      f'{", ".join(f"{name}/{c}" for c in configs)}'
    )
  return None


def _entries(folder: Path) -> list[Path]:
  return sorted(folder.iterdir()) if folder.is_dir() else []


def _folders(folder: Path) -> list[Path]:
  return [path for path in _entries(folder) if path.is_dir()]


def _versions(folder: Path) -> list[Path]:
  """Returns the version folders that hold a prepared dataset."""
  return [
    path
    for path in _folders(folder)
    if _VERSION.fullmatch(path.name) and (path / 'dataset_info.json').is_file()
  ]


def _prepare(
  tfds, root: Path, name: str, command: str, online: Callable[[], bool]
) -> Path:
  """Downloads and prepares a set, or says at once how to."""
  _check_name(tfds, root, name)
  laid = root / 'downloads' / 'manual'
  if importlib.util.find_spec('tensorflow') is None:
    missing = 'preparing it needs TensorFlow'
  elif any(_entries(laid)) or online():
    missing = None  # What lies there may be all that tfds needs.
  else:
    missing = f'{PROBE} does not answer, nor are archives in {laid}'
  if missing:
    raise InputError(
      f'{name} is not in {root / name}, and {missing}: where there is network, '
      f'run {command}'
    )
  try:
    builder = tfds.builder(name, data_dir=root, file_format=FORMAT)
    builder.download_and_prepare()
  except Exception as error:
    # Downloads, checksums, manual steps: tfds has no common type for them.
    raise InputError(
      f'tfds could not prepare {name} in {root} ({first_line(error)}): to see '
      f'more, run {command}'
    ) from error
  return Path(builder.data_dir)


def _check_name(tfds, root: Path, name: str) -> None:
  """Raises InputError, naming near ones, unless a builder has that name."""
  # Without community sets: listing those asks the network.
  known = tfds.list_builders(with_community_datasets=False)
  base = name.split('/')[0]
  if base in known:
    return
  here = [folder.name for folder in _folders(root)]
  near = difflib.get_close_matches(base, {*NAMES, *here, *known})
  hint = f'did you mean {" or ".join(near)}? ' if near else ''
  raise InputError(
    f'unknown data.name {name!r}: {hint}known are {", ".join(NAMES)}, the '
    f'{len(known)} sets of {_CATALOG} and those prepared in {root}'
  )
