"""The paper's sets: prepared by tfds, as plain files, or downloaded."""

import pathlib
import shutil
from typing import NamedTuple
import zipfile

from dm_jax.data import folder, layouts, tfds_source
from dm_jax.data.download import File, check_digest, fetch
from dm_jax.data.layouts import Layout
from dm_jax.data.source import Source
from dm_jax.data.tfds_prepare import data_root, is_prepared
from dm_jax.errors import InputError, first_line
from dm_jax.files import locked

_TINY_IMAGENET = 'tiny-imagenet-200'

Path = pathlib.Path


class PaperSet(NamedTuple):
  """A set and how it may lie on disk.

  Attributes:
    files: what is published, with the digests that tfds keeps of it.
    published: the layout in these files; None is image files.
    also: others that are read where somebody has them.
  """

  files: tuple[File, ...]
  published: Layout | None
  also: tuple[Layout, ...] = ()


def _files(place: str, digests: dict[str, str]) -> tuple[File, ...]:
  return tuple(
    File(f'{place}/{name}', digest) for name, digest in digests.items()
  )


SETS = {
  'mnist': PaperSet(
    _files(
      'https://storage.googleapis.com/cvdf-datasets/mnist',
      {
        't10k-images-idx3-ubyte.gz': '8d422c7b0a1c1c79245a5bcf07fe86e3'
        '3eeafee792b84584aec276f5a2dbc4e6',
        't10k-labels-idx1-ubyte.gz': 'f7ae60f92e00ec6debd23a6088c31dbd'
        '2371eca3ffa0defaefb259924204aec6',
        'train-images-idx3-ubyte.gz': '440fcabf73cc546fa21475e81ea37026'
        '5605f56be210a4024d2ca8f203523609',
        'train-labels-idx1-ubyte.gz': '3552534a0a558bbed6aed32b30c495cc'
        'a23d567ec52cac8be1a0730e8010255c',
      },
    ),
    layouts.MNIST,
  ),
  'fashion_mnist': PaperSet(
    _files(
      'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com',
      {
        't10k-images-idx3-ubyte.gz': '346e55b948d973a97e58d2351dde16a4'
        '84bd415d4595297633bb08f03db6a073',
        't10k-labels-idx1-ubyte.gz': '67da17c76eaffca5446c3361aaab5c3c'
        'd6d1c2608764d35dfb1850b086bf8dd5',
        'train-images-idx3-ubyte.gz': '3aede38d61863908ad78613f6a32ed27'
        '1626dd12800ba2636569512369268a84',
        'train-labels-idx1-ubyte.gz': 'a04f17134ac03560a47e3764e11b92fc'
        '97de4d1bfaf8ba1a3aa29af54cc90845',
      },
    ),
    layouts.FASHION_MNIST,
  ),
  'svhn_cropped': PaperSet(
    _files(
      'http://ufldl.stanford.edu/housenumbers',
      {
        'test_32x32.mat': 'cdce80dfb2a2c4c6160906d0bd7c68ec'
        '5a99d7ca4831afa54f09182025b6a75b',
        'train_32x32.mat': '435e94d69a87fde4fd4d7f3dd208dfc3'
        '2cb6ae8af2240d066de1df7508d083b8',
      },
    ),
    layouts.SVHN,
  ),
  'cifar10': PaperSet(
    _files(
      'https://www.cs.toronto.edu/~kriz',
      {
        'cifar-10-binary.tar.gz': 'c4a38c50a1bc5f3a1c5537f2155ab9d6'
        '8f9f25eb1ed8d9ddda3db29a59bca1dd'
      },
    ),
    layouts.CIFAR10_BINARY,
    (layouts.CIFAR10,),
  ),
  'cifar100': PaperSet(
    _files(
      'https://www.cs.toronto.edu/~kriz',
      {
        'cifar-100-binary.tar.gz': '58a81ae192c23a4be8b1804d68e518ed'
        '807d710a4eb253b1f2a199162a40d8ec'
      },
    ),
    layouts.CIFAR100_BINARY,
    (layouts.CIFAR100,),
  ),
  # No set of tfds: this digest is what several projects found independently.
  'tiny_imagenet': PaperSet(
    _files(
      'https://cs231n.stanford.edu',
      {
        f'{_TINY_IMAGENET}.zip': '6198c8ae015e2b3e007c7841da39ec06'
        '9199b9aa3bfa943a462022fe5e43c821'
      },
    ),
    None,
  ),
}


