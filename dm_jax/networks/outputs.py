"""What a network gives, told without computing anything."""

import functools

import jax
import jax.numpy as jnp

from dm_jax.errors import InputError
from dm_jax.types import Batch, ImageShape, Network, Outputs


@functools.lru_cache(maxsize=32)
def output_shapes(
  network: Network, image_shape: ImageShape, batch: int = 2
) -> Outputs:
  """Returns the shapes of one image's outputs in training.

  Args:
    network: whose.
    image_shape: (H, W, D).
    batch: images that pass at once; a network may ask for so many.
  """
  variables = jax.eval_shape(network.init, jax.random.key(0))
  images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
  outputs = jax.eval_shape(
    lambda v, x: network.apply(v, x, Batch(train=True)), variables, images
  )
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype),
    outputs._replace(variables=None),
  )


def count_outputs(network: Network, batch: int, image_shape: ImageShape) -> int:
  """Returns how many classes a network knows."""
  return output_shapes(network, image_shape, batch).logits.shape[-1]


def check_outputs(
  network: Network,
  batch: int,
  image_shape: ImageShape,
  classes: int,
  *,
  otherwise: str = '',
) -> None:
  """Raises InputError if a network cannot tell as many classes apart.

  Args:
    network: what classifies.
    batch: images that pass at once.
    image_shape: (H, W, D).
    classes: C.
    otherwise: what else than another network helps, for the message.
  """
  known = count_outputs(network, batch, image_shape)
  if known < classes:
    raise InputError(
      f'the network has {known} outputs, the images are of {classes}'
      f' classes: make it with at least as many{otherwise}'
    )
