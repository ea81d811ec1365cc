"""Distribution matching (Zhao & Bilen 2023, Alg. 1) for one step.

Draw real images of each class, augment them as the synthetic ones of that class
are augmented, embed both with one network, and compare. No network is trained.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.data.class_data import ClassData, normalise
from dm_jax.images import augment
from dm_jax.networks.batch_norm import Batch
from dm_jax.types import (
  AnyArray,
  Array,
  Decoder,
  Discrepancy,
  Key,
  Network,
  Variables,
)

# Synthetic images embedded at a time, with their gradient.
AT_ONCE = 2048


@dataclasses.dataclass(frozen=True)
class ClassAxis:
  """The mapped axis that classes are dealt over, some devices' rows padded.

  Attributes:
    name: of the axis.
    counts: classes that each device really has, its first rows.
  """

  name: str
  counts: tuple[int, ...]

  def present(self, rows: int) -> Array:
    """Returns float32 [rows], 0 for this device's padding."""
    count = jnp.asarray(self.counts, jnp.int32)[lax.axis_index(self.name)]
    return (jnp.arange(rows) < count).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Objective:
  """The parts of the loss that may be exchanged.

  Attributes:
    network: what embeds.
    discrepancy: what compares, for one class.
    decode: stored images -> images to train on, for one class.
    operations: of the augmentation, see `augment.parse`.
    batch_real: real images per class and step.
    micro_batch: real images embedded at a time; of the synthetic ones, as many
      whole classes as come near.
    sizes: of the nested sets, ascending; empty is one set of all images.
    together: classes that are one batch of a batch norm; 0 is all of them.
    at_once: synthetic images whose activations are kept for the gradient;
      more of them are embedded in parts, and again for the gradient.
    precision: of the embedding, one of `config.PRECISIONS`.
    axis: what the classes are mapped over, if the batch spans it.
  """

  network: Network
  discrepancy: Discrepancy
  decode: Decoder
  operations: tuple[str, ...]
  batch_real: int
  micro_batch: int
  sizes: tuple[int, ...] = ()
  together: int = 0
  at_once: int = AT_ONCE
  precision: str = 'float32'
  axis: ClassAxis | None = None


class Target(NamedTuple):
  """What the synthetic images of one class are compared with in one step.

  Attributes:
    real: features [B, F], or before embedding images [B, H, W, D].
    weights: float32 [B], 1 for a real image and 0 for padding.
    augmentation: the draw that the synthetic images must share.
  """

  real: Array
  weights: Array
  augmentation: augment.Augmentation


def draw(
  key: Key, count: AnyArray, capacity: int, size: int
) -> tuple[Array, Array]:
  """Draws images of one class without replacement.

  Args:
    key: is consumed.
    count: int32 [], the images that the class has, the first of `capacity`.
    capacity: rows that the class is padded to.
    size: how many to draw.

  Returns:
    Indices int32 [min(size, capacity)] and weights float32 of the same shape:
    1, and 0 for the surplus where the class has fewer images than that.
  """
  scores = jax.random.uniform(key, (capacity,), jnp.float32)
  scores = jnp.where(jnp.arange(capacity) < count, scores, -1.0)
  _, indices = lax.top_k(scores, min(size, capacity))
  return indices, (indices < count).astype(jnp.float32)


def draw_target(
  objective: Objective, class_data: ClassData, key: Key
) -> Target:
  """Draws and augments the real images of one class (no leading C)."""
  draw_key, augment_key = jax.random.split(key)
  images = class_data.images
  indices, weights = draw(
    draw_key, class_data.counts, images.shape[0], objective.batch_real
  )
  real = normalise(images[indices], class_data.mean, class_data.std)
  operations = objective.operations
  augmentation = augment.sample(augment_key, operations, real.shape[1:])
  return Target(_augment(augmentation, real, operations), weights, augmentation)


def make_targets(
  objective: Objective, data: ClassData, variables: Variables, keys: Key
) -> Target:
  """Embeds one real batch of every class; a `Target` with a leading C.

  Classes pass one after the other, so that one class's images at a time are
  held, and only the augmentation that the class drew is computed.

  Args:
    objective: the loss.
    data: the real images.
    variables: of the network.
    keys: one for each class [C]; are consumed.
  """
  embed = functools.partial(_embed(objective), variables)
  mixes_images = objective.network.mixes_images

  def one_class(args) -> Target:
    target = draw_target(objective, *args)
    if mixes_images:
      return target
    features = lax.map(
      lambda image: embed(image[None])[0],
      target.real,
      batch_size=objective.micro_batch or None,
    )
    return target._replace(real=features)

  targets = lax.map(one_class, (data, keys))
  if not mixes_images:
    return targets
  real = _embed_together(objective, variables, targets.real, targets.weights)
  return targets._replace(real=real)


