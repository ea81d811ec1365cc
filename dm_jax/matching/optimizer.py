"""How the pixels move: optimisers by name, and what was tested with a network.

A network's gradients have a length and a roughness of their own, so the rate
of the pixels, and how far their gradients are smoothed, go with it.
"""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

import optax

from dm_jax.config.sections import CondenseConfig
from dm_jax.images.smooth import smoothing
from dm_jax.types import Network

# (learning rate, momentum) -> what it does. Each of `config.OPTIMIZERS`.
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
  'sgd': optax.sgd,
  'adam': optax.adam,
}


class Tested(NamedTuple):
  """Settings that were tested with a network, an optimiser and a storage.

  Attributes:
    learning_rate: of the normalised pixels.
    smoothing: of their gradients, see `CondenseConfig.smoothing`.
    per_image: whether the rate grows with the stored images of a class, since
      the gradient of a mean shrinks with them.
    least: of the rates that grow so, the one for few images.
  """

  learning_rate: float
  smoothing: float = 0.0
  per_image: bool = False
  least: float = 0.0

  def rate(self, per_class: int) -> float:
    """Returns the rate for so many stored images of a class."""
    if not self.per_image:
      return self.learning_rate
    return max(self.learning_rate * per_class, self.least)


# The paper's, for its ConvNet.
PAPER = Tested(1.0)
# By optimiser, for what the table below does not name.
_DEFAULT = {'sgd': PAPER, 'adam': Tested(0.01)}
# By (network, optimiser, storage). Gradients through random ResNets have little
# in common from step to step but for their coarse parts: of the whole of them
# images wander off at the paper's rate. BUILD_NOTES.md has the figures.
_TESTED = {
  ('convnet', 'adam', 'plain'): Tested(0.01),
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
  """

  name: str
  learning_rate: float
  momentum: float
  smoothing: float = 0.0

  def make(self) -> optax.GradientTransformation:
    """Returns the transformation of images [S, H, W, D]."""
    descent = OPTIMIZERS[self.name](self.learning_rate, self.momentum)
    if not self.smoothing:
      return descent
    return optax.chain(smoothing(self.smoothing), descent)


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
  config: CondenseConfig, network: Network
) -> PixelOptimizer:
  """Fills in what the config leaves open, by what was tested."""
  tested = recommended(network.name, config.optimizer, config.storage)
  rate, smoothed = config.learning_rate, config.smoothing
  return PixelOptimizer(
    config.optimizer,
    tested.rate(config.largest) if rate is None else rate,
    config.momentum,
    tested.smoothing if smoothed is None else smoothed,
  )
