"""Tests a trained network and takes its features."""

import functools

import jax
import numpy as np

from dm_jax.devices.layout import on_one_device
from dm_jax.images.normalise import normalise
from dm_jax.training import step as training
from dm_jax.types import AnyArray, Array, Batch, Network, Variables

_EMBED_BATCH = 256  # Images embedded at a time.


def accuracy(
  network: Network,
  variables: Variables,
  images: AnyArray,
  labels: AnyArray,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> float:
  """Returns the share of images that a network classifies correctly, [0, 1].

  Args:
    network: what classifies, in test mode.
    variables: of it.
    images: uint8 [N, H, W, D].
    labels: int [N].
    mean: per-channel mean in unit range, D values.
    std: per-channel deviation.
  """
  padded = training.pad_test(images, labels)
  count = _count_program(network, (tuple(mean), tuple(std)))
  correct = count(*on_one_device((variables, *padded)))
  return int(correct.sum()) / len(labels)


def features(
  network: Network,
  variables: Variables,
  images: AnyArray,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> np.ndarray:
  """Returns the features of every image.

  Networks embed in training mode. Where that mixes the images of a batch
  (`Network.mixes_images`), they are embedded in one fixed random order, so that
  each batch's statistics are of all classes; the last batch is filled up with
  images from the first. For all other networks this is the test mode.

  Args:
    network: what embeds.
    variables: of it.
    images: uint8 [N, H, W, D], in any order.
    mean: per-channel mean in unit range, D values.
    std: per-channel deviation.

  Returns:
    float32 [N, F], in the order of the images.
  """
  count = len(images)
  order = np.arange(count, dtype=np.int32)
  if network.mixes_images:
    # A fixed order: equal images give equal features.
    order = np.random.default_rng(0).permutation(order)
  size = min(_EMBED_BATCH, count)
  batches = np.resize(order, (-(-count // size), size))
  embed = _embed_program(network, (tuple(mean), tuple(std)))
  variables, images = on_one_device((variables, images))
  shape = jax.eval_shape(embed, variables, images, batches[0]).shape
  result = np.empty((count, *shape[1:]), np.float32)
  for rows in batches:
    result[rows] = np.asarray(embed(variables, images, rows))
  return result


@functools.lru_cache(maxsize=8)
def _count_program(network: Network, statistics):
  def count(variables, images, labels) -> Array:
    return training.count_correct(
      network, variables, images, labels, *statistics
    )

  return jax.jit(count)


@functools.lru_cache(maxsize=8)
def _embed_program(network: Network, statistics):
  def embed(variables, images, rows) -> Array:
    batch = normalise(images[rows], *statistics)
    return network.apply(variables, batch, Batch(train=True)).features

  return jax.jit(embed)
