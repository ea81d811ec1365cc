"""The state of condensing, and what a step reads and never changes."""

import dataclasses
import functools
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dm_jax.arguments import GROUPED, as_key, check_type
from dm_jax.config.fields import binding, differences
from dm_jax.config.recipes import TRAINED_BY
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.data.mapped import release
from dm_jax.draws import class_keys, draw
from dm_jax.errors import InputError
from dm_jax.images.normalise import normalise
from dm_jax.images.storage import Storage
from dm_jax.matching.loss import RealSide
from dm_jax.types import AnyKey, Array, Embedder, Json, Key, Network
from dm_jax.words import short_repr


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=('step', 'images', 'optimizer', 'terms'),
  meta_fields=(),
  drop_fields=('origin',),
)
@dataclasses.dataclass(frozen=True)
class CondenseState:
  """All that a run must keep.

  Attributes:
    step: int32 [], steps done.
    images: synthetic images as stored, normalised float32 [C, S, H, W, D].
    optimizer: the optimiser's state, each leaf with a leading C.
    terms: the states of the loss's terms, each leaf with a leading C; no leaf
      where they have none, as the paper's.
    origin: of what run it is, see `state_origin`, so that no other one goes on
      from it; None where that is not known, as in what a transformation gives
      back. No part of the pytree.
  """

  step: Array
  images: Array
  optimizer: Any
  terms: Any
  origin: Json | None = None

  def __repr__(self) -> str:
    return short_repr(self)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Problem:
  """All that a step reads and never changes.

  Attributes:
    data: the real images.
    network_key: the networks of all steps follow from it.
    class_keys: [C], the draws of each class follow from its own, so that they
      depend on neither the other classes nor the devices.
    embedder: key -> variables, a `jax.tree_util.Partial`: the arrays that it
      holds are arguments of the compiled step, not constants in it.
    labels: int32 [C], the index of each class among the network's logits.
    cached: the real images' side of the loss with leading C, P, K, for an
      embedder that gives `Numbered` ones of P networks; no real image is read
      then. None: real images are drawn and embedded in each step.
  """

  data: ClassData
  network_key: Key
  class_keys: Key
  embedder: Embedder
  labels: Array
  cached: RealSide | None = None

  def __repr__(self) -> str:
    return short_repr(self)


def state_origin(
  data: ClassData,
  config: CondenseConfig,
  key: Key,
  network: Network,
  trained: Json | None = None,
) -> dict[str, Any]:
  """Returns what the states of a run follow from, as far as it can be told.

  Args:
    data: the real images, told by their numbers, statistics and first images.
    config: all of it but the number of steps, which may be raised.
    key: of the run.
    network: that embeds, told by its name and the sizes of its variables.
    trained: the settings by which it is trained, see `Recipe.trained`; None
      where they are not known.
  """
  settings = binding(config)
  del settings['steps']
  return {
    'key': jax.random.key_data(key).tolist(),
    'images': int(np.sum(data.counts)),
    'mean of the images': data.mean,
    'deviation of the images': data.std,
    'classes and their first images': _digest_classes(data),
    'network': _describe_network(network),
    **settings,
    **(trained or {}),
  }


def origin_changes(old: Json, new: Json) -> list[str]:
  """Returns 'field: old -> new' for what differs between two origins.

  Where one does not know how its networks were trained, that differs not.
  """
  if not ('embedder' in old and 'embedder' in new):
    old, new = (
      {k: v for k, v in each.items() if k not in TRAINED_BY}
      for each in (old, new)
    )
  return differences(old, new)


def _digest_classes(data: ClassData) -> str:
  """Returns a digest that changes where images get other labels."""
  digest = hashlib.sha256(np.asarray(data.counts, np.int64).tobytes())
  digest.update(np.ascontiguousarray(data.images[:, 0]).tobytes())
  return digest.hexdigest()[:12]


def _describe_network(network: Network) -> str:
  shapes = jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0)))
  numbers = sum(leaf.size for leaf in shapes)
  batch = ', of batches' if network.mixes_images else ''
  return f'{network.name or "own"} of {numbers:,} variables{batch}'


