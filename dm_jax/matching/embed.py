"""Passes images through the step's network, as many at a time as fit."""

from collections.abc import Callable, Collection
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.matching.objective import Objective
from dm_jax.types import Array, Batch, Outputs, Pair, Variables

_TRAIN = Batch(train=True)


def by_network(
  embed: Callable[[Variables, Collection[str]], Outputs],
  networks: Variables | Pair,
  reads: Collection[str],
) -> Outputs:
  """Embeds by the network, or by both of a pair, each only what is read of it.

  Args:
    embed: (variables, fields of `Outputs` to return) -> those outputs.
    networks: of the step.
    reads: the fields of `Outputs` to return.
  """
  if not isinstance(networks, Pair):
    return embed(networks, reads)
  others = frozenset(reads) - {'logits'}
  unread: Any = None
  first = Outputs(unread, unread, unread, unread)
  if others:
    first = embed(networks.features, others)
  if 'logits' not in reads:
    return first
  return first._replace(logits=embed(networks.logits, {'logits'}).logits)


def embed_batch(
  objective: Objective,
  variables: Variables,
  images: Array,
  reads: Collection[str],
) -> Outputs:
  """Embeds real images of one class [B, H, W, D], a micro-batch at a time."""
  one = functools.partial(_embed_one, objective, variables, reads)
  return lax.map(one, images, batch_size=objective.micro_batch)


def embed_flat(
  objective: Objective,
  variables: Variables,
  images: Array,
  reads: Collection[str],
) -> Outputs:
  """Embeds [C, K, H, W, D]; returns outputs with leading C, K.

  All as one batch where that is small. The activations of many images would not
  fit into memory: they pass in parts and are computed again for the gradient.
  """
  flat = images.reshape(-1, *images.shape[2:])
  if len(flat) <= objective.most_kept or objective.network.mixes_images:
    outputs = _apply(objective, variables, flat, _TRAIN, reads)
  else:
    one = functools.partial(_embed_one, objective, variables, reads)
    outputs = lax.map(jax.checkpoint(one), flat, batch_size=objective.most_kept)
  return _unflatten(outputs, images.shape[:2])


def embed_together(
  objective: Objective,
  variables: Variables,
  images: Array,
  weights: Array,
  reads: Collection[str],
) -> Outputs:
  """Embeds classes of which several are one batch of a batch norm.

  Args:
    objective: the network, and which classes are one batch.
    variables: of the network.
    images: [C, K, H, W, D].
    weights: [C, K], 0 for images that are padding.
    reads: the fields of `Outputs` to return.

  Returns:
    Outputs with leading C, K.
  """
  if objective.network.needs_whole_batch:  # The caller gives it none.
    return embed_flat(objective, variables, images, reads)
  axis = objective.axis
  if axis is not None:
    weights = weights * axis.present(len(images))[:, None]

  def one_batch(args) -> Outputs:
    images, weights = args
    name = None if axis is None else axis.name
    batch = Batch(train=True, weights=weights.reshape(-1), axis=name)
    flat = images.reshape(-1, *images.shape[2:])
    outputs = _apply(objective, variables, flat, batch, reads)
    return _unflatten(outputs, images.shape[:2])

  together = objective.batch_norm_classes or len(images)
  if together == len(images):  # Gradients outside of loops are faster.
    return one_batch((images, weights))
  grouped = [
    array.reshape(-1, together, *array.shape[1:]) for array in (images, weights)
  ]
  outputs = lax.map(one_batch, tuple(grouped))
  return jax.tree.map(
    lambda leaf: leaf.reshape(*images.shape[:2], *leaf.shape[3:]), outputs
  )


def _embed_one(
  objective: Objective,
  variables: Variables,
  reads: Collection[str],
  image: Array,
) -> Outputs:
  """Embeds one image [H, W, D]; outputs without a leading axis."""
  outputs = _apply(objective, variables, image[None], _TRAIN, reads)
  return jax.tree.map(lambda leaf: leaf[0], outputs)


def _apply(
  objective: Objective,
  variables: Variables,
  images: Array,
  batch: Batch,
  reads: Collection[str],
) -> Outputs:
  """Applies the network; what comes back is float32 at every precision."""
  apply = objective.network.apply
  if objective.precision == 'float32':
    return _keep_fields(apply(variables, images, batch), reads)
  variables, images = jax.tree.map(_lowered, (variables, images))
  kept = _keep_fields(apply(variables, images, batch), reads)
  return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), kept)


def _keep_fields(outputs: Outputs, reads: Collection[str]) -> Outputs:
  """Drops what nobody reads, so that no loop has to keep it."""
  unread: dict[str, Any] = {
    name: None for name in outputs._fields if name not in reads
  }
  return outputs._replace(**unread)


def _lowered(leaf: Array) -> Array:
  return leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf


def _unflatten(outputs: Outputs, leading: tuple[int, ...]) -> Outputs:
  return jax.tree.map(
    lambda leaf: leaf.reshape(*leading, *leaf.shape[1:]), outputs
  )
