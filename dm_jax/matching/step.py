"""The state of condensing, what a step reads, and one pure step."""

from collections.abc import Callable
from typing import cast

import jax
import optax

from dm_jax.config.sections import CondenseConfig
from dm_jax.devices.layout import ClassAxis
from dm_jax.images import augment
from dm_jax.matching import loss as matching
from dm_jax.matching.discrepancy import get_discrepancy
from dm_jax.matching.objective import AT_ONCE, Objective
from dm_jax.matching.optimizer import fill_in, make_optimizer
from dm_jax.matching.state import CondenseState, Problem
from dm_jax.types import Array, Decoder, Network

Step = Callable[[CondenseState, Problem], tuple[CondenseState, Array]]


def keep(stored: Array) -> Array:
  """The paper's way from stored images to training images: none."""
  return stored


def make_step(
  network: Network,
  config: CondenseConfig,
  *,
  decode: Decoder = keep,
  optimizer: optax.GradientTransformation | None = None,
  axis: ClassAxis | None = None,
) -> Step:
  """Makes one step of Algorithm 1: pure, to be jitted, scanned or mapped.

  Args:
    network: what embeds; its variables come from `Problem.embedder`.
    config: batch size, augmentation and discrepancy. For a network that
      `needs_whole_batch`, `batch_real` must not be above the
      smallest class: padding would enter the statistics. (`condense` sees to
      that.)
    decode: stored images -> images to train on, for one class.
    optimizer: moves the pixels of one class; None is `make_optimizer`'s, with
      the network's own settings where the config leaves them open.
    axis: the mapped axis that the classes are dealt over, where batch norm
      takes all of them as one batch; None where one call sees all classes.

  Returns:
    step: (state, problem) -> (state, losses [C]); losses are those before the
    update, and their sum is what is minimised.

  Raises:
    InputError: an unknown augmentation or discrepancy.
  """
  optimizer = optimizer or make_optimizer(fill_in(config, network))
  objective = Objective(
    network=network,
    discrepancy=get_discrepancy(config.discrepancy),
    decode=decode,
    operations=augment.parse(config.augment),
    batch_real=config.batch_real,
    micro_batch=config.micro_batch or config.batch_real,
    sizes=config.sizes,
    together=config.batch_norm_classes,
    at_once=(
      min(config.micro_batch or config.batch_real, AT_ONCE)
      if config.rematerialise
      else AT_ONCE
    ),
    precision=config.precision,
    axis=axis,
  )

  def step(state: CondenseState, problem: Problem):
    fold = jax.random.fold_in
    variables = problem.embedder(fold(problem.network_key, state.step))
    keys = jax.vmap(fold, (0, None))(problem.class_keys, state.step)
    targets = matching.make_targets(objective, problem.data, variables, keys)

    gradient, losses = matching.gradient(
      objective, state.images, targets, variables
    )
    updates, opt_state = jax.vmap(optimizer.update)(
      gradient, state.optimizer, state.images
    )
    images = cast(Array, optax.apply_updates(state.images, updates))
    return CondenseState(state.step + 1, images, opt_state), losses

  return step