def source(
  name: str, directory: str | None = None, resize: int | None = None
) -> Source:
  """Finds a set of `SETS`, downloading it where it is nowhere.

  The first of these is taken, R being the directory:

  1. what tfds has prepared in R, as array_record;
  2. the set's own files in R, or in torchvision's folder in R;
  3. the published archives, in R/NAME, in R, or in R/downloads/manual, where
     tfds looks for them;
  4. the published archives, downloaded to R/NAME.

  What is found by 3 or 4 is checked by its digests each time. Files found by 2
  are not, even if they have the published names, as MNIST's .gz and SVHN's .mat
  directly in R: they may have been compressed anew, or be a part.

  Args:
    name: of the set.
    directory: R; None is tfds's, $TFDS_DATA_DIR or ~/tensorflow_datasets.
    resize: pixels; to resize × resize, bicubic, with antialiasing. None takes
      the images as they are.

  Raises:
    InputError: naming what is missing or damaged, and where to lay it.
  """
  root = data_root(directory)
  if root.exists() and not root.is_dir():
    raise InputError(
      f'data.dir: {root} is no folder: for data.name={name} name the folder'
      ' that holds the files'
    )
  if is_prepared(root, name):
    return tfds_source.source(name, directory, resize)
  if SETS[name].published is None:
    return _image_files(name, root, resize)
  return _arrays(name, root, resize)


def _arrays(name: str, root: Path, resize: int | None) -> Source:
  own = SETS[name]
  assert own.published is not None
  found = layouts.find((*own.also, own.published), root, resize)
  if found is not None:
    return found
  place = _archives(name, root)
  if own.files[0].name.endswith('.tar.gz'):
    place /= own.files[0].name
  return layouts.source(own.published, place, resize)


def _image_files(name: str, root: Path, resize: int | None) -> Source:
  unpacked = root / name / _TINY_IMAGENET
  places = (root / _TINY_IMAGENET, root, unpacked)
  place = next((place for place in places if (place / 'train').is_dir()), None)
  if place is None:
    (archive,) = SETS[name].files
    _unpack(_archives(name, root) / archive.name, unpacked)
    place = unpacked
  return folder.source(str(place), resize)


def _archives(name: str, root: Path) -> Path:
  """Returns the folder that holds what is published, checked."""
  files = SETS[name].files
  for place in (root / name, root, root / 'downloads' / 'manual'):
    if all((place / file.name).is_file() for file in files):
      for file in files:
        check_digest(file, place)
      return place
  try:
    fetch(files, root / name)
  except InputError as error:
    raise InputError(f'{name} is not in {root}, and {error}') from error
  return root / name


def _unpack(archive: Path, target: Path) -> None:
  """Unpacks an archive of one folder; it appears when it is whole."""
  from tqdm import tqdm

  target.parent.mkdir(parents=True, exist_ok=True)
  lock = target.with_name(f'.{target.name}.lock')
  with locked(lock, f'waiting for another process to unpack {archive}'):
    if target.is_dir():
      return
    unfinished = target.with_name(f'.{target.name}.tmp')
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
      with zipfile.ZipFile(archive) as opened:
        # disable=None: no bar unless standard error is a terminal.
        for member in tqdm(opened.infolist(), desc='unpacking', disable=None):
          opened.extract(member, unfinished)
      (unfinished / target.name).rename(target)
    except (OSError, zipfile.BadZipFile) as error:
      raise InputError(
        f'{archive} was not unpacked to {target} ({first_line(error)})'
      ) from error
    finally:
      shutil.rmtree(unfinished, ignore_errors=True)
