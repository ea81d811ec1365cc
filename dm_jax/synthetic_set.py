"""`SyntheticSet`: what condensing gives, in memory and as a file."""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any, Self
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from dm_jax.data.class_data import ClassData, check_whole
from dm_jax.errors import InputError
from dm_jax.files import write_atomically
from dm_jax.images.normalise import denormalise, normalise
from dm_jax.types import Array, ImageShape, Json
from dm_jax.version import __version__

_FORMAT = 1
# What NumPy meets in files that are damaged or something else.
_UNREADABLE = (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile)
_ARRAYS = (
  'images',
  'images_uint8',
  'labels',
  'class_names',
  'mean',
  'std',
  'provenance',
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SyntheticSet:
  """A small labelled image set, and where it came from.

  Attributes:
    images: as they are trained on, normalised float32 [N, H, W, D].
    labels: int32 [N], ordered by class.
    mean: per-channel mean in unit range, D values; what normalised the images
      and must normalise test images.
    std: per-channel deviation, D values.
    class_names: C names.
    provenance_json: config, seed and versions; see `provenance`.
  """

  images: Array
  labels: Array
  mean: tuple[float, ...] = dataclasses.field(metadata={'static': True})
  std: tuple[float, ...] = dataclasses.field(metadata={'static': True})
  class_names: tuple[str, ...] = dataclasses.field(metadata={'static': True})
  provenance_json: str = dataclasses.field(
    default='{}', metadata={'static': True}
  )

  @classmethod
  def from_classes(
    cls, images: Array, data: ClassData, provenance: Json
  ) -> Self:
    """Makes a set of [C, S, H, W, D] normalised images of the classes."""
    classes, per_class = images.shape[:2]
    labels = np.repeat(np.arange(classes, dtype=np.int32), per_class)
    return cls(
      images=images.reshape(-1, *images.shape[2:]),
      labels=jnp.asarray(labels),
      mean=data.mean,
      std=data.std,
      class_names=data.class_names,
      provenance_json=json.dumps(provenance, sort_keys=True),
    )

  @classmethod
  def from_whole(cls, data: ClassData) -> Self:
    """Makes a set of all real images; four bytes a value instead of one.

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
    return cls(
      images=jnp.asarray(np.concatenate(images)),
      labels=jnp.asarray(labels),
      mean=data.mean,
      std=data.std,
      class_names=data.class_names,
    )

  def first(self, per_class: int) -> Self:
    """Returns the first images of each class: a nested set.

    Args:
      per_class: at most the smallest class.

    Raises:
      InputError: a class has fewer images.
    """
    labels = np.asarray(self.labels)
    rows = [
      np.flatnonzero(labels == c)[:per_class] for c in range(self.classes)
    ]
    fewest = min(map(len, rows))
    if not 1 <= per_class <= fewest:
      raise InputError(
        f'cannot take the first {per_class} images of each class: the smallest'
        f' has {fewest}'
      )
    index = np.concatenate(rows)
    return dataclasses.replace(
      self, images=self.images[index], labels=self.labels[index]
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
  def classes(self) -> int:
    return len(self.class_names)

  @property
  def image_shape(self) -> ImageShape:
    return self.images.shape[1:]

  @property
  def images_uint8(self) -> np.ndarray:
    """The images to look at: uint8 [N, H, W, D], clipped to [0, 255]."""
    return np.asarray(denormalise(self.images, self.mean, self.std))

  def fingerprint(self) -> str:
    """Returns a digest of all that training on the set depends on."""
    static = (self.mean, self.std, self.class_names, self.images.shape)
    digest = hashlib.sha256(repr(static).encode())
    digest.update(np.asarray(self.images, np.float32).tobytes())
    digest.update(np.asarray(self.labels, np.int32).tobytes())
    return digest.hexdigest()

  def save(self, path: str | os.PathLike) -> None:
    """Writes an .npz, whole or not at all; equal sets give equal bytes.

    It holds `images`, `images_uint8`, `labels`, `class_names`, `mean`, `std`
    and `provenance` (JSON text), and is read with `numpy.load` alone.
    """
    arrays = {
      'format': np.int32(_FORMAT),
      'images': np.asarray(self.images, np.float32),
      'images_uint8': self.images_uint8,
      'labels': np.asarray(self.labels, np.int32),
      'class_names': np.array(self.class_names, dtype=np.str_),
      'mean': np.array(self.mean, np.float64),
      'std': np.array(self.std, np.float64),
      'provenance': np.array(self.provenance_json),
    }
    write_atomically(path, lambda file: np.savez(file, **arrays))

  @classmethod
  def load(cls, path: str | os.PathLike) -> Self:
    """Reads what `save` wrote; never unpickles.

    Raises:
      InputError: no such file, or not a synthetic set.
    """
    arrays = _read(Path(path))
    images, labels = arrays['images'], arrays['labels']
    names = tuple(np.atleast_1d(arrays['class_names']).tolist())
    mean, std = arrays['mean'], arrays['std']
    fits = (
      images.ndim == 4
      and images.dtype == np.float32
      and labels.shape == images.shape[:1]
      and labels.dtype.kind in 'iu'
      and mean.dtype.kind == std.dtype.kind == 'f'
      and mean.shape == std.shape == images.shape[-1:]
      and np.isfinite(images).all()
      and np.isfinite(mean).all()
      and (std > 0).all()
      and labels.size > 0
      and 0 <= labels.min() <= labels.max() < len(names)
    )
    if not fits:
      raise InputError(
        f'{path} is not a whole synthetic set: images {images.dtype}'
        f' {images.shape}, labels {labels.shape}, {len(names)} class names'
      )
    provenance = str(arrays['provenance'])
    try:
      json.loads(provenance)
    except ValueError as error:
      raise InputError(f'{path} has a provenance that is no JSON') from error
    return cls(
      images=jnp.asarray(images),
      labels=jnp.asarray(labels, jnp.int32),
      mean=tuple(mean.tolist()),
      std=tuple(std.tolist()),
      class_names=names,
      provenance_json=provenance,
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
      return {name: file[name] for name in _ARRAYS}
  except FileNotFoundError:
    raise InputError(f'there is no synthetic set at {path}') from None
  except InputError:
    raise
  except _UNREADABLE as error:
    raise InputError(
      f'{path} cannot be read as a synthetic set: {error}'
    ) from error


def package_versions() -> dict[str, str]:
  """Returns the versions of what computes a result."""
  names = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')
  versions = {name: importlib.metadata.version(name) for name in names}
  return {'dm_jax': __version__, **versions}
