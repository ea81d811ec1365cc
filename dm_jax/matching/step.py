"""The state of condensing, what a step reads, and one pure step."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData, normalise
from dm_jax.data.mapped import release
from dm_jax.images import augment
from dm_jax.images.smooth import smoothed
from dm_jax.matching import loss as matching
from dm_jax.matching.discrepancy import get_discrepancy
from dm_jax.types import Array, Decoder, Embedder, InputError, Key, Network


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CondenseState:
  """All that a run must keep.

  Attributes:
    step: int32 [], steps done.
    images: synthetic images as stored, normalised float32 [C, S, H, W, D].
    optimizer: the optimiser's state, each leaf with a leading C.
  """

  step: Array
  images: Array
  optimizer: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Problem:
  """All that a step reads and never changes.

  Attributes:
    data: the real images.
    network_key: the networks of all steps follow from it.
    class_keys: [C], the draws of each class follow from its own, so that they
      depend on neither the other classes nor the devices.
    embedder: key -> variables, a `jax.tree_util.Partial`: the arrays that it
      holds are arguments of the compiled step, not constants in it.
  """

  data: ClassData
  network_key: Key
  class_keys: Key
  embedder: Embedder


Step = Callable[[CondenseState, Problem], tuple[CondenseState, Array]]


def make_problem(
  data: ClassData, key: Key, embedder: Embedder, first: int = 0
) -> Problem:
  """Returns the `Problem` whose every draw follows from `key`.

  Args:
    data: the real images, of some classes or all.
    key: of the run, the same as for `init_state`.
    embedder: key -> variables; `network.init` gives the paper's random ones.
    first: number of the first class of `data` among all.
  """
  _, network_key, classes_key = jax.random.split(key, 3)
  keys = class_keys(classes_key, data.classes, first)
  # A Partial around a Partial would hide its arrays in the program.
  if not isinstance(embedder, jax.tree_util.Partial):
    embedder = jax.tree_util.Partial(embedder)
  return Problem(without_names(data), network_key, keys, embedder)


def init_state(
  data: ClassData,
  config: CondenseConfig,
  key: Key,
  optimizer: optax.GradientTransformation | None = None,
  first: int = 0,
) -> CondenseState:
  """Starts from random real images, or from standard normal noise.

  Args:
    data: the real images, of some classes or all.
    config: `images_per_class`, `init`, and the optimiser's settings.
    key: of the run, the same as for `make_problem`.
    optimizer: as for `make_step`.
    first: number of the first class of `data` among all.

  Raises:
    InputError: a class has fewer real images than are to be drawn.
  """
  check_start(config, data)
  per_class = config.largest
  init_key, _, _ = jax.random.split(key, 3)
  keys = class_keys(init_key, data.classes, first)
  if config.init == 'noise':
    shape = (per_class, *data.image_shape)
    images = jax.vmap(lambda k: jax.random.normal(k, shape, jnp.float32))(keys)
  else:
    images = draw_images(data, keys, per_class)
  optimizer = optimizer or make_optimizer(config)
  opt_state = jax.vmap(optimizer.init)(images)
  return CondenseState(jnp.int32(0), images, opt_state)


def check_start(config: CondenseConfig, data: ClassData) -> None:
  """Raises InputError if a class has too few images to start from."""
  smallest = int(data.counts.min())
  if config.init == 'real' and config.largest > smallest:
    name = data.class_names[int(data.counts.argmin())]
    raise InputError(
      f'condense.images_per_class {config.largest} is more than the'
      f' {smallest} images of class {name!r}: use at most {smallest}, or'
      ' condense.init noise'
    )


def class_keys(key: Key, classes: int, first: int = 0) -> Key:
  """Returns keys [C] that do not depend on how many classes there are."""
  numbers = first + jnp.arange(classes, dtype=jnp.int32)
  return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def draw_images(data: ClassData, keys: Key, per_class: int) -> Array:
  """Draws random real images of every class, without replacement.

  Args:
    data: the real images.
    keys: one for each class [C], see `class_keys`; are consumed.
    per_class: S, at most the smallest class.

  Returns:
    Normalised [C, S, H, W, D].
  """
  indices = _draw_indices(
    jnp.asarray(data.counts), keys, data.images.shape[1], per_class
  )
  if isinstance(data.images, jax.Array):
    drawn = _take(data.images, indices)
  else:  # The set may be larger than the device's memory.
    rows = np.arange(data.classes)[:, None]
    drawn = data.images[rows, np.asarray(indices)]
    release(data.images)
  return _normalise(drawn, data.mean, data.std)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _draw_indices(
  counts: Array, keys: Key, capacity: int, per_class: int
) -> Array:
  def one_class(args) -> Array:
    count, key = args
    return matching.draw(key, count, capacity, per_class)[0]

  return jax.lax.map(one_class, (counts, keys))


_take = jax.jit(jax.vmap(lambda images, indices: images[indices]))
_normalise = jax.jit(normalise, static_argnums=(1, 2))


def without_names(data: ClassData) -> ClassData:
  """Drops names and range of classes: each would have programs of its own."""
  return dataclasses.replace(data, class_names=(), held=None)


def keep(stored: Array) -> Array:
  """The paper's way from stored images to training images: none."""
  return stored


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


def make_step(
  network: Network,
  config: CondenseConfig,
  *,
  decode: Decoder = keep,
  optimizer: optax.GradientTransformation | None = None,
  axis: matching.ClassAxis | None = None,
) -> Step:
  """Makes one step of Algorithm 1: pure, to be jitted, scanned or mapped.

  Args:
    network: what embeds; its variables come from `Problem.embedder`.
    config: batch size, augmentation and discrepancy. For a network that mixes
      images and has no `embed_batch`, `batch_real` must not be above the
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
  objective = matching.Objective(
    network=network,
    discrepancy=get_discrepancy(config.discrepancy),
    decode=decode,
    operations=augment.parse(config.augment),
    batch_real=config.batch_real,
    micro_batch=config.micro_batch or config.batch_real,
    sizes=config.sizes,
    together=config.batch_norm_classes,
    at_once=(
      min(config.micro_batch or config.batch_real, matching.AT_ONCE)
      if config.rematerialise
      else matching.AT_ONCE
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