def make_problem(
  data: ClassData,
  key: AnyKey,
  embedder: Embedder,
  labels: Array | None = None,
  cached: RealSide | None = None,
) -> Problem:
  """Returns the `Problem` whose every draw follows from `key`.

  Args:
    data: the real images, of some classes or all.
    key: of the run, the same as for `init_state`; see `arguments.as_key`.
    embedder: key -> variables; `network.init` gives the paper's random ones.
    labels: see `Problem`; None is 0, 1, ...
    cached: see `Problem`.
  """
  check_type('data', data, ClassData, remedy=GROUPED)
  _, network_key, classes_key = jax.random.split(as_key(key), 3)
  # A Partial around a Partial would hide its arrays in the program.
  if not isinstance(embedder, jax.tree_util.Partial):
    embedder = jax.tree_util.Partial(embedder)
  if labels is None:
    labels = jnp.arange(data.classes, dtype=jnp.int32)
  keys = class_keys(classes_key, data.numbers)
  if cached is not None:  # Nothing of the images but their shape is read.
    data = dataclasses.replace(data, images=data.images[:, :1])
  return Problem(data, network_key, keys, embedder, labels, cached)


def init_images(
  data: ClassData, storage: Storage, per_class: int, start: str, key: Key
) -> Array:
  """Starts from random real images, or from standard normal noise.

  Args:
    data: the real images, of some classes or all.
    storage: how stored images hold training images.
    per_class: stored images of each class, S.
    start: 'real' or 'noise', see `CondenseConfig.init`.
    key: of the run, the same as for `make_problem`.

  Returns:
    Stored images, normalised [C, S, H, W, D].

  Raises:
    InputError: a class has fewer real images than are to be drawn.
  """
  check_start(data, storage, per_class, start)
  init_key, _, _ = jax.random.split(key, 3)
  keys = class_keys(init_key, data.numbers)
  if start == 'noise':
    shape = (per_class, *data.image_shape)
    return jax.vmap(lambda k: jax.random.normal(k, shape, jnp.float32))(keys)
  drawn = draw_images(data, keys, per_class * storage.per_stored)
  if storage.encode is None:
    return drawn
  return jax.vmap(storage.stored_images)(drawn)


def check_start(
  data: ClassData, storage: Storage, per_class: int, start: str
) -> None:
  """Raises InputError if a class has too few images for `init_images`."""
  if start != 'real':
    return
  smallest, each = int(data.counts.min()), storage.per_stored
  most = smallest // each
  if per_class <= most:
    return
  name = data.names[int(data.counts.argmin())]
  parts = f', each of {each} real ones,' if each > 1 else ''
  fewer = f'at most {most}' if most else 'a smaller condense.factor'
  raise InputError(
    f'condense.images_per_class {per_class}{parts} is more than the'
    f' {smallest} images of class {name!r}: use {fewer}, or condense.init noise'
  )


def draw_images(data: ClassData, keys: Key, per_class: int) -> Array:
  """Draws random real images of every class, without replacement.

  Args:
    data: the real images.
    keys: one for each class [C], see `class_keys`; are consumed.
    per_class: at most the smallest class.

  Returns:
    Normalised [C, per_class, H, W, D].
  """
  indices = _draw_indices(
    jnp.asarray(data.counts), keys, data.images.shape[1], per_class
  )
  if isinstance(data.images, jax.Array):
    drawn = _take(data.images, indices)
  else:  # The set may be larger than the device's memory.
    rows = np.arange(data.classes)[:, None]
    drawn = data.images[rows, np.asarray(indices)]
    release(data.images)
  return _normalise(drawn, data.mean, data.std)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _draw_indices(
  counts: Array, keys: Key, capacity: int, per_class: int
) -> Array:
  def one_class(args) -> Array:
    count, key = args
    return draw(key, count, capacity, per_class)[0]

  return jax.lax.map(one_class, (counts, keys))


_take = jax.jit(jax.vmap(lambda images, indices: images[indices]))
_normalise = jax.jit(normalise, static_argnums=(1, 2))
