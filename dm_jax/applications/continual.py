"""Class-incremental learning: a memory of a few images per class grows.

The classes of a stream arrive in groups. Each group is condensed, or selected
from, when it comes and is gone afterwards; the memory keeps the result, and
networks are trained on the memory alone. `ContinualLearner` is the stream;
below it are the pure functions that it and `launch.py` share.
"""

from collections.abc import Sequence
import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from dm_jax.condensing.condense import Callback, condense_classes
from dm_jax.config.sections import (
  METHODS,
  CondenseConfig,
  ContinualConfig,
  PretrainConfig,
)
from dm_jax.data.class_data import ClassData, normalise
from dm_jax.networks.linen import AnyNetwork
from dm_jax.selection.select import select_classes
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.types import AnyArray, Array, ImageShape, InputError, Key, choose

# The paper's, for class-incremental CIFAR-100 (Sec. 4.3).
STREAM_CONFIG = CondenseConfig(images_per_class=20)


class ContinualLearner:
  """Turns a stream of classes into a memory, group by group.

  Attributes:
    memory: of all classes observed so far, in the order of their arrival; None
      before the first. Its images per class are equally many.

  Example:
    learner = dm_jax.ContinualLearner(key=jax.random.key(0))
    for images, labels in stream:
      memory = learner.observe(images, labels)
      seen_images, seen_labels = learner.seen(test_images, test_labels)
      result = dm_jax.evaluate(memory, seen_images, seen_labels,
                               key=jax.random.key(1))
  """

  def __init__(
    self,
    method: str = 'dm',
    config: CondenseConfig = STREAM_CONFIG,
    *,
    key: Key,
    network: AnyNetwork | None = None,
    pretrain: PretrainConfig = PretrainConfig(),
    budget_bytes: int = ContinualConfig.budget_bytes,
    store: str = ContinualConfig.store,
    memory: SyntheticSet | None = None,
  ):
    """Starts with an empty memory, or goes on with an earlier one.

    Args:
      method: dm, or how real images are selected: random, herding, k_center or
        forgetting, by a network trained on the group alone.
      config: how a group is condensed; its `images_per_class`, one number, is
        how many are kept of each class at most.
      key: every draw follows from it and the number of the class in the stream;
        it is consumed. With random, and with dm where no norm mixes images and
        there is no budget, any grouping of the classes of one set
        (`ClassData.take`) gives the same memory.
      network: what embeds (dm) or is trained to select by, a `Network` or a
        Linen module with at least as many outputs as a group has classes. None
        is the paper's ConvNet.
      pretrain: how such a network is trained.
      budget_bytes: see `ContinualConfig`.
      store: see `ContinualConfig`.
      memory: where an earlier learner of the same settings stopped.

    Raises:
      InputError: an unknown method or store, or several sizes.
    """
    check_method(method)
    ContinualConfig(budget_bytes=budget_bytes, store=store)  # Checks them.
    if len(config.sizes) > 1:
      raise InputError(
        'a memory has one number of images per class, got'
        f' condense.images_per_class {config.sizes}: give the largest'
      )
    self._method, self._config, self._key = method, config, key
    self._network, self._pretrain = network, pretrain
    self._budget, self._store = budget_bytes, store
    self.memory = memory

  def observe(
    self,
    images: AnyArray,
    labels: AnyArray,
    *,
    callback: Callback | None = None,
  ) -> SyntheticSet:
    """Takes in some new classes, with all their images.

    Args:
      images: uint8 [N, H, W, D], or float in [0, 1]; not kept.
      labels: [N], any integers or strings. A class's label, as text, is its
        name.
      callback: of condensing, see `condense`.

    Returns:
      The memory. It is normalised as the first group was; its labels count
      classes in the order of arrival, within a group by number.

    Raises:
      InputError: a class came before, the budget has no room for an image of
        each class, or arrays that cannot be used. The memory is then as it was.
    """
    numbers, own = np.unique(_check_labels(labels), return_inverse=True)
    data = ClassData.from_arrays(
      images, own, class_names=list(map(str, numbers))
    )
    return self.observe_classes(data, callback=callback)

  def observe_classes(
    self, data: ClassData, *, callback: Callback | None = None
  ) -> SyntheticSet:
    """`observe`, for images that are grouped by class already.

    Args:
      data: the new classes. Of the first group the mean and deviation are kept;
        those of later groups are not used.
      callback: of condensing, see `condense`.

    Returns:
      As `observe`; class names are the data's.

    Raises:
      InputError: as for `observe`.
    """
    old = self.memory
    _check_new(old, data)
    if old is not None:
      data = dataclasses.replace(data, mean=old.mean, std=old.std)
    first = 0 if old is None else old.classes
    size = images_per_class(
      self._config.largest,
      first + data.classes,
      data.image_shape,
      self._store,
      self._budget,
    )
    made = self._make(data, size, first, callback)
    grown = grow(old, keep_as(made, self._store), size)
    self.memory = grown.with_provenance(
      method=self._method,
      config={
        'condense': dataclasses.asdict(self._config),
        'continual': {'budget_bytes': self._budget, 'store': self._store},
      },
      versions=package_versions(),
    )
    return self.memory

  def seen(
    self, images: AnyArray, labels: AnyArray
  ) -> tuple[AnyArray, np.ndarray]:
    """Returns the images of classes observed so far, labelled as the memory is.

    Args:
      images: [N, H, W, D], e.g. a test set of all classes.
      labels: [N], as for `observe`.

    Returns:
      Images of the same kind, and labels int32.

    Raises:
      InputError: no image is of a class observed, though there are such.
    """
    names = () if self.memory is None else self.memory.class_names
    places = {name: place for place, name in enumerate(names)}
    found = np.array(
      [places.get(str(label), -1) for label in _check_labels(labels)], np.int32
    )
    rows = np.flatnonzero(found >= 0)
    if names and len(found) and not len(rows):
      raise InputError(
        f'no label is of a class observed so far, which are {names[:3]} ...:'
        ' give labels as for observe'
      )
    return images[rows], found[rows]

  def _make(
    self, data: ClassData, size: int, first: int, callback: Callback | None
  ) -> SyntheticSet:
    if self._method != 'dm':
      return select_classes(
        data,
        self._method,
        size,
        key=self._key,
        network=self._network,
        config=self._pretrain,
        first=first,
      )
    sizes = condensed_sizes(size, self._budget)
    return condense_classes(
      data,
      dataclasses.replace(self._config, images_per_class=sizes),
      key=self._key,
      network=self._network,
      callback=callback,
      first=first,
    )


