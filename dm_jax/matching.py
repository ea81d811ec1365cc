"""Distribution matching (Zhao & Bilen 2023, Alg. 1) for one step.

Draw real images of each class, augment them as the synthetic ones of that class
are augmented, embed both with one network, and compare. No network is trained.
"""

import dataclasses
import functools
from typing import NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from dm_jax import augment
from dm_jax.data.class_data import ClassData, normalise
from dm_jax.types import (
  AnyArray,
  Array,
  Decoder,
  Discrepancy,
  Key,
  Network,
  Variables,
)


@dataclasses.dataclass(frozen=True)
class Objective:
  """The parts of the loss that may be exchanged.

  Attributes:
    network: what embeds.
    discrepancy: what compares, for one class.
    decode: stored images -> images to train on, for one class.
    operations: of the augmentation, see `augment.parse`.
    batch_real: real images per class and step.
    micro_batch: real images embedded at a time.
  """

  network: Network
  discrepancy: Discrepancy
  decode: Decoder
  operations: tuple[str, ...]
  batch_real: int
  micro_batch: int


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
  embed = functools.partial(objective.network.embed, variables)

  def one_class(args) -> Target:
    target = draw_target(objective, *args)
    if objective.network.mixes_images:
      return target
    features = lax.map(
      lambda image: embed(image[None])[0],
      target.real,
      batch_size=objective.micro_batch or None,
    )
    return target._replace(real=features)

  targets = lax.map(one_class, (data, keys))
  if objective.network.mixes_images:
    return targets._replace(real=_embed_all(embed, targets.real))
  return targets


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
  embed = functools.partial(objective.network.embed, variables)
  features = _embed_all(embed, training)
  chex.assert_equal_shape_suffix([targets.real, features], 1)
  compare = jax.vmap(objective.discrepancy)
  return compare(targets.real, features, targets.weights)


def _augment(augmentation, images, operations) -> Array:
  """Augments all images of one class alike."""
  return jax.vmap(lambda image: augment.apply(augmentation, image, operations))(
    images
  )


def _embed_all(embed, images: Array) -> Array:
  """Embeds [C, K, H, W, D] as one batch; returns [C, K, F]."""
  flat = images.reshape(-1, *images.shape[2:])
  return embed(flat).reshape(*images.shape[:2], -1)