def class_losses(
  objective: Objective, images: Array, targets: Target, variables: Variables
) -> Array:
  """Compares the synthetic images of every class with their targets.

  Args:
    objective: the loss.
    images: as stored, normalised [C, S, H, W, D].
    targets: with a leading C.
    variables: of the network.

  Returns:
    float32 [C]; the loss of a step is their sum (Eq. 4).
  """

  chex.assert_rank(images, 5)

  def one_class(args) -> Array:
    stored, augmentation = args
    training = objective.decode(stored)
    return _augment(augmentation, training, objective.operations)

  training = lax.map(one_class, (images, targets.augmentation))
  if objective.network.mixes_images:
    weights = jnp.ones(training.shape[:2], jnp.float32)
    features = _embed_together(objective, variables, training, weights)
  else:
    features = _embed_flat(objective, variables, training)
  chex.assert_equal_shape_suffix([targets.real, features], 1)
  # A stored image may give several to train on.
  per_stored = training.shape[1] // images.shape[1]
  compare = jax.vmap(objective.discrepancy)
  sizes = objective.sizes or (images.shape[1],)
  nested = [features[:, : size * per_stored] for size in sizes]
  losses = sum(
    (compare(targets.real, part, targets.weights) for part in nested),
    jnp.zeros(len(images), jnp.float32),
  )
  if objective.axis is not None:
    # The padding's images see the others' through the statistics.
    losses *= objective.axis.present(len(images))
  return losses


def gradient(
  objective: Objective, images: Array, targets: Target, variables: Variables
) -> tuple[Array, Array]:
  """Differentiates the sum of `class_losses` by the images.

  Classes are independent unless batch norm joins them: a few at a time pass
  forward and back, so that their activations stay in cache.

  Args:
    objective: the loss.
    images: as stored, normalised [C, S, H, W, D].
    targets: with a leading C.
    variables: of the network.

  Returns:
    The gradient [C, S, H, W, D] and the losses, float32 [C].
  """

  def loss(images, targets):
    losses = class_losses(objective, images, targets, variables)
    return losses.sum(), losses

  both = jax.grad(loss, has_aux=True)
  classes = len(images)
  together = _classes_together(objective, *images.shape[:2])
  if together == classes:  # Gradients outside of loops are faster.
    return both(images, targets)
  full = classes - classes % together
  groups = jax.tree.map(
    lambda leaf: leaf[:full].reshape(-1, together, *leaf.shape[1:]),
    (images, targets),
  )
  grouped = lax.map(lambda group: both(*group), groups)
  parts = [
    jax.tree.map(lambda leaf: leaf.reshape(full, *leaf.shape[2:]), grouped)
  ]
  if full < classes:
    last = jax.tree.map(lambda leaf: leaf[full:], (images, targets))
    parts.append(both(*last))
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def _classes_together(objective: Objective, classes: int, size: int) -> int:
  """How many classes' images of `size` fill a micro-batch."""
  if objective.network.mixes_images:
    return classes
  most = max(objective.micro_batch // size, 1)
  even = max(n for n in range(1, most + 1) if classes % n == 0)
  # A smaller last group is compiled on its own.
  return even if 2 * even >= min(most, classes) else min(most, classes)


def _augment(augmentation, images, operations) -> Array:
  """Augments all images of one class alike."""
  return jax.vmap(lambda image: augment.apply(augmentation, image, operations))(
    images
  )


def _embed(objective: Objective) -> Callable[..., Array]:
  return _at_precision(objective, objective.network.embed)


def _at_precision(objective: Objective, embed) -> Callable[..., Array]:
  """Wraps (variables, images, ...) -> features; both ends stay float32."""
  if objective.precision == 'float32':
    return embed

  def lower(variables, images, *rest) -> Array:
    variables, images = jax.tree.map(_lowered, (variables, images))
    return embed(variables, images, *rest).astype(jnp.float32)

  return lower


def _lowered(leaf: Array) -> Array:
  return leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf


def _embed_flat(objective: Objective, variables, images: Array) -> Array:
  """Embeds [C, K, H, W, D]; returns [C, K, F].

  All as one batch where that is small. The activations of many images would not
  fit into memory: they pass in parts and are computed again for the gradient.
  """
  embed = _embed(objective)
  flat = images.reshape(-1, *images.shape[2:])
  if len(flat) <= objective.at_once or objective.network.mixes_images:
    features = embed(variables, flat)
  else:
    one = jax.checkpoint(lambda image: embed(variables, image[None])[0])
    features = lax.map(one, flat, batch_size=objective.at_once)
  return features.reshape(*images.shape[:2], -1)


def _embed_together(
  objective: Objective, variables, images: Array, weights: Array
) -> Array:
  """Embeds classes of which several are one batch of a batch norm.

  Args:
    objective: the network, and which classes are one batch.
    variables: of the network.
    images: [C, K, H, W, D].
    weights: [C, K], 0 for images that are padding.

  Returns:
    Features [C, K, F].
  """
  axis = objective.axis
  if (
    objective.network.embed_batch is None
  ):  # It knows no weights: the caller gives it no padding.
    return _embed_flat(objective, variables, images)
  if axis is not None:
    weights = weights * axis.present(len(images))[:, None]

  embed = _at_precision(objective, objective.network.embed_batch)

  def one_batch(args) -> Array:
    images, weights = args
    name = None if axis is None else axis.name
    batch = Batch(train=True, weights=weights.reshape(-1), axis=name)
    flat = images.reshape(-1, *images.shape[2:])
    return embed(variables, flat, batch).reshape(*images.shape[:2], -1)

  together = objective.together or len(images)
  grouped = [
    array.reshape(-1, together, *array.shape[1:]) for array in (images, weights)
  ]
  if len(grouped[0]) == 1:  # Gradients outside of loops are faster.
    return one_batch((images, weights))
  features = lax.map(one_batch, tuple(grouped))
  return features.reshape(*images.shape[:2], -1)
