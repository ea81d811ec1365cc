"""Selects real images of each class: the baselines of condensing."""

from collections.abc import Callable
import dataclasses
import itertools
import math
import numbers
from typing import Any

import jax
import numpy as np

from dm_jax.arguments import GROUPED, as_key, check_type, refuse_traced
from dm_jax.config.sections import SELECTIONS, PretrainConfig
from dm_jax.data.class_data import ClassData, check_whole
from dm_jax.draws import draw
from dm_jax.errors import InputError, choose
from dm_jax.images.normalise import normalise
from dm_jax.images.storage import PLAIN, get_storage
from dm_jax.networks.linen import AnyNetwork, as_network
from dm_jax.networks.registry import default_network
from dm_jax.selection import coreset, jpeg
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.training import pretrain as pretraining
from dm_jax.training.features import features
from dm_jax.training.pretrain import Trained
from dm_jax.types import AnyArray, AnyKey, Json, Key, Network

AT_RANDOM = ('random', 'random_full')
JPEG = 'random_jpeg'
_BY_FEATURES = {'herding': coreset.herding, 'k_center': coreset.k_center}


def select(
  images: AnyArray,
  labels: AnyArray,
  method: str = 'random',
  images_per_class: int = 10,
  *,
  key: AnyKey,
  network: AnyNetwork | None = None,
  config: PretrainConfig = PretrainConfig(),
  storage: str = PLAIN.name,
) -> SyntheticSet:
  """Chooses real images of each class.

  Args:
    images: uint8 [N, H, W, D], or float in [0, 1], which is rounded to 8 bits.
    labels: int [N] in 0, 1, ..., C - 1, each at least once.
    method: as for `select_classes`.
    images_per_class: S.
    key: every draw follows from it, a key or a whole number that seeds one
      (`arguments.as_key`); is consumed.
    network: what is trained to choose by, a `Network` or a Linen module; None
      is the paper's ConvNet.
    config: how it is trained.
    storage: of random's images, see `images.storage`; e.g. tiles:2.

  Returns:
    C · S images ordered by class, within a class in the order chosen: the first
    s of each class are the selection of s, but for random_jpeg. All images for
    whole.

  Raises:
    InputError: an argument that cannot be used; the message says why.

  Example:
    chosen = dm_jax.select(images, labels, 'herding', 10,
                           key=jax.random.key(0))
  """
  refuse_traced('select', images, labels, key)
  return select_classes(
    ClassData.from_arrays(images, labels),
    method,
    images_per_class,
    key=key,
    network=network,
    config=config,
    storage=storage,
  )


def select_classes(
  data: ClassData,
  method: str,
  images_per_class: int,
  *,
  key: AnyKey,
  network: AnyNetwork | None = None,
  config: PretrainConfig = PretrainConfig(),
  trained: Trained | None = None,
  callback: pretraining.Callback | None = None,
  storage: str = PLAIN.name,
) -> SyntheticSet:
  """`select`, for images that are grouped by class already.

  Args:
    data: the real images, their statistics and class names.
    method: random, which fills S stored images; random_full, S whole images,
      whatever the storage; random_jpeg, of the same ones, in the same order,
      those that together take at most S · H · W · D bytes of each class, but at
      least one, as JPEG files (quality 75, Pillow's `optimize`, 4:2:0): the set
      is what they decode to, classes differ in size, and the provenance has the
      files' `bytes`; herding and k_center, in the features of a trained
      network; forgetting, the images that training forgot most often; or whole.
    images_per_class: S; whole takes every image.
    key: as for `select`.
    network: as for `select`.
    config: as for `select`.
    trained: by `pretrain(network, data, config, ...)`, so that several methods
      share it; None trains anew where the method needs it.
    callback: of that training, see `pretrain`.
    storage: as for `select`.

  Returns:
    As `select`.

  Raises:
    InputError: as for `select`.
  """
  refuse_traced('select', data, key)
  check_type('data', data, ClassData, remedy=GROUPED)
  check_type('config', config, PretrainConfig)
  key = as_key(key)
  check_selection(data, method, images_per_class, storage)
  images_per_class = int(images_per_class)  # NumPy's is no JSON.
  storage = stored_as(method, storage)
  held = get_storage(storage)
  settings: dict[str, Any] = {
    'condense': {'images_per_class': images_per_class}
  }
  if needs_training(method):
    settings['pretrain'] = dataclasses.asdict(config)
  provenance = {
    'method': method,
    'config': settings,
    'versions': package_versions(),
  }
  if method == 'whole':
    return SyntheticSet.from_whole(data).with_provenance(**provenance)
  draw_key, train_key = jax.random.split(key)
  if method == JPEG:
    choose_rows = _at_random(data, draw_key)
    return _select_jpeg(data, images_per_class, choose_rows, provenance)
  if needs_training(method):
    made = as_network(
      network or default_network(data.image_shape, data.classes),
      data.image_shape,
    )
    if trained is None:
      trained = pretraining.pretrain(
        made, data, config, train_key, callback=callback
      )
    choose_rows = _by_training(data, method, made, trained)
  else:
    choose_rows = _at_random(data, draw_key)
  indices = np.stack(
    [
      choose_rows(label, images_per_class * held.per_stored)
      for label in range(data.classes)
    ]
  )
  chosen = data.images[np.arange(data.classes)[:, None], indices]
  images = normalise(chosen, data.mean, data.std)
  images = jax.vmap(held.stored_images)(images)
  return SyntheticSet.from_classes(images, data, provenance, storage)


