"""Tests a trained network and takes its features."""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from dm_jax.devices.layout import on_one_device
from dm_jax.images.normalise import normalise
from dm_jax.types import AnyArray, Array, Batch, Network, Variables

# Images classified at a time: no training of a small set needs as much memory.
_TEST_BATCH, _TEST_PIXELS = 256, 256 * 64 * 64
_EMBED_BATCH = 256  # Images embedded at a time.


def count_correct(
  network: Network,
  variables: Variables,
  images: Array,
  labels: Array,
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> Array:
  """Counts the images of each class that a network classifies correctly.

  Args:
    network: what classifies.
    variables: of it.
    images: uint8 [N, H, W, D]; N is a multiple of the batch, see `pad_test`.
    labels: int32 [N], -1 for padding.
    mean: per-channel mean in unit range.
    std: per-channel deviation.

  Returns:
    int32 [C], for every class that the network knows.
  """

  def one_batch(args) -> Array:
    images, labels = args
    normalised = normalise(images, mean, std)
    logits = network.apply(variables, normalised, Batch(train=False)).logits
    # Padding is never right, so its label may count from the end.
    found = lax.argmax(logits, logits.ndim - 1, jnp.int32)
    right = (found == labels).astype(jnp.int32)
    return jnp.zeros(logits.shape[-1], jnp.int32).at[labels].add(right)

  size = _test_batch(images)
  batched = images.reshape(-1, size, *images.shape[1:])
  batches = (batched, labels.reshape(-1, size))
  return lax.map(one_batch, batches).sum(0, dtype=jnp.int32)


def pad_test(images: AnyArray, labels: AnyArray) -> tuple[Array, Array]:
  """Pads a test set to whole batches; padding has the label -1."""
  surplus = -len(labels) % _test_batch(images)
  rows = ((0, surplus),)
  images = jnp.pad(jnp.asarray(images), rows + ((0, 0),) * (images.ndim - 1))
  labels = jnp.pad(jnp.asarray(labels, jnp.int32), rows, constant_values=-1)
  return images, labels


def _test_batch(images: AnyArray) -> int:
  """Returns how many images are classified at a time: fewer of large ones."""
  pixels = math.prod(images.shape[1:3])
  return max(1, min(_TEST_BATCH, _TEST_PIXELS // pixels))


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
  padded = pad_test(images, labels)
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
    return count_correct(network, variables, images, labels, *statistics)

  return jax.jit(count)


@functools.lru_cache(maxsize=8)
def _embed_program(network: Network, statistics):
  def embed(variables, images, rows) -> Array:
    batch = normalise(images[rows], *statistics)
    return network.apply(variables, batch, Batch(train=True)).features

  return jax.jit(embed)
