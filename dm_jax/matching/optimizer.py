"""How the pixels move."""

import dataclasses

import optax

from dm_jax.config.sections import CondenseConfig
from dm_jax.images.smooth import smoothed
from dm_jax.types import Network


def fill_in(config: CondenseConfig, network: Network) -> CondenseConfig:
  """Takes the network's own settings where the config leaves them open."""
  own = {
    field: getattr(network, field)
    for field in ('learning_rate', 'smoothing')
    if getattr(config, field) is None
  }
  return dataclasses.replace(config, **own)


def make_optimizer(config: CondenseConfig) -> optax.GradientTransformation:
  """Returns the original's SGD with momentum on the pixels.

  Args:
    config: its settings. Left open, rate and smoothing are the paper's, 1 and
      0; the state does not depend on them.
  """
  rate, smoothing = config.learning_rate, config.smoothing
  descent = optax.sgd(1.0 if rate is None else rate, config.momentum)
  return smoothed(descent, smoothing or 0.0)
