"""Class-incremental learning: a memory of a few images per class grows.

The classes of a stream arrive in groups. Each group is condensed, or selected
from, when it comes and is gone afterwards; the memory keeps the result, and
networks are trained on the memory alone.
"""

import dataclasses

import numpy as np

from dm_jax.applications.config import ContinualConfig
from dm_jax.applications.memory import (
  condensed_sizes,
  grow,
  images_per_class,
  keep_as,
)
from dm_jax.arguments import (
  GROUPED,
  HOW_TO_LOAD,
  as_key,
  check_type,
  refuse_traced,
)
from dm_jax.condensing.condense import Callback, condense_classes
from dm_jax.condensing.plan import check_own
from dm_jax.config.sections import METHODS, CondenseConfig, PretrainConfig
from dm_jax.data.arrays import as_array
from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError, choose
from dm_jax.networks.linen import AnyNetwork
from dm_jax.selection.select import select_classes, stored_as
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.types import AnyArray, AnyKey

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
    key: AnyKey,
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
      key: every draw follows from it, a key or a whole number that seeds one
        (`arguments.as_key`), and the number of the class in the stream; it is
        consumed. With random, and with dm where no norm mixes images and
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
      InputError: an unknown method or store, several sizes, or a cross entropy
        under random networks.
    """
    check_method(method)
    check_type('config', config, CondenseConfig)
    check_type('pretrain', pretrain, PretrainConfig)
    if memory is not None:
      check_type('memory', memory, SyntheticSet, remedy=HOW_TO_LOAD)
    ContinualConfig(budget_bytes=budget_bytes, store=store)  # Checks them.
    if len(config.sizes) > 1:
      raise InputError(
        'a memory has one number of images per class, got'
        f' condense.images_per_class {config.sizes}: give the largest'
      )
    if method == 'dm':  # No network is trained to embed a group with.
      check_own(config, network, 'set it to 0, or give')
    self._method, self._config, self._key = method, config, as_key(key)
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
    refuse_traced('observe', images, labels)
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
    check_type('data', data, ClassData, remedy=GROUPED)
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
    if old is not None:
      # These refuse before the work is done.
      old.first(size)
      _check_kept(old, stored_as(self._method, self._config.stored_as))
    made = self._make(data.numbered_from(first), size, callback)
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
    self, data: ClassData, size: int, callback: Callback | None
  ) -> SyntheticSet:
    if self._method != 'dm':
      return select_classes(
        data,
        self._method,
        size,
        key=self._key,
        network=self._network,
        config=self._pretrain,
        storage=self._config.stored_as,
      )
    config = self._config
    sizes = condensed_sizes(
      size, self._budget, config.discrepancy, config.stored_as
    )
    return condense_classes(
      data,
      dataclasses.replace(config, images_per_class=sizes),
      key=self._key,
      network=self._network,
      callback=callback,
    )


def check_method(method: str) -> None:
  """Raises InputError if a memory cannot be made so."""
  choose('method', method, METHODS)
  if method == 'whole':
    raise InputError(
      'whole keeps every image, which is no memory: use dm, random, herding,'
      ' k_center or forgetting'
    )


def _check_labels(labels: AnyArray) -> np.ndarray:
  """Returns labels [N], integers or strings."""
  checked = np.asarray(as_array(labels, 'labels'))
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
  again = [name for name in data.names if name in memory.class_names]
  if again:
    # What JAX makes of a `ClassData`, as device_put does, has none.
    unnamed = '; these have lost their class_names' * (not data.class_names)
    raise InputError(
      f'class {again[0]!r} was observed before: a class comes once, with all'
      f' its images{unnamed}'
    )
  if memory.image_shape != data.image_shape:
    raise InputError(
      f'the new images have shape {data.image_shape}, those in memory'
      f' {memory.image_shape}: all classes of a stream have one'
    )


def _check_kept(memory: SyntheticSet, storage: str) -> None:
  """Raises InputError if images of new classes cannot join those in memory."""
  if memory.storage != storage:
    raise InputError(
      f'the memory keeps its images as {memory.storage!r}, new ones would come'
      f' as {storage!r}: go on with the settings that made it'
    )
  if memory.targets.ndim > 1:
    raise InputError(
      'the memory is labelled with probabilities, and the images of new classes'
      ' would come with labels: go on with the memory as it was before, and'
      ' label it when the last classes have come'
    )
