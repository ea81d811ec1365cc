"""Labels images by trained networks: probabilities in the place of classes."""

from collections.abc import Callable
import dataclasses
import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from dm_jax.arguments import HOW_TO_LOAD, check_type, refuse_traced
from dm_jax.devices.layout import on_one_device
from dm_jax.errors import InputError
from dm_jax.images.storage import get_storage
from dm_jax.networks.linen import AnyNetwork, as_network
from dm_jax.networks.outputs import check_outputs
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.types import Array, Batch, Network, Variables

_BATCH = 256  # Images classified at a time.


def label_by_teacher(
  synthetic: SyntheticSet,
  network: AnyNetwork,
  variables: Variables,
  *,
  callback: Callable[[int, int], None] | None = None,
) -> SyntheticSet:
  """Gives the images of a set the mean probabilities of trained networks.

  Each training image is classified as it is, without augmentation, also where a
  stored image holds several. Figures of such sets compare with figures of the
  same labels on other images alone: these labels lift random real images, too.

  Args:
    synthetic: any set; its labels stay what they are counted by. Targets that
      it has already are replaced.
    network: what classifies, a `Network` or a Linen module, in test mode.
    variables: of T networks, trained on images that the same statistics
      normalised; each leaf with a leading T.
    callback: gets (networks done, T) after each. What it raises ends it.

  Returns:
    The set with `targets` float32 [N, C], or [N, K, C] where a stored image
    holds K > 1; its provenance tells T as `teachers`.

  Raises:
    InputError: the variables are not of such networks, or these know fewer
      classes than the set has.

  Example:
    variables = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trained)
    synthetic = dm_jax.label_by_teacher(synthetic, network, variables)
  """
  refuse_traced('label_by_teacher', synthetic, variables)
  check_type('synthetic', synthetic, SyntheticSet, remedy=HOW_TO_LOAD)
  network = as_network(network, synthetic.image_shape)
  images = synthetic.images
  batch = min(_BATCH, len(images))
  check_outputs(network, batch, synthetic.image_shape, synthetic.classes)
  count = _count_networks(network, variables)
  probabilities = mean_probabilities(
    network, variables, images, synthetic.classes, callback=callback
  )
  held = get_storage(synthetic.storage).per_stored
  if held > 1:
    probabilities = probabilities.reshape(-1, held, synthetic.classes)
  labelled = dataclasses.replace(synthetic, targets=jnp.asarray(probabilities))
  # A set may have had other teachers before.
  provenance = synthetic.provenance | {'teachers': count}
  return labelled.with_provenance(**provenance)


def mean_probabilities(
  network: Network,
  variables: Variables,
  images: Array,
  classes: int,
  *,
  callback: Callable[[int, int], None] | None = None,
) -> np.ndarray:
  """Returns the mean over networks of the softmax of their logits.

  Args:
    network: what classifies, in test mode.
    variables: of T networks, each leaf with a leading T.
    images: normalised float32 [N, H, W, D].
    classes: C; a network may know more, which are left out.
    callback: as for `label_by_teacher`.

  Returns:
    float32 [N, C], each row with the sum 1.
  """
  images = on_one_device(images)
  count = len(jax.tree.leaves(variables)[0])
  total = np.zeros((len(images), classes), np.float32)
  for done in range(count):
    one = jax.tree.map(lambda leaf, i=done: leaf[i], variables)
    classify = _classify_program(network, classes)
    total += np.asarray(classify(on_one_device(one), images))
    if callback is not None:
      callback(done + 1, count)
  return total / np.float32(count)


@functools.lru_cache(maxsize=8)
def _classify_program(network: Network, classes: int):
  def classify(variables: Variables, images: Array) -> Array:
    def one_batch(rows: Array) -> Array:
      batch = Batch(train=False)
      logits = network.apply(variables, images[rows], batch).logits
      return jax.nn.softmax(logits[:, :classes].astype(jnp.float32))

    # The last batch is filled up with images from the first.
    size = min(_BATCH, len(images))
    batches = -(-len(images) // size)
    rows = np.resize(np.arange(len(images), dtype=np.int32), (batches, size))
    found = lax.map(one_batch, jnp.asarray(rows))
    return found.reshape(-1, classes)[: len(images)]

  return jax.jit(classify)


def _count_networks(network: Network, variables: Variables) -> int:
  """Returns T, having seen that all leaves are of as many networks."""
  like = jax.eval_shape(network.init, jax.random.key(0))
  expected = [leaf.shape for leaf in jax.tree.leaves(like)]
  given = [np.shape(leaf) for leaf in jax.tree.leaves(variables)]
  counts = {shape[0] for shape in given if shape}
  fits = [shape[1:] for shape in given] == expected and len(counts) == 1
  if not fits or counts == {0}:
    raise InputError(
      f'variables of a teacher must be of one or more such networks, each leaf'
      f' with a leading axis over them, got leaves of {given[:3]} for'
      f' {expected[:3]}: stack them; of a single one, take leaf[None]'
    )
  return counts.pop()
