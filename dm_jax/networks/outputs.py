"""What a network gives, told without computing anything."""

from collections.abc import Iterator
import contextlib
import functools
import re

import jax
import jax.numpy as jnp

from dm_jax.errors import InputError, first_line
from dm_jax.types import Batch, ImageShape, Network, Outputs

_LINK = re.compile(r' \(https?:\S*\)')  # Flax ends messages in one.


@contextlib.contextmanager
def refused_shape(what: str, image_shape: ImageShape) -> Iterator[None]:
  """Tells in one line that images of another shape do not pass a network.

  Args:
    what: the network, as the message begins.
    image_shape: (H, W, D).
  """
  try:
    yield
  except InputError:
    raise
  except Exception as error:  # A module may raise anything.
    shape = '×'.join(map(str, image_shape))
    told = _LINK.sub('', first_line(error))
    raise InputError(
      f'{what} does not take images of {shape} ({told}): make it'
      f' for image_shape={image_shape}, or give other images'
    ) from error


@functools.lru_cache(maxsize=32)
def output_shapes(
  network: Network, image_shape: ImageShape, batch: int = 2
) -> Outputs:
  """Returns the shapes of one image's outputs in training.

  Args:
    network: whose.
    image_shape: (H, W, D).
    batch: images that pass at once; a network may ask for so many.

  Raises:
    InputError: the network takes no such images.
  """
  variables = jax.eval_shape(network.init, jax.random.key(0))
  images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
  with refused_shape('the network', image_shape):
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
