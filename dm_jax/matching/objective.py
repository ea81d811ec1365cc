"""What a step minimises: the parts of the loss that may be exchanged."""

import dataclasses
from typing import NamedTuple

from dm_jax.devices.layout import ClassAxis
from dm_jax.images import augment
from dm_jax.types import (
  Array,
  Decoder,
  Discrepancy,
  Network,
)

# Synthetic images embedded at a time, with their gradient.
AT_ONCE = 2048


@dataclasses.dataclass(frozen=True)
class Objective:
  """The parts of the loss that may be exchanged.

  Attributes:
    network: what embeds.
    discrepancy: what compares, for one class.
    decode: stored images -> images to train on, for one class.
    operations: of the augmentation, see `augment.parse`.
    batch_real: real images per class and step.
    micro_batch: real images embedded at a time; of the synthetic ones, as many
      whole classes as come near.
    sizes: of the nested sets, ascending; empty is one set of all images.
    together: classes that are one batch of a batch norm; 0 is all of them.
    at_once: synthetic images whose activations are kept for the gradient;
      more of them are embedded in parts, and again for the gradient.
    precision: of the embedding, one of `config.PRECISIONS`.
    axis: what the classes are mapped over, if the batch spans it.
  """

  network: Network
  discrepancy: Discrepancy
  decode: Decoder
  operations: tuple[str, ...]
  batch_real: int
  micro_batch: int
  sizes: tuple[int, ...] = ()
  together: int = 0
  at_once: int = AT_ONCE
  precision: str = 'float32'
  axis: ClassAxis | None = None


class Target(NamedTuple):
  """What the synthetic images of one class are compared with in one step.

  Attributes:
    real: features [B, F], or before embedding images [B, H, W, D].
    weights: float32 [B], 1 for a real image and 0 for padding.
    augmentation: the draw that the synthetic images must share.
  """

  real: Array
  weights: Array
  augmentation: augment.Augmentation
