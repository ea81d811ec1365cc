"""Passes images through the step's network, as many at a time as fit."""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp

from dm_jax.matching.objective import Objective
from dm_jax.types import Array, Batch

_TRAINING = Batch(train=True)


def make_embed(objective: Objective) -> Callable[..., Array]:
  """Returns (variables, images, batch) -> features; both ends are float32."""

  def embed(variables, images, batch: Batch = _TRAINING) -> Array:
    if objective.precision != 'float32':
      variables, images = jax.tree.map(_lowered, (variables, images))
    outputs = objective.network.apply(variables, images, batch)
    return outputs.features.astype(jnp.float32)

  return embed


def _lowered(leaf: Array) -> Array:
  return leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf


def embed_flat(objective: Objective, variables, images: Array) -> Array:
  """Embeds [C, K, H, W, D]; returns [C, K, F].

  All as one batch where that is small. The activations of many images would not
  fit into memory: they pass in parts and are computed again for the gradient.
  """
  embed = make_embed(objective)
  flat = images.reshape(-1, *images.shape[2:])
  if len(flat) <= objective.at_once or objective.network.mixes_images:
    features = embed(variables, flat)
  else:
    one = jax.checkpoint(lambda image: embed(variables, image[None])[0])
    features = lax.map(one, flat, batch_size=objective.at_once)
  return features.reshape(*images.shape[:2], -1)


def embed_together(
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
  if objective.network.needs_whole_batch:  # The caller gives it no padding.
    return embed_flat(objective, variables, images)
  if axis is not None:
    weights = weights * axis.present(len(images))[:, None]

  embed = make_embed(objective)

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
