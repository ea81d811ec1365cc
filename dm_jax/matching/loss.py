"""Distribution matching (Zhao & Bilen 2023, Alg. 1) for one step.

Draw real images of each class, augment them as the synthetic ones of that class
are augmented, embed both with one network, and compare. No network is trained.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.data.class_data import ClassData
from dm_jax.draws import draw
from dm_jax.images import augment
from dm_jax.images.normalise import mid_grey, normalise
from dm_jax.matching.embed import (
  by_network,
  embed_batch,
  embed_flat,
  embed_together,
)
from dm_jax.matching.objective import (
  Objective,
  classes_embedded_together,
  classes_together,
)
from dm_jax.types import Array, Key, Outputs, Pair, Variables

# `fold_in` by 0 and 1 may give what `split` gives.
_TERMS, _ROWS = 2, 3


class Drawn(NamedTuple):
  """A batch of real images of one class.

  Attributes:
    images: normalised and augmented [B, H, W, D].
    weights: float32 [B], 1 for a real image and 0 for padding.
    augmentation: the draw that the synthetic images must share.
  """

  images: Array
  weights: Array
  augmentation: tuple[augment.Augmentation, ...]


class Target(NamedTuple):
  """What the synthetic images of one class are compared with in one step.

  Attributes:
    kept: of the real images, by term.
    augmentation: the draw that the synthetic images must share.
    key: of the terms; each comparison consumes one that follows from it.
    rows_key: of the training images that the step takes, where not all.
    label: int32 [], the class's index among the network's logits.
    states: of the terms before this step: one for each nested size.
    grey: normalised [D], what stored images are padded with.
  """

  kept: dict[str, Any]
  augmentation: tuple[augment.Augmentation, ...]
  key: Key
  rows_key: Key
  label: Array
  states: tuple[dict[str, Any], ...]
  grey: Array


def draw_real(objective: Objective, class_data: ClassData, key: Key) -> Drawn:
  """Draws and augments real images of one class (no leading C)."""
  draw_key, augment_key = jax.random.split(key)
  images = class_data.images
  indices, weights = draw(
    draw_key, class_data.counts, images.shape[0], objective.batch_real
  )
  real = normalise(images[indices], class_data.mean, class_data.std)
  operations = objective.operations
  augmentation = augment.sample(augment_key, operations, real.shape[1:])
  return Drawn(_augment(augmentation, real, operations), weights, augmentation)


class RealSide(NamedTuple):
  """What a step takes from the real images.

  Attributes:
    kept: by term, see `Target`.
    augmentation: the draw that the synthetic images must share.
  """

  kept: dict[str, Any]
  augmentation: tuple[augment.Augmentation, ...]


def embed_real(
  objective: Objective,
  data: ClassData,
  networks: Variables | Pair,
  keys: Key,
) -> RealSide:
  """Draws and embeds one real batch of every class.

  Where classes pass one after the other, one class's images at a time are held,
  and only the augmentation that the class drew is computed.

  Args:
    objective: the loss.
    data: the real images.
    networks: the variables of the step's network, or of a pair.
    keys: one for each class [C]; are consumed.

  Returns:
    A `RealSide` with a leading C.
  """
  terms, reads = objective.terms, objective.terms.read_of_real
  together = classes_embedded_together(objective, len(keys))

  def draw_and_keep(args) -> RealSide:
    drawn = draw_real(objective, *args)
    outputs = by_network(
      lambda variables, reads: embed_batch(
        objective, variables, drawn.images, reads
      ),
      networks,
      reads,
    )
    return RealSide(terms.keep(outputs, drawn.weights), drawn.augmentation)

  def draw_and_keep_group(data, keys) -> RealSide:
    drawn = jax.vmap(lambda *args: draw_real(objective, *args))(data, keys)
    batch = drawn.images.shape[:2]
    flat = drawn.images.reshape(-1, *drawn.images.shape[2:])
    outputs = by_network(
      lambda variables, reads: embed_batch(objective, variables, flat, reads),
      networks,
      reads,
    )
    outputs = jax.tree.map(
      lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), outputs
    )
    kept = jax.vmap(terms.keep)(outputs, drawn.weights)
    return RealSide(kept, drawn.augmentation)

  if not objective.network.mixes_images:
    if together == 1:
      return lax.map(draw_and_keep, (data, keys))
    return _by_groups(draw_and_keep_group, (data, keys), together)
  drawn = _map_classes(
    lambda args: draw_real(objective, *args), (data, keys), together
  )
  outputs = by_network(
    lambda variables, reads: embed_together(
      objective, variables, drawn.images, drawn.weights, reads
    ),
    networks,
    reads,
  )
  kept = jax.vmap(terms.keep)(outputs, drawn.weights)
  return RealSide(kept, drawn.augmentation)


def make_targets(
  data: ClassData,
  labels: Array,
  states: tuple[dict[str, Any], ...],
  real: RealSide,
  keys: Key,
) -> Target:
  """Completes the real side of every class to what a step compares with.

  Args:
    data: the classes' statistics are read.
    labels: int32 [C], see `Target`.
    states: of the terms, with a leading C, see `Target`.
    real: with a leading C.
    keys: one for each class [C], the same as for `embed_real`.

  Returns:
    A `Target` with a leading C.
  """
  fold = jax.vmap(jax.random.fold_in, (0, None))
  grey = mid_grey(data.mean, data.std)
  return Target(
    real.kept,
    real.augmentation,
    key=fold(keys, _TERMS),
    rows_key=fold(keys, _ROWS),
    label=labels,
    states=states,
    grey=jnp.broadcast_to(grey, (len(labels), *grey.shape)),
  )


class Comparison(NamedTuple):
  """What a step's comparison gives.

  Attributes:
    losses: float32 [C] by term; the loss of a step is their sum (Eq. 4).
    states: of the terms after the step, as in `Target`.
  """

  losses: dict[str, Array]
  states: tuple[dict[str, Any], ...]


def class_losses(
  objective: Objective,
  images: Array,
  targets: Target,
  networks: Variables | Pair,
) -> Comparison:
  """Compares the synthetic images of every class with their targets.

  Args:
    objective: the loss.
    images: as stored, normalised [C, S, H, W, D].
    targets: with a leading C.
    networks: as for `embed_real`.
  """
  chex.assert_rank(images, 5)
  outputs = _embed_synthetic(objective, images, targets, networks)
  totals = dict.fromkeys(
    objective.terms.names, jnp.zeros(len(images), jnp.float32)
  )
  after = []
  nested_states = zip(objective.sizes, targets.states, strict=True)
  for i, (size, states) in enumerate(nested_states):
    count = size * objective.storage.per_stored
    nested = jax.tree.map(lambda leaf, n=count: leaf[:, :n], outputs)
    keys = jax.vmap(jax.random.fold_in, (0, None))(targets.key, i)
    losses, state = jax.vmap(objective.terms.compare)(
      keys, states, targets.kept, nested, targets.label
    )
    totals = {name: totals[name] + losses[name] for name in totals}
    after.append(state)
  if objective.axis is not None:
    # Through the batch norm the loss of padding would move the others.
    present = objective.axis.present(len(images))
    totals = {name: loss * present for name, loss in totals.items()}
  return Comparison(totals, tuple(after))


def class_gradients(
  objective: Objective,
  images: Array,
  targets: Target,
  networks: Variables | Pair,
) -> tuple[Array, Comparison]:
  """Differentiates the sum of `class_losses` by the images.

  Classes are independent unless batch norm joins them: a few at a time pass
  forward and back, so that their activations stay in cache.

  Args:
    objective: the loss.
    images: as stored, normalised [C, S, H, W, D].
    targets: with a leading C.
    networks: as for `embed_real`.

  Returns:
    The gradient [C, S, H, W, D] and the comparison.
  """

  def loss(images, targets):
    compared = class_losses(objective, images, targets, networks)
    return sum(loss.sum() for loss in compared.losses.values()), compared

  both = jax.grad(loss, has_aux=True)
  together = classes_together(objective, len(images), images.shape[1])
  return _by_groups(both, (images, targets), together)


def _by_groups(function: Callable, args: tuple, together: int) -> Any:
  """Gives a function so many classes at a time, and joins what it returns.

  Args:
    function: of `args` with a leading axis over the classes of a group; what it
      returns has it, too.
    args: with a leading C.
    together: classes of a group.
  """
  classes = len(jax.tree.leaves(args)[0])
  if together >= classes:  # Gradients outside of loops are faster.
    return function(*args)
  full = classes - classes % together
  groups = jax.tree.map(
    lambda leaf: leaf[:full].reshape(-1, together, *leaf.shape[1:]), args
  )
  grouped = lax.map(lambda group: function(*group), groups)
  parts = [
    jax.tree.map(lambda leaf: leaf.reshape(full, *leaf.shape[2:]), grouped)
  ]
  if full < classes:  # A smaller last group is compiled on its own.
    last = jax.tree.map(lambda leaf: leaf[full:], args)
    parts.append(function(*last))
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def _map_classes(function: Callable, args: tuple, together: int) -> Any:
  """Maps a function over classes, one after the other or so many at once."""
  if together == 1:
    return lax.map(function, args)
  return _by_groups(
    lambda *group: jax.vmap(lambda *one: function(one))(*group), args, together
  )


def _embed_synthetic(
  objective: Objective,
  images: Array,
  targets: Target,
  networks: Variables | Pair,
) -> Outputs:
  """Decodes, augments and embeds stored images; leading C and S · K at most."""

  def one_class(args) -> Array:
    stored, augmentation, key, grey = args
    training = objective.storage.training_images(stored, grey)
    most = objective.trained_on(len(stored))
    if most < len(training):
      rows, _ = draw(key, len(training), len(training), most)
      training = training[rows]
    return _augment(augmentation, training, objective.operations)

  of_each = (images, targets.augmentation, targets.rows_key, targets.grey)
  if len(images) == 1:
    # A loop of one turn takes a fifth of a step's time on a CPU.
    alone = jax.tree.map(lambda leaf: leaf[0], of_each)
    training = one_class(alone)[None]
  else:
    together = classes_embedded_together(objective, len(images))
    training = _map_classes(one_class, of_each, together)

  def embed(variables: Variables, reads) -> Outputs:
    if not objective.network.mixes_images:
      return embed_flat(objective, variables, training, reads)
    weights = jnp.ones(training.shape[:2], jnp.float32)
    return embed_together(objective, variables, training, weights, reads)

  return by_network(embed, networks, objective.terms.read_of_synthetic)


def _augment(augmentation, images, operations) -> Array:
  """Augments all images of one class alike."""
  return jax.vmap(lambda image: augment.apply(augmentation, image, operations))(
    images
  )
