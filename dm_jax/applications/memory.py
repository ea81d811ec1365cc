"""A memory of a few images per class: its sizes, bytes and growth."""

from collections.abc import Sequence
import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from dm_jax.errors import InputError
from dm_jax.images.normalise import normalise
from dm_jax.images.storage import get_storage
from dm_jax.matching.discrepancy import parse_discrepancies
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.types import Array, ImageShape


def images_per_class(
  most: int,
  classes: int,
  image_shape: ImageShape,
  store: str,
  budget_bytes: int,
) -> int:
  """Returns how many images of each class the memory holds.

  Args:
    most: where there is room.
    classes: C, seen so far.
    image_shape: (H, W, D).
    store: see `ContinualConfig`.
    budget_bytes: for all classes; 0 is no bound.

  Raises:
    InputError: there is no room for one image of each.
  """
  if not budget_bytes:
    return most
  one = image_bytes(image_shape, store)
  room = budget_bytes // (classes * one)
  if not room:
    raise InputError(
      f'continual.budget_bytes {budget_bytes:,} has no room for one image of'
      f' each of {classes} classes, which take {classes * one:,} bytes as'
      f' {store}: raise it to that at least'
    )
  return min(most, room)


def image_bytes(image_shape: ImageShape, store: str) -> int:
  """Returns the bytes that one image takes in the memory."""
  return math.prod(image_shape) * np.dtype(store).itemsize


def condensed_sizes(
  size: int, budget_bytes: int, discrepancy: str, storage: str
) -> int | tuple[int, ...]:
  """Returns the images per class to condense, see `CondenseConfig`.

  Under a budget classes lose images later on, when their real ones are gone. So
  the first half of a class's images is condensed to be a set of its own, too,
  and half of that, and so on.

  Args:
    size: images of a class in memory.
    budget_bytes: 0 is no bound.
    discrepancy: see `CondenseConfig`; no half has fewer images than it needs.
    storage: of these images.
  """
  if not budget_bytes:
    return size
  needed = max(
    each.discrepancy.least for each in parse_discrepancies(discrepancy)
  )
  halves = [size]
  while halves[0] // 2 * get_storage(storage).per_stored >= needed:
    halves.insert(0, halves[0] // 2)
  return tuple(halves)


def keep_as(images: SyntheticSet, store: str) -> SyntheticSet:
  """Returns a set whose images are what a memory can keep of them.

  Args:
    images: any set.
    store: see `ContinualConfig`.
  """
  if store == 'float32':
    return images
  kept: Array = normalise(images.images_uint8, images.mean, images.std)
  return dataclasses.replace(images, stored=kept)


def grow(
  memory: SyntheticSet | None, new: SyntheticSet, size: int
) -> SyntheticSet:
  """Returns a memory with new classes behind the old ones.

  Args:
    memory: of the classes so far; None if there are none.
    new: of other classes, with the same statistics.
    size: images that are left of every class, old and new: its first ones.
  """
  new = new.first(size)
  if memory is None:
    return new
  old = memory.first(size)
  if old.storage != new.storage:
    raise InputError(
      f'a memory keeps its images in one storage, got {old.storage!r} and'
      f' {new.storage!r}'
    )
  targets = [
    _widen(old.targets, 0, new.classes),
    _widen(new.targets, old.classes, 0),
  ]
  return dataclasses.replace(
    old,
    stored=jnp.concatenate([old.stored, new.stored]),
    class_of=jnp.concatenate([old.class_of, new.class_of + old.classes]),
    targets=jnp.concatenate(targets),
    class_names=old.class_names + new.class_names,
  )


def _widen(targets: Array, before: int, after: int) -> Array:
  """Targets for as many more classes before and after their own."""
  if targets.ndim == 1:
    return targets + before
  rows = ((0, 0),) * (targets.ndim - 1)
  return jnp.pad(targets, (*rows, (before, after)))


def reorder(memory: SyntheticSet, names: Sequence[str]) -> SyntheticSet:
  """Returns a memory with its classes in another order.

  Args:
    memory: any.
    names: of its classes, each once.
  """
  labels = np.asarray(memory.class_of)
  places = [memory.class_names.index(name) for name in names]
  rows = [np.flatnonzero(labels == place) for place in places]
  moved = memory.take(np.concatenate(rows))
  new = jnp.asarray(np.argsort(places), jnp.int32)  # By old number.
  hard = moved.targets.ndim == 1
  return dataclasses.replace(
    moved,
    class_of=new[moved.class_of],
    targets=(
      new[moved.targets] if hard else moved.targets[..., np.array(places)]
    ),
    class_names=tuple(names),
  )
