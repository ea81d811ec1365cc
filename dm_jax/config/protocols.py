"""Protocols: how networks are trained on a set, by name."""

import dataclasses

ALL_OPERATIONS = 'color_crop_cutout_flip_scale_rotate'
SCHEDULES = ('half', 'thirds', 'constant')  # See `training.step`.


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How a network is trained on a set, but for the epochs.

  Attributes:
    batch_size: images per step.
    learning_rate: before it falls.
    momentum: of SGD.
    weight_decay: added to the gradient, times the parameter.
    augment: operations joined by _, of which one is drawn per batch, and its
      parameters for each image; or several such stages joined by +, which are
      all applied; or none.
    schedule: of E epochs. half: the original's, which runs E + 1; rate tenfold
      lower and momentum afresh after epoch ⌊E/2⌋ + 1. thirds: a fifth of the
      rate from 2/3 on, and a fifth of that from 5/6 on. constant.
    cutmix: probability that a batch is mixed by CutMix, in [0, 1].
  """

  batch_size: int
  learning_rate: float
  momentum: float
  weight_decay: float
  augment: str
  schedule: str
  cutmix: float


# The original's (Zhao & Bilen 2023), and that of IDC (Kim et al., ICML 2022),
# which most later methods print their figures under.
PROTOCOLS = {
  'dm': Protocol(256, 0.01, 0.9, 5e-4, ALL_OPERATIONS, 'half', 0.0),
  'idc': Protocol(
    64, 0.01, 0.9, 5e-4, 'flip+color+crop_scale_rotate', 'thirds', 0.5
  ),
}
