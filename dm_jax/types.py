"""The words that every module shares: shapes, value ranges, protocols, errors.

Shape alphabet, used in every docstring:

  C  classes
  S  synthetic images per class
  B  real images per class in one step
  H, W, D  height and width in pixels, channels
  F  features of one image (flattened)
  N  all images of a set
  M  networks of an evaluation

Value ranges, part of every contract:

  uint8       [0, 255], at rest
  unit        float [0, 1]
  normalised  float, per-channel mean 0 and deviation 1 over the training set
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, Protocol

import jax
import numpy as np

Array = jax.Array
AnyArray = jax.Array | np.ndarray
ImageShape = tuple[int, ...]  # (H, W, D)
Key = jax.Array
Variables = Any  # A pytree; for Linen modules {'params': …, 'batch_stats': …}.


class TrainableLogits(Protocol):
  """Classifies images; in training also moves running statistics on."""

  def __call__(
    self, variables: Variables, images: Array, *, train: bool
  ) -> tuple[Array, Variables]:
    """Returns (logits [N, C], variables).

    Args:
      variables: as `Network.init` makes them.
      images: float, normalised [N, H, W, D].
      train: batch norm uses the batch's statistics and moves its running
        averages on; otherwise it uses the running averages and the variables
        come back unchanged.
    """
    ...


@dataclasses.dataclass(frozen=True)
class Network:
  """A network as three pure functions.

  Attributes:
    init: key -> variables, a pytree. If it is a dict with `params`, those are
      trained and the rest is kept (batch statistics); else all of it is.
    embed: (variables, images [N, H, W, D]) -> features [N, F], the layer before
      the classifier, in training mode.
    logits: see `TrainableLogits`.
    mixes_images: True if an image's features depend on the batch around it
      (batch norm): then all classes are embedded as one batch.
    embed_batch: for such a network, (variables, images, batch) -> features,
      where `networks.Batch` names the images that are padding and the devices
      that the batch is spread over. None keeps it to one device and to batches
      without padding.
    learning_rate: of the pixels, tested with this network.
    smoothing: of the pixels' gradients, tested with this learning rate; see
      `CondenseConfig.smoothing`.
  """

  init: Callable[[Key], Variables]
  embed: Callable[[Variables, Array], Array]
  logits: TrainableLogits
  mixes_images: bool = False
  embed_batch: Callable[[Variables, Array, Any], Array] | None = None
  learning_rate: float = 1.0
  smoothing: float = 0.0


class Discrepancy(Protocol):
  """How far the synthetic features of one class are from the real ones."""

  def __call__(self, real: Array, synthetic: Array, weights: Array) -> Array:
    """Returns a scalar, 0 where both sets agree.

    Args:
      real: features [B, F].
      synthetic: features [S, F].
      weights: [B], 1 for a real image and 0 for padding.
    """
    ...


# key -> the variables of the network that embeds one step's images.
Embedder = Callable[[Key], Variables]

# Stored images [S, H, W, D] -> images to train on [S', H, W, D], one class.
Decoder = Callable[[Array], Array]
Json = Mapping[str, Any]
