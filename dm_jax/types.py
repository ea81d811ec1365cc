"""What every module shares: shapes, value ranges, types and protocols.

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
from typing import Any, NamedTuple, Protocol, Self

import jax
import numpy as np

Array = jax.Array
AnyArray = jax.Array | np.ndarray
ImageShape = tuple[int, ...]  # (H, W, D)
Key = jax.Array
AnyKey = Key | np.ndarray | int  # What `arguments.as_key` takes.
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


class Batch(NamedTuple):
  """How a network passes over a batch of images.

  Attributes:
    train: batch norm uses the batch's statistics and moves its running averages
      on; otherwise it uses the running averages.
    weights: [N], 0 for the images that are padding; None is 1 for all.
    axis: name of the mapped axis that the batch is sharded over, or None.
  """

  train: bool
  weights: Array | None = None
  axis: str | None = None


class Outputs(NamedTuple):
  """What a network makes of a batch; under jit, what is not read costs nothing.

  Attributes:
    features: [N, F], the layer before the classifier.
    layers: the feature maps after each block, [N, h, w, d], or [N, d] where the
      block is dense; empty for a network that does not show them.
    logits: [N, C].
    variables: in training those with moved running statistics, else as given.
  """

  features: Array
  layers: tuple[Array, ...]
  logits: Array
  variables: Variables


@dataclasses.dataclass(frozen=True)
class Network:
  """A network as two pure functions.

  Attributes:
    init: key -> variables, a pytree. If it is a dict with `params`, those are
      trained and the rest is kept (batch statistics); else all of it is.
    apply: (variables, images [N, H, W, D], batch) -> `Outputs`.
    mixes_images: True if an image's features depend on the batch around it
      (batch norm): then all classes are embedded as one batch.
    takes_padding: for such a network, whether it reads the batch's `weights`
      and `axis`.
    name: the one that the registry made it by; empty for one of your own.
    constants: collections of its variables that training leaves as they are,
      beside `params`; any other may change with each batch.

  Example:
    network = dm_jax.Network.from_functions(init, embed, logits)
  """

  init: Callable[[Key], Variables]
  apply: Callable[[Variables, Array, Batch], Outputs]
  mixes_images: bool = False
  takes_padding: bool = False
  name: str = ''
  constants: tuple[str, ...] = ()

  def __post_init__(self):
    if not isinstance(self.mixes_images, bool):
      raise TypeError(
        'a Network takes init and apply: make one of init, embed and logits by'
        ' Network.from_functions(init, embed, logits)'
      )

  @property
  def needs_whole_batch(self) -> bool:
    """True if its batch must be on one device and must hold no padding."""
    return self.mixes_images and not self.takes_padding

  @classmethod
  def from_functions(
    cls,
    init: Callable[[Key], Variables],
    embed: Callable[[Variables, Array], Array],
    logits: TrainableLogits,
    *,
    mixes_images: bool = False,
  ) -> Self:
    """Makes a network of functions; the same ones share what is compiled.

    Args:
      init: as in `Network`.
      embed: (variables, images [N, H, W, D]) -> features [N, F], the layer
        before the classifier, in training mode.
      logits: see `TrainableLogits`.
      mixes_images: as in `Network`.
    """
    return cls(init, _Apply(embed, logits), mixes_images)


@dataclasses.dataclass(frozen=True)
class _Apply:
  """`Network.apply` of two functions; equal to another one of the same two."""

  embed: Callable[[Variables, Array], Array]
  logits: TrainableLogits

  def __call__(
    self, variables: Variables, images: Array, batch: Batch
  ) -> Outputs:
    logits, moved = self.logits(variables, images, train=batch.train)
    return Outputs(self.embed(variables, images), (), logits, moved)


class Pair(NamedTuple):
  """Variables of two networks: one's features, the other's logits are read.

  Attributes:
    features: of the network whose features and layers are compared.
    logits: of the one that classifies, e.g. a later state of its training.
  """

  features: Variables
  logits: Variables


class Numbered(NamedTuple):
  """Variables of a step, and which of a pool's they are.

  Attributes:
    networks: of one network or two.
    number: int32 [], of the one whose features are compared.
  """

  networks: Variables | Pair
  number: Array


# key -> the network or networks through which one step's images pass.
Embedder = Callable[[Key], Variables | Pair | Numbered]

Json = Mapping[str, Any]
