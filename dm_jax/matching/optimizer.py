"""How the pixels move: optimisers by name, and what was tested with a network.

A network's gradients have a length and a roughness of their own, so the rate
of the pixels, and how far their gradients are smoothed, go with it.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import NamedTuple

import jax
import numpy as np
import optax

from dm_jax.config.sections import CondenseConfig
from dm_jax.images.smooth import smoothing
from dm_jax.types import Array, Network

# (learning rate, momentum) -> what it does. Each of `config.OPTIMIZERS`.
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
  'sgd': optax.sgd,
  'adam': optax.adam,
}


_CIFAR10 = (0.2023, 0.1994, 0.2010)  # Deviations of its channels.


class Tested(NamedTuple):
  """Settings that were tested with a network, an optimiser and a storage.

  Attributes:
    learning_rate: of the normalised pixels.
    smoothing: of their gradients, see `CondenseConfig.smoothing`.
    per_image: whether the rate grows with the stored images of a class, since
      the gradient of a mean shrinks with them. It is for steps without momentum
      and images of CIFAR-10's deviation; others move as far by `rate`.
    least: of the rates that grow so, the one for few images.
  """

  learning_rate: float
  smoothing: float = 0.0
  per_image: bool = False
  least: float = 0.0

  def rate(
    self,
    per_class: int,
    momentum: float = 0.0,
    std: Sequence[float] = _CIFAR10,
  ) -> float:
    """Returns the rate for so many stored images of a class.

    A rate r of normalised pixels moves raw ones, in [0, 1], as one of r · σ²
    would; and momentum m moves them 1 / (1 - m) times as far.

    Args:
      per_class: stored images.
      momentum: in [0, 1).
      std: σ of each channel of the real images.
    """
    if not self.per_image:
      return self.learning_rate
    alone = max(self.learning_rate * per_class, self.least)
    variance = np.square(std).mean() / np.square(_CIFAR10).mean()
    return float(alone * (1 - momentum) / variance)

  def shares(self, sizes: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """Returns how much slower the images of smaller nested sets move.

    Each moves as one of the smallest set that holds it would: its gradient is
    mostly of that set, whose mean is over fewer images.

    Args:
      sizes: of nested sets, in stored images, ascending.

    Returns:
      (size, its rate / the largest set's) of all sets but the largest.
    """
    if not self.per_image:
      return ()
    whole = self.rate(sizes[-1])
    return tuple((size, self.rate(size) / whole) for size in sizes[:-1])


# The paper's, for its ConvNet.
PAPER = Tested(1.0)
# By optimiser, for what the table below does not name.
_DEFAULT = {'sgd': PAPER, 'adam': Tested(0.01)}
# By (network, optimiser, storage). Gradients through random ResNets have little
# in common from step to step but for their coarse parts: of the whole of them
# images wander off at the paper's rate. BUILD_NOTES.md has the figures.
_TESTED = {
  ('convnet', 'adam', 'plain'): Tested(0.01),
  ('convnet', 'adam', 'tiles'): Tested(0.01),
  ('convnet', 'sgd', 'tiles'): Tested(0.5, per_image=True, least=2.0),
  ('resnet18', 'sgd', 'plain'): Tested(1.0, smoothing=2.0),
  ('resnet18_ap', 'sgd', 'plain'): Tested(0.04, smoothing=2.0),
}


@dataclasses.dataclass(frozen=True)
class PixelOptimizer:
  """An optimiser of one class's pixels; equal ones share programs.

  Attributes:
    name: of `OPTIMIZERS`.
    learning_rate: of the normalised pixels.
    momentum: of sgd; the decay of adam's first moment.
    smoothing: deviation, in pixels, of a Gaussian over each step's gradient.
    shares: see `Tested.shares`.
  """

  name: str
  learning_rate: float
  momentum: float
  smoothing: float = 0.0
  shares: tuple[tuple[int, float], ...] = ()

  def make(self) -> optax.GradientTransformation:
    """Returns the transformation of images [S, H, W, D]."""
    before = []
    if self.smoothing:
      before.append(smoothing(self.smoothing))
    if self.shares:
      before.append(_slowed(self.shares))
    descent = OPTIMIZERS[self.name](self.learning_rate, self.momentum)
    return optax.chain(*before, descent) if before else descent


def _slowed(
  shares: tuple[tuple[int, float], ...],
) -> optax.GradientTransformation:
  """Scales the gradients of the first images of a class."""

  def scale(gradient: Array) -> Array:
    factors = np.ones((len(gradient), 1, 1, 1), np.float32)
    for size, share in reversed(shares):  # Smaller sets stand in larger ones.
      factors[:size] = share
    return gradient * factors

  return optax.stateless(lambda updates, _: jax.tree.map(scale, updates))


def as_transformation(
  optimizer: PixelOptimizer | optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Makes a named optimiser, and returns any other as it is."""
  if isinstance(optimizer, PixelOptimizer):
    return optimizer.make()
  return optimizer


def recommended(network: str, optimizer: str, storage: str = 'plain') -> Tested:
  """Returns what was tested with a network, else the optimiser's default.

  Args:
    network: its name; '' for one of the user's own.
    optimizer: of `OPTIMIZERS`.
    storage: as in `CondenseConfig.storage`.
  """
  return _TESTED.get((network, optimizer, storage), _DEFAULT[optimizer])


def is_tested(network: str, optimizer: str, storage: str = 'plain') -> bool:
  """Whether `recommended` come from a test; the paper's count as tested."""
  paper = (optimizer, storage) == ('sgd', 'plain')
  return paper or (network, optimizer, storage) in _TESTED


def resolve_optimizer(
  config: CondenseConfig, network: Network, std: Sequence[float] = _CIFAR10
) -> PixelOptimizer:
  """Fills in what the config leaves open, by what was tested.

  Args:
    config: of the optimiser, storage and sizes.
    network: what embeds.
    std: of each channel of the real images, by which they are normalised.
  """
  tested = recommended(network.name, config.optimizer, config.storage)
  rate, smoothed = config.learning_rate, config.smoothing
  return PixelOptimizer(
    config.optimizer,
    tested.rate(config.largest, config.momentum, std) if rate is None else rate,
    config.momentum,
    tested.smoothing if smoothed is None else smoothed,
    tested.shares(config.sizes) if rate is None else (),
  )
