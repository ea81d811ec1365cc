"""How the pixels move."""

import dataclasses
from typing import Any

import optax

from dm_jax.config.sections import CondenseConfig
from dm_jax.images.smooth import smoothed
from dm_jax.types import Network

# (network, optimiser) -> (learning rate, smoothing); others take the paper's.
# Gradients through random ResNets have little in common from step to step but
# for their coarse parts: of the whole of them images wander off at the paper's
# rate. BUILD_NOTES.md has the figures.
TESTED = {
  ('resnet18', 'sgd'): (1.0, 2.0),
  ('resnet18_ap', 'sgd'): (0.04, 2.0),
}
_PAPER = (1.0, 0.0)


def settings_for(network: Network, optimizer: str = 'sgd') -> dict[str, Any]:
  """Returns the learning rate and smoothing that were tested with a network."""
  rate, smoothing = TESTED.get((network.name, optimizer), _PAPER)
  return {'learning_rate': rate, 'smoothing': smoothing}


def fill_in(config: CondenseConfig, network: Network) -> CondenseConfig:
  """Takes the settings tested with the network where the config has none."""
  tested = settings_for(network)
  open_fields = {
    field: value
    for field, value in tested.items()
    if getattr(config, field) is None
  }
  return dataclasses.replace(config, **open_fields)


def make_optimizer(config: CondenseConfig) -> optax.GradientTransformation:
  """Returns the original's SGD with momentum on the pixels.

  Args:
    config: its settings. Left open, rate and smoothing are the paper's, 1 and
      0; the state does not depend on them.
  """
  rate, smoothing = config.learning_rate, config.smoothing
  descent = optax.sgd(1.0 if rate is None else rate, config.momentum)
  return smoothed(descent, smoothing or 0.0)
