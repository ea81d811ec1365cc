"""Distribution matching (Zhao & Bilen 2023, Alg. 1) for one step.

Draw real images of each class, augment them as the synthetic ones of that class
are augmented, embed both with one network, and compare. No network is trained.
"""

import functools

import chex
import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.data.class_data import ClassData
from dm_jax.draws import draw
from dm_jax.images import augment
from dm_jax.images.normalise import normalise
from dm_jax.matching.embed import embed_flat, embed_together, make_embed
from dm_jax.matching.objective import Objective, Target
from dm_jax.types import (
  Array,
  Key,
  Variables,
)


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
  embed = functools.partial(make_embed(objective), variables)
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
  real = embed_together(objective, variables, targets.real, targets.weights)
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
    features = embed_together(objective, variables, training, weights)
  else:
    features = embed_flat(objective, variables, training)
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
