"""`SyntheticSet`: what condensing gives, in memory and as a file."""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any, Self
import warnings
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from dm_jax.arguments import as_statistic, describe
from dm_jax.data.class_data import ClassData, check_whole
from dm_jax.errors import InputError
from dm_jax.exchange.formats import (
  OWN,
  find_format,
  read_released,
  write_released,
)
from dm_jax.exchange.pictures import sorting_note
from dm_jax.exchange.released import Released, Wanted, check_experiment
from dm_jax.files import UNREADABLE, full_path, write_atomically
from dm_jax.images.normalise import denormalise, mid_grey, normalise
from dm_jax.images.storage import PLAIN, get_storage
from dm_jax.types import AnyArray, Array, ImageShape, Json
from dm_jax.version import __version__
from dm_jax.words import short_repr

# 1 knew neither storage nor targets; 2 had int32 labels and targets, and
# statistics in float64 alone, which PyTorch refuses or turns all else into.
_FORMAT = 3
# The method of a set that came without its own.
RELEASED = 'released'
_ARRAYS = (
  'format',
  'images',
  'labels',
  'class_names',
  'mean',
  'std',
  'provenance',
)


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=('stored', 'class_of', 'targets'),
  meta_fields=('mean', 'std', 'class_names', 'storage'),
  drop_fields=('provenance_json',),
)
@dataclasses.dataclass(frozen=True)
class SyntheticSet:
  """A small labelled image set, and where it came from.

  `stored` are the images that are kept, counted and drawn, `images` those that
  networks train on: the same, but for a storage that holds several in one. The
  provenance is no part of the pytree: sets that differ in it alone share what
  is compiled, and what a transformation gives back has none.

  Attributes:
    stored: images as they are kept, normalised float32 [N, H, W, D].
    class_of: int32 [N], the class of each, ascending.
    targets: what is learned from each: int32 [N], its class; or probabilities,
      float32 [N, C], or [N, K, C] where the K training images that a stored one
      holds have each their own.
    mean: per-channel mean in unit range, D values; what normalised the images
      and must normalise test images.
    std: per-channel deviation, D values.
    class_names: C names.
    storage: how `stored` holds the training images, see `images.storage`; e.g.
      tiles:2.
    provenance_json: config, seed and versions; see `provenance`.
  """

  stored: Array
  class_of: Array
  targets: Array
  mean: tuple[float, ...]
  std: tuple[float, ...]
  class_names: tuple[str, ...]
  storage: str = PLAIN.name
  provenance_json: str = '{}'

  def __repr__(self) -> str:
    return short_repr(self)

  @classmethod
  def from_images(
    cls,
    images: AnyArray,
    labels: AnyArray,
    mean: Sequence[float],
    std: Sequence[float],
    class_names: Sequence[str],
  ) -> Self:
    """Makes a plain set of labelled images.

    Args:
      images: normalised float32 [N, H, W, D].
      labels: int [N], ascending.
      mean: per-channel mean in unit range, D values.
      std: per-channel deviation, D values.
      class_names: C names.

    Raises:
      InputError: the images are no floats, as pixels up to 255 are, or have no
        four axes; the labels are no integers, one for each.
    """
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
      raise InputError(
        'images must be normalised floats [N, H, W, D], got'
        f' {describe(images)}: of pixels, dm_jax.ClassData.from_arrays makes'
        ' what SyntheticSet.from_whole takes'
      )
    one_each = labels.shape == images.shape[:1]
    if not one_each or not jnp.issubdtype(labels.dtype, jnp.integer):
      raise InputError(
        f'labels must be an integer for each of {len(images)} images, got'
        f' {describe(labels)}'
      )
    classes = labels.astype(jnp.int32)
    return cls(
      images, classes, classes, tuple(mean), tuple(std), tuple(class_names)
    )

  @classmethod
  def from_classes(
    cls,
    stored: Array,
    data: ClassData,
    provenance: Json,
    storage: str = PLAIN.name,
  ) -> Self:
    """Makes a set of the classes' stored images, normalised [C, S, H, W, D]."""
    classes, per_class = stored.shape[:2]
    labels = np.repeat(np.arange(classes, dtype=np.int32), per_class)
    flat = stored.reshape(-1, *stored.shape[2:])
    made = cls.from_images(flat, labels, data.mean, data.std, data.names)
    text = json.dumps(provenance, sort_keys=True)
    return dataclasses.replace(made, storage=storage, provenance_json=text)

  @classmethod
  def from_whole(cls, data: ClassData) -> Self:
    """Makes a set of all real images, class by class.

    Raises:
      InputError: not all classes are held here.
    """
    check_whole(data, 'the whole set')
    counts = np.asarray(data.counts)
    images = [
      np.asarray(normalise(images[:count], data.mean, data.std))
      for images, count in zip(data.images, counts, strict=True)
    ]
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return cls.from_images(
      np.concatenate(images), labels, data.mean, data.std, data.names
    )

  @property
  def images(self) -> Array:
    """The images to train on, normalised float32 [N · K, H, W, D]."""
    grey = mid_grey(self.mean, self.std)
    return get_storage(self.storage).training_images(self.stored, grey)

  @property
  def labels(self) -> Array:
    """The class of each training image, int32 [N · K]."""
    return self._for_training(self.class_of)

  @property
  def training_targets(self) -> Array:
    """`targets` of each training image, [N · K] or [N · K, C]."""
    if self.targets.ndim == 3:
      return self.targets.reshape(-1, self.targets.shape[-1])
    return self._for_training(self.targets)

  def _for_training(self, values: Array) -> Array:
    copies = get_storage(self.storage).per_stored
    return values if copies == 1 else jnp.repeat(values, copies, axis=0)

  def first(self, per_class: int) -> Self:
    """Returns the first stored images of each class: a nested set.

    Args:
      per_class: at most the smallest class.

    Raises:
      InputError: a class has fewer images.
    """
    classes = np.asarray(self.class_of)
    rows = [
      np.flatnonzero(classes == c)[:per_class] for c in range(self.classes)
    ]
    fewest = min(map(len, rows))
    if not 1 <= per_class <= fewest:
      raise InputError(
        f'cannot take the first {per_class} images of each class: the smallest'
        f' has {fewest}'
      )
    return self.take(np.concatenate(rows))

  def take(self, rows: AnyArray) -> Self:
    """Returns some stored images, int [n], in that order."""
    return dataclasses.replace(
      self,
      stored=self.stored[rows],
      class_of=self.class_of[rows],
      targets=self.targets[rows],
    )

  def as_plain(self) -> Self:
    """Returns a set that stores the training images of this one as they are."""
    return dataclasses.replace(
      self,
      stored=self.images,
      class_of=self.labels,
      targets=self.training_targets,
      storage=PLAIN.name,
    )

  def with_provenance(self, **provenance: Any) -> Self:
    """Returns the same set with `provenance` replaced; values as in JSON."""
    text = json.dumps(provenance, sort_keys=True)
    return dataclasses.replace(self, provenance_json=text)

  @property
  def provenance(self) -> dict[str, Any]:
    """How the set was made: `method`, `config`, `seed`, `set`, `versions`."""
    return json.loads(self.provenance_json)

  @property
  def sizes(self) -> tuple[int, ...]:
    """The stored images per class of the nested sets it holds, ascending.

    Mostly one; of classes that differ in size it is the mean, rounded down, and
    1 at least. They are known of sets that came from a run or `condense`, and
    taken with `first`.
    """
    counts = np.bincount(np.asarray(self.class_of), minlength=self.classes)
    held = max(1, len(self.class_of) // self.classes)
    condense = self.provenance.get('config', {}).get('condense', {})
    sizes = condense.get('images_per_class')
    # `first` and `take` leave the provenance of the whole.
    whole = isinstance(sizes, list) and (counts == sizes[-1]).all()
    return tuple(sizes) if whole else (held,)

  @property
  def classes(self) -> int:
    return len(self.class_names)

  @property
  def image_shape(self) -> ImageShape:
    return self.stored.shape[1:]

  @property
  def images_uint8(self) -> np.ndarray:
    """The stored images to look at: uint8 [N, H, W, D], clipped to [0, 255]."""
    return np.asarray(denormalise(self.stored, self.mean, self.std))

  def _repr_html_(self) -> str | None:
    """Shows the stored images in a notebook, a row for each class."""
    from dm_jax.report.notebook import grid_html  # Loads Pillow.

    return grid_html(
      self.images_uint8, np.asarray(self.class_of), self.class_names
    )

  def fingerprint(self) -> str:
    """Returns a digest of all that training on the set depends on."""
    images = np.asarray(self.images, np.float32)
    static = (self.mean, self.std, self.class_names, images.shape)
    digest = hashlib.sha256(repr(static).encode())
    digest.update(images.tobytes())
    digest.update(np.asarray(self.training_targets).tobytes())
    return digest.hexdigest()

  def save(self, path: str | os.PathLike) -> None:
    """Writes an .npz, whole or not at all; equal sets give equal bytes.

    It holds `images` (as stored), `images_uint8`, `labels` (their classes),
    `targets`, `class_names`, `mean`, `std`, `storage`, `format` and
    `provenance` (JSON text), and is read with `numpy.load` alone. Types are
    those that PyTorch takes: labels int64, all else float32. `statistics` are
    mean and std once more, float64 [2, D], so that nothing is lost.

    Args:
      path: of the file; folders above it are made.

    Raises:
      OSError: it cannot be written there.
    """
    hard = self.targets.ndim == 1
    arrays = {
      'format': np.int32(_FORMAT),
      'images': np.asarray(self.stored, np.float32),
      'images_uint8': self.images_uint8,
      'labels': np.asarray(self.class_of, np.int64),
      'targets': np.asarray(self.targets, np.int64 if hard else np.float32),
      'class_names': np.array(self.class_names, dtype=np.str_),
      'mean': np.array(self.mean, np.float32),
      'std': np.array(self.std, np.float32),
      'statistics': np.array([self.mean, self.std], np.float64),
      'storage': np.array(self.storage),
      'provenance': np.array(self.provenance_json),
    }
    path = full_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: np.savez(file, **arrays))

  @classmethod
  def load(cls, path: str | os.PathLike) -> Self:
    """Reads what `save` wrote, in every format so far; never unpickles.

    Raises:
      InputError: no such file, not a synthetic set, of a newer format, or of a
        storage that is not registered here or does not fit the images.
    """
    arrays = _read(full_path(path))
    provenance = str(arrays['provenance'])
    try:
      json.loads(provenance)
    except ValueError as error:
      raise InputError(f'{path} has a provenance that is no JSON') from error
    return cls._checked(
      path,
      arrays['images'],
      arrays['labels'],
      arrays.get('targets', arrays['labels']),
      _statistics(arrays),
      tuple(np.atleast_1d(arrays['class_names']).tolist()),
      str(arrays.get('storage', PLAIN.name)),
      provenance,
    )

  @classmethod
  def _checked(
    cls,
    path: str | os.PathLike,
    images: np.ndarray,
    labels: np.ndarray,
    targets: np.ndarray,
    statistics: tuple[np.ndarray, np.ndarray],
    names: tuple[str, ...],
    storage: str,
    provenance: str,
  ) -> Self:
    """Makes a set of a file's arrays, or raises InputError."""
    mean, std = statistics
    held = get_storage(storage).per_stored
    _check_values(path, images, labels, std, len(names))
    fits = (
      images.ndim == 4
      and images.dtype == np.float32
      and labels.shape == images.shape[:1]
      and labels.dtype.kind in 'iu'
      and mean.dtype.kind == std.dtype.kind == 'f'
      and mean.shape == std.shape == images.shape[-1:]
      and np.isfinite(mean).all()
      and labels.size > 0
      and _are_targets(targets, len(labels), held, len(names))
    )
    if not fits:
      raise InputError(
        f'{path} is not a whole synthetic set: images {images.dtype}'
        f' {images.shape}, labels {labels.shape}, targets {targets.dtype}'
        f' {targets.shape}, {len(names)} class names'
      )
    get_storage(storage).check(images.shape[1:])
    hard = targets.ndim == 1
    return cls(
      stored=jnp.asarray(images),
      class_of=jnp.asarray(labels, jnp.int32),
      targets=jnp.asarray(targets, jnp.int32 if hard else jnp.float32),
      mean=tuple(mean.tolist()),
      std=tuple(std.tolist()),
      class_names=names,
      storage=storage,
      provenance_json=provenance,
    )

  @classmethod
  def read(
    cls,
    path: str | os.PathLike,
    format: str | None = None,
    *,
    factor: int = 1,
    experiment: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
  ) -> Self:
    """Reads a set in any known format: a run's, an export, or others'.

    Pixels that the file has normalised stay as they are; those in [0, 1] are
    normalised. No file runs code.

    Args:
      path: of the file, or of the folder where a format has several.
      format: see `exchange.formats.FORMATS`; None finds it by what is there.
      factor: tiles a side that each image holds; the file does not say it.
      experiment: which of several that a DM file holds.
      mean: per channel, in unit range, D values, of the set that the images
        stand for; for files that do not say it, as others' do not.
      std: the same for the deviation.
      class_names: the same for the C names; None numbers them.

    Raises:
      InputError: it is damaged, of no known format or needs code to be read, or
        an argument is missing or does not fit.

    Example:
      synthetic = dm_jax.SyntheticSet.read('res_DM_CIFAR10_ConvNet_10ipc.pt',
                                           mean=(0.4914, 0.4822, 0.4465),
                                           std=(0.2023, 0.1994, 0.2010))
    """
    path = full_path(path)
    layout = find_format(path, format)
    check_experiment(path, layout, experiment)
    if layout == OWN:
      arguments = {
        'factor': factor != 1,
        'mean': mean is not None,
        'std': std is not None,
        'class_names': class_names is not None,
      }
      for name, given in arguments.items():
        if given:
          raise InputError(f'{path} says its {name} itself: leave it out')
      return cls.load(path)
    names = None if class_names is None else tuple(class_names)
    released = read_released(path, layout, Wanted(experiment, names))
    theirs = released.class_names
    if None not in (names, theirs) and names != theirs:
      raise InputError(
        f'{path} has the classes {short_repr(theirs)}, got class_names'
        f' {short_repr(names)}: leave class_names out, or give these'
      )
    for note in released.told(factor):
      warnings.warn(f'{path}: {note}', stacklevel=2)
    return cls.from_released(
      released,
      path,
      factor=factor,
      mean=mean,
      std=std,
      class_names=names,
    )

  @classmethod
  def from_released(
    cls,
    released: Released,
    path: str | os.PathLike,
    *,
    factor: int = 1,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
  ) -> Self:
    """Makes a set of what a file holds; see `read`.

    Args:
      released: what it holds; what it says comes before the arguments.
      path: of the file, for messages.
      factor: as for `read`, and so are all below.
      mean: D values.
      std: D values.
      class_names: C names.
    """
    mean, std = released.mean or mean, released.std or std
    if mean is None or std is None:
      raise InputError(
        f'{path} does not say the mean and std of its data: give both, or'
        ' --config of the data set'
      )
    try:
      mean = as_statistic('mean', mean, released.images.shape[-1])
      std = as_statistic('std', std, released.images.shape[-1])
    except InputError as error:
      raise InputError(f'{path}: {error}') from error
    names = released.class_names or class_names
    if names is None:
      names = map(str, range(_count_classes(released, path)))
    names = tuple(names)
    if released.class_names is None:
      _check_classes(released, path, len(names))
    if factor < 1:
      raise InputError(f'factor must be at least 1, got {factor}')
    if factor != 1 and released.mean is not None:  # An export, with its card.
      raise InputError(
        f'{path} holds images as they are trained on: leave factor {factor} out'
      )
    storage = PLAIN.name if factor == 1 else f'tiles:{factor}'
    try:
      get_storage(storage).check(released.images.shape[1:])
    except InputError as error:
      raise InputError(
        f'factor {factor} does not fit the images of {path}: {error}'
      ) from error
    order = np.argsort(released.labels, kind='stable')
    labels = released.labels[order]
    targets = labels if released.targets is None else released.targets[order]
    return cls._checked(
      path,
      released.normalised(mean, std)[order],
      labels,
      targets,
      (np.array(mean, np.float64), np.array(std, np.float64)),
      names,
      storage,
      json.dumps({'method': RELEASED}),
    )

  def export(
    self,
    path: str | os.PathLike,
    format: str,
    *,
    judged: Json | None = None,
  ) -> Path:
    """Writes the training images for other tools, and a card.json beside them.

    Args:
      path: of the file or folder to make; there must be none.
      format: folder (PNG by class), npz (plain arrays), parquet (Hugging Face),
        pt (DM's layout) or ddranking; see `exchange.formats`.
      judged: what the card says of its accuracy: `protocol` and
        `expected_accuracy`; what is not known is null there.

    Returns:
      The path of the card. A warning tells of class names whose folders are
      not in the classes' order.

    Raises:
      InputError: there is something at `path`, or the format is unknown or
        cannot hold the set. Nothing is left behind.

    Example:
      synthetic.export('cifar10_10', 'folder')
    """
    hard = self.training_targets.ndim == 1
    released = Released(
      np.asarray(self.images, np.float32),
      np.asarray(self.labels, np.int64),
      None if hard else np.asarray(self.training_targets, np.float32),
      mean=self.mean,
      std=self.std,
      class_names=self.class_names,
    )
    kind, _, factor = self.storage.partition(':')
    made = self.provenance
    about = {
      # What is written is decoded.
      'storage': PLAIN.name,
      'factor': 1,
      'made_as': {
        'storage': self.storage,
        'factor': int(factor) if kind == 'tiles' else 1,
        'stored_images': len(self.class_of),
      },
      'method': made.get('method'),
      'protocol': None,
      'expected_accuracy': None,
      'seed': made.get('seed'),
      'set': made.get('set'),
      'versions': made.get('versions', package_versions()),
      **(judged or {}),
    }
    card = write_released(full_path(path), released, format, about)
    note = sorting_note(self.class_names) if format == 'folder' else None
    if note is not None:
      warnings.warn(note, stacklevel=2)
    return card