def check_method(method: str) -> None:
  """Raises InputError if a memory cannot be made so."""
  choose('method', method, METHODS)
  if method == 'whole':
    raise InputError(
      'whole keeps every image, which is no memory: use dm, random, herding,'
      ' k_center or forgetting'
    )


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


def condensed_sizes(size: int, budget_bytes: int) -> int | tuple[int, ...]:
  """Returns the images per class to condense, see `CondenseConfig`.

  Under a budget classes lose images later on, when their real ones are gone. So
  the first half of a class's images is condensed to be a set of its own, too,
  and half of that, and so on.
  """
  if not budget_bytes:
    return size
  halves = []
  while size:
    halves.append(size)
    size //= 2
  return tuple(reversed(halves))


def keep_as(images: SyntheticSet, store: str) -> SyntheticSet:
  """Returns a set whose images are what a memory can keep of them.

  Args:
    images: any set.
    store: see `ContinualConfig`.
  """
  if store == 'float32':
    return images
  kept: Array = normalise(images.images_uint8, images.mean, images.std)
  return dataclasses.replace(images, images=kept)


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
  return dataclasses.replace(
    old,
    images=jnp.concatenate([old.images, new.images]),
    labels=jnp.concatenate([old.labels, new.labels + old.classes]),
    class_names=old.class_names + new.class_names,
  )