def stored_as(method: str, storage: str) -> str:
  """Returns the storage of a method's sets where synthetic ones have another.

  Args:
    method: dm, or one of `SELECTIONS`.
    storage: of the synthetic sets.
  """
  if method == 'dm':
    return storage
  fills = method == 'random' and get_storage(storage).encode is not None
  return storage if fills else PLAIN.name


def needs_training(method: str) -> bool:
  """Says whether a method chooses by a network that it trains first."""
  choose('selection', method, SELECTIONS)
  return method not in (*AT_RANDOM, JPEG, 'whole')


def check_selection(
  data: ClassData,
  method: str,
  images_per_class: int,
  storage: str = PLAIN.name,
) -> None:
  """Raises InputError if images cannot be chosen so."""
  choose('selection', method, SELECTIONS)
  whole = isinstance(images_per_class, numbers.Integral)
  if not whole or images_per_class < 1:
    raise InputError(
      f'images_per_class must be at least 1, got {images_per_class!r}: give one'
      ' whole number'
    )
  if method not in AT_RANDOM:
    check_whole(data, f'the selection {method}')
  if method == JPEG:
    jpeg.check_channels(data.image_shape)
    return
  held = get_storage(stored_as(method, storage))
  held.check(data.image_shape)
  smallest, each = int(data.counts.min()), held.per_stored
  most = smallest // each
  if method != 'whole' and images_per_class > most:
    name = data.names[int(data.counts.argmin())]
    parts = f', each of {each} real ones' if each > 1 else ''
    fewer = f'choose at most {most}, or' if most else 'choose'
    raise InputError(
      f'the selection {method} cannot choose {images_per_class} images per'
      f' class{parts}: class {name!r} has {smallest};'
      f' {fewer} whole'
    )


# (class, number of images) -> indices into the class's images, in order.
_Choice = Callable[[int, int], Any]


def _select_jpeg(
  data: ClassData, images_per_class: int, choose_rows: _Choice, provenance: Json
) -> SyntheticSet:
  """Selects images that take as many bytes as S of 8-bit pixels would."""
  shape = data.image_shape
  budget = images_per_class * math.prod(shape)
  classes = [
    jpeg.fill((images[row] for row in choose_rows(label, int(count))), budget)
    for label, (images, count) in enumerate(
      zip(data.images, data.counts, strict=True)
    )
  ]
  files = [*itertools.chain(*classes)]
  pixels = np.stack([jpeg.decode(file, shape) for file in files])
  labels = np.repeat(np.arange(data.classes), [*map(len, classes)])
  return SyntheticSet.from_images(
    normalise(pixels, data.mean, data.std),
    labels,
    data.mean,
    data.std,
    data.names,
  ).with_provenance(**provenance, bytes=sum(map(len, files)))


def _at_random(data: ClassData, key: Key) -> _Choice:
  def choose_rows(label: int, count: int) -> np.ndarray:
    class_key = jax.random.fold_in(key, data.numbers[label])
    capacity = data.images.shape[1]
    indices, _ = draw(class_key, data.counts[label], capacity, count)
    return np.asarray(indices)

  return choose_rows


def _by_training(
  data: ClassData, method: str, network: Network, trained: Trained
) -> _Choice:
  ends = np.cumsum(np.asarray(data.counts))
  starts = ends - np.asarray(data.counts)

  if method == 'forgetting':

    def choose_rows(label: int, count: int) -> np.ndarray:
      rows = slice(starts[label], ends[label])
      return coreset.most_forgotten(
        trained.events[rows], trained.learned[rows], trained.seen[rows], count
      )

    return choose_rows

  images, _ = pretraining.flatten(data)
  found = features(network, trained.variables, images, data.mean, data.std)

  def choose_by_features(label: int, count: int) -> np.ndarray:
    rows = slice(starts[label], ends[label])
    return _BY_FEATURES[method](found[rows], count)

  return choose_by_features