def _check_values(
  path: str | os.PathLike,
  images: np.ndarray,
  labels: np.ndarray,
  std: np.ndarray,
  classes: int,
) -> None:
  """Names the value that is wrong, of arrays of the right kinds."""
  if images.dtype.kind == 'f' and not np.isfinite(images).all():
    axes = tuple(range(1, images.ndim))
    count = int((~np.isfinite(images)).any(axes).sum())
    raise InputError(
      f'{path}: {count} of its {len(images)} images hold values that are not'
      ' finite: leave them out'
    )
  if std.dtype.kind == 'f' and not (std > 0).all():
    raise InputError(
      f'{path}: std must be above 0, got {std.tolist()}: use 1 for a constant'
    )
  if labels.dtype.kind in 'iu' and labels.size:
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < classes:
      raise InputError(
        f'{path}: its labels go from {low} to {high}, and there are {classes}'
        ' class names: labels count the names from 0'
      )


def _count_classes(released: Released, path: str | os.PathLike) -> int:
  """Returns C of a set without names; each class has an image then."""
  if released.targets is not None:
    return released.targets.shape[1]
  count = int(released.labels.max()) + 1
  missing = sorted({*range(count)} - {*released.labels.tolist()})
  if missing:
    raise InputError(
      f'{path} has labels up to {count - 1}, and none of class {missing[0]}:'
      ' give class_names of all classes, or number those that there are from 0'
    )
  return count