def reorder(memory: SyntheticSet, names: Sequence[str]) -> SyntheticSet:
  """Returns a memory with its classes in another order.

  Args:
    memory: any.
    names: of its classes, each once.
  """
  labels = np.asarray(memory.labels)
  places = [memory.class_names.index(name) for name in names]
  rows = [np.flatnonzero(labels == place) for place in places]
  counts = list(map(len, rows))
  return dataclasses.replace(
    memory,
    images=memory.images[np.concatenate(rows)],
    labels=jnp.asarray(np.repeat(np.arange(len(places)), counts), jnp.int32),
    class_names=tuple(names),
  )


def class_order(order: int, classes: int) -> tuple[int, ...]:
  """Returns the classes in the order in which they arrive.

  Args:
    order: 0, 1, ...; the paper's five are 0 to 4.
    classes: C.
  """
  permutation = np.random.RandomState(order).permutation(classes)
  return tuple(permutation.tolist())


def split_groups(
  classes: Sequence[int], steps: int
) -> tuple[tuple[int, ...], ...]:
  """Splits classes into equally large groups, in their order.

  Raises:
    InputError: they do not divide.
  """
  count = len(classes)
  if steps < 1 or count % steps:
    divisors = [n for n in range(1, count + 1) if count % n == 0]
    raise InputError(
      f'continual.steps {steps} does not divide the {count} classes: use one of'
      f' {divisors}'
    )
  size = count // steps
  return tuple(
    tuple(classes[low : low + size]) for low in range(0, count, size)
  )


def keep_seen(
  labels: np.ndarray, seen: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
  """Finds the images of the classes seen so far.

  Args:
    labels: int [N], of all classes.
    seen: those classes, in the order of their arrival.

  Returns:
    Their rows, ascending, and for each its class's place in `seen`, int32.
  """
  places = np.full(max(labels.max(initial=-1), *seen) + 1, -1, np.int32)
  places[list(seen)] = np.arange(len(seen))
  found = places[labels]
  rows = np.flatnonzero(found >= 0)
  return rows, found[rows]


def group_accuracies(
  correct: Sequence[int], totals: Sequence[int] | np.ndarray, groups: int
) -> tuple[float, ...]:
  """Returns the accuracy on each group of classes, in [0, 1].

  Args:
    correct: right answers for each class seen, in the order of arrival.
    totals: test images of each.
    groups: equally large ones; each has a test image.
  """
  right = np.reshape(correct, (groups, -1)).sum(1)
  return tuple((right / np.reshape(totals, (groups, -1)).sum(1)).tolist())


def forgetting(accuracies: Sequence[Sequence[float]]) -> float | None:
  """Returns how much was lost of what was known before.

  For each group but the last: its best accuracy at any step before the last
  one, less that at the last; the mean over the groups. Below 0 where groups
  have got better.

  Args:
    accuracies: for each step the accuracy on every group seen so far, step t on
      t + 1 of them.

  Returns:
    A difference of accuracies, in [-1, 1]; None for a single step.

  Source: Chaudhry et al., ECCV 2018, Sec. 3.
  """
  *before, last = accuracies
  if not before:
    return None
  return float(
    np.mean(
      [
        max(step[group] for step in before[group:]) - last[group]
        for group in range(len(before))
      ]
    )
  )


def _check_labels(labels: AnyArray) -> np.ndarray:
  """Returns labels [N], integers or strings."""
  checked = np.asarray(labels)
  if checked.ndim != 1 or checked.dtype.kind not in 'iuU':
    raise InputError(
      'labels must be one integer or string for each image, got'
      f' {checked.dtype} {checked.shape}: for one-hot ones use argmax(-1)'
    )
  return checked


def _check_new(memory: SyntheticSet | None, data: ClassData) -> None:
  """Raises InputError if the memory cannot take these classes in."""
  if memory is None:
    return
  again = [name for name in data.class_names if name in memory.class_names]
  if again:
    raise InputError(
      f'class {again[0]!r} was observed before: a class comes once, with all'
      ' its images'
    )
  if memory.image_shape != data.image_shape:
    raise InputError(
      f'the new images have shape {data.image_shape}, those in memory'
      f' {memory.image_shape}: all classes of a stream have one'
    )