def _check_classes(
  released: Released, path: str | os.PathLike, classes: int
) -> None:
  """Refuses labels that were lost: all of one class, and none of the others."""
  if classes == 1 or released.targets is not None:
    return
  found = np.unique(released.labels)
  if len(found) == 1:
    raise InputError(
      f'{path} has images of class {found[0]} alone, of {classes}: mend its'
      ' labels'
    )


def _statistics(
  arrays: dict[str, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and std of a file, as exact as it has them."""
  rounded = arrays['mean'], arrays['std']
  exact = arrays.get('statistics')
  if exact is None or exact.dtype != np.float64 or len(exact) != 2:
    return rounded
  same = all(
    part.dtype == np.float32
    and part.shape == whole.shape
    and (part == whole.astype(np.float32)).all()
    for part, whole in zip(rounded, exact, strict=True)
  )
  return (exact[0], exact[1]) if same else rounded


def _are_targets(
  targets: np.ndarray, stored: int, held: int, classes: int
) -> bool:
  """Whether an array holds what can be learned from a set's images.

  Args:
    targets: a class or probabilities for each stored image, or probabilities
      for each training image.
    stored: N.
    held: K, the training images in a stored one.
    classes: C.
  """
  if targets.shape == (stored,):
    whole = targets.dtype.kind in 'iu'
    return whole and 0 <= targets.min() <= targets.max() < classes
  return (
    targets.shape in ((stored, classes), (stored, held, classes))
    and targets.dtype.kind == 'f'
    and bool(np.isfinite(targets).all() and (targets >= 0).all())
    and np.allclose(targets.sum(-1), 1, atol=1e-3)
  )


def _read(path: Path) -> dict[str, np.ndarray]:
  try:
    with open(path, 'rb') as raw, np.load(raw, allow_pickle=False) as file:
      missing = [name for name in _ARRAYS if name not in file.files]
      if missing:
        raise InputError(
          f'{path} is not a synthetic set: it lacks {", ".join(missing)};'
          ' give a synthetic.npz that a run wrote'
        )
      arrays = {name: file[name] for name in file.files}
      written = arrays['format']
      if written.shape or not 1 <= written <= _FORMAT:
        raise InputError(
          f'{path} has format {written}, this version of dm_jax reads 1 to'
          f' {_FORMAT}: use the version that wrote it'
        )
      return arrays
  except FileNotFoundError:
    raise InputError(f'there is no synthetic set at {path}') from None
  except InputError:
    raise
  except UNREADABLE as error:
    # NumPy advises to unpickle whatever is no .npz.
    why = error if zipfile.is_zipfile(path) else 'it is no .npz file'
    raise InputError(
      f'{path} cannot be read as a synthetic set: {why}'
    ) from error


def package_versions() -> dict[str, str]:
  """Returns the versions of what computes a result."""
  names = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')
  versions = {name: importlib.metadata.version(name) for name in names}
  return {'dm_jax': __version__, **versions}
