"""Condensing: the state, one pure step, and the loop around it."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from dm_jax import augment, loop, matching, parallel
from dm_jax.config import CondenseConfig, NetworkConfig
from dm_jax.data.class_data import ClassData, normalise
from dm_jax.discrepancy import get_discrepancy
from dm_jax.networks import make_network
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.types import (
  AnyArray,
  Array,
  Decoder,
  Embedder,
  InputError,
  Key,
  Network,
)

_CPU_MICRO_BATCH = 32  # Keeps activations in a CPU's cache.


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


# Which leaves have a class axis; pytree prefixes, see `parallel`.
_STATE_AXES = cast(Any, CondenseState)(step=None, images=0, optimizer=0)
_PROBLEM_AXES = cast(Any, Problem)(
  data=0, network_key=None, class_keys=0, embedder=None
)


Callback = Callable[[CondenseState, loop.Metrics], None]
Step = Callable[[CondenseState, Problem], tuple[CondenseState, Array]]


def make_problem(data: ClassData, key: Key, embedder: Embedder) -> Problem:
  """Returns the `Problem` whose every draw follows from `key`."""
  network_key, classes_key = jax.random.split(key)
  fold = jax.vmap(jax.random.fold_in, (None, 0))
  class_keys = fold(classes_key, jnp.arange(data.classes, dtype=jnp.int32))
  embedder = jax.tree_util.Partial(embedder)
  return Problem(data, network_key, class_keys, embedder)


def init_state(
  data: ClassData,
  config: CondenseConfig,
  key: Key,
  optimizer: optax.GradientTransformation | None = None,
) -> CondenseState:
  """Starts from random real images, or from standard normal noise.

  Args:
    data: the real images.
    config: `images_per_class`, `init`, and the optimiser's settings.
    key: is consumed.
    optimizer: as for `make_step`.
  """
  per_class = config.images_per_class
  fold = jax.vmap(jax.random.fold_in, (None, 0))
  keys = fold(key, jnp.arange(data.classes, dtype=jnp.int32))
  if config.init == 'noise':
    shape = (per_class, *data.image_shape)
    images = jax.vmap(lambda k: jax.random.normal(k, shape, jnp.float32))(keys)
  else:
    images = jax.lax.map(
      lambda args: _draw_images(args[0], args[1], per_class), (data, keys)
    )
  optimizer = optimizer or make_optimizer(config)
  opt_state = jax.vmap(optimizer.init)(images)
  return CondenseState(jnp.int32(0), images, opt_state)


def _draw_images(class_data: ClassData, key: Key, per_class: int) -> Array:
  """Random images of one class, normalised [S, H, W, D]."""
  indices, _ = matching.draw(
    key, class_data.counts, class_data.images.shape[0], per_class
  )
  return normalise(class_data.images[indices], class_data.mean, class_data.std)


def make_optimizer(config: CondenseConfig) -> optax.GradientTransformation:
  """Returns the original's SGD with momentum on the pixels."""
  return optax.sgd(config.learning_rate, config.momentum)


def make_step(
  network: Network,
  config: CondenseConfig,
  *,
  decode: Decoder = lambda stored: stored,
  optimizer: optax.GradientTransformation | None = None,
) -> Step:
  """Makes one step of Algorithm 1: pure, to be jitted, scanned or mapped.

  Args:
    network: what embeds; its variables come from `Problem.embedder`.
    config: batch size, augmentation and discrepancy.
    decode: stored images -> images to train on, for one class.
    optimizer: moves the pixels of one class; None is `make_optimizer`'s.

  Returns:
    step: (state, problem) -> (state, losses [C]); losses are those before the
    update, and their sum is what is minimised.

  Raises:
    InputError: an unknown augmentation or discrepancy.
  """
  optimizer = optimizer or make_optimizer(config)
  objective = matching.Objective(
    network=network,
    discrepancy=get_discrepancy(config.discrepancy),
    decode=decode,
    operations=augment.parse(config.augment),
    batch_real=config.batch_real,
    micro_batch=config.micro_batch or config.batch_real,
  )

  def step(state: CondenseState, problem: Problem):
    fold = jax.random.fold_in
    variables = problem.embedder(fold(problem.network_key, state.step))
    keys = jax.vmap(fold, (0, None))(problem.class_keys, state.step)
    targets = matching.make_targets(objective, problem.data, variables, keys)

    def loss(images):
      losses = matching.class_losses(objective, images, targets, variables)
      return losses.sum(), losses

    gradient, losses = jax.grad(loss, has_aux=True)(state.images)
    updates, opt_state = jax.vmap(optimizer.update)(
      gradient, state.optimizer, state.images
    )
    images = cast(Array, optax.apply_updates(state.images, updates))
    return CondenseState(state.step + 1, images, opt_state), losses

  return step


def condense(
  images: AnyArray,
  labels: AnyArray,
  config: CondenseConfig = CondenseConfig(),
  *,
  key: Key,
  network: Network | None = None,
  state: CondenseState | None = None,
  callback: Callback | None = None,
) -> SyntheticSet:
  """Condenses a labelled image set into a few synthetic images per class.

  Reads no flag, writes no file, changes no global setting and leaves the
  caller's arrays alone. Equal arguments give equal results, on any number of
  devices; all local devices are used.

  Args:
    images: uint8 [N, H, W, D], or float in [0, 1], which is rounded to 8 bits;
      NumPy or JAX, on the host or on a device.
    labels: int [N] in 0, 1, ..., C - 1, each at least once.
    config: how to condense.
    key: every draw follows from it; is consumed.
    network: what embeds the images, drawn afresh each step; None is the paper's
      ConvNet, four layers deep from 64 pixels on and three below.
    state: where to go on, as a callback got it; None starts anew.
    callback: gets (state, metrics) between compiled calls, about once a second
      and at every multiple of `config.log_every`. The state is the callback's
      to keep. What it raises ends the run.

  Returns:
    The synthetic set, C · S images ordered by class.

  Raises:
    InputError: an argument that cannot be used; the message says why.
    Diverged: the loss or the images stopped being finite.

  Example:
    synthetic = dm_jax.condense(
      images, labels, dm_jax.CondenseConfig(images_per_class=10, steps=1000),
      key=jax.random.key(0))
  """
  data = ClassData.from_arrays(images, labels)
  return condense_classes(
    data, config, key=key, network=network, state=state, callback=callback
  )


def condense_classes(
  data: ClassData,
  config: CondenseConfig = CondenseConfig(),
  *,
  key: Key,
  network: Network | None = None,
  state: CondenseState | None = None,
  callback: Callback | None = None,
  devices: Sequence[Any] | None = None,
) -> SyntheticSet:
  """`condense`, for images that are grouped by class already.

  Args:
    data: the real images, their statistics and class names.
    config: as for `condense`.
    key: as for `condense`.
    network: as for `condense`.
    state: as for `condense`.
    callback: as for `condense`.
    devices: which to use; None for all local ones.

  Returns:
    The synthetic set.

  Raises:
    InputError, Diverged: as for `condense`.
  """
  check_condensable(config, data)
  network = network or default_network(data)
  if network.mixes_images:
    # All classes are one batch: they cannot be dealt out.
    devices = (devices or jax.local_devices())[:1]
  layout = parallel.lay_out(data.classes, devices)
  resolved = _resolve(config, data, network, layout.platform)
  init_key, steps_key = jax.random.split(key)
  if state is None:
    state = init_state(data, config, init_key)
  _check_state(state, data, config)
  problem = make_problem(data, steps_key, network.init)
  step = make_step(network, resolved)
  state = loop.run(
    step,
    state,
    problem,
    (_STATE_AXES, _PROBLEM_AXES),
    layout,
    steps=config.steps,
    every=config.log_every,
    describe=f'condense.learning_rate {config.learning_rate}',
    callback=callback,
  )
  provenance = {
    'config': {'condense': dataclasses.asdict(config)},
    'versions': package_versions(),
  }
  return SyntheticSet.from_classes(state.images, data, provenance)


def default_network(data: ClassData) -> Network:
  """The paper's ConvNet, of the depth that it uses for such images."""
  depth = 4 if min(data.image_shape[:2]) >= 64 else NetworkConfig().depth
  return make_network(
    'convnet', image_shape=data.image_shape, classes=data.classes, depth=depth
  )


def check_condensable(config: CondenseConfig, data: ClassData) -> None:
  """Raises InputError if these images cannot be condensed so."""
  augment.parse(config.augment)
  get_discrepancy(config.discrepancy)
  smallest = int(data.counts.min())
  if config.init == 'real' and config.images_per_class > smallest:
    name = data.class_names[int(data.counts.argmin())]
    raise InputError(
      f'condense.images_per_class {config.images_per_class} is more than the'
      f' {smallest} images of class {name!r}: use at most {smallest}, or'
      ' condense.init noise'
    )


def _resolve(
  config: CondenseConfig, data: ClassData, network: Network, platform: str
) -> CondenseConfig:
  """Fills in what depends on the platform and the data."""
  batch = config.batch_real
  if network.mixes_images:
    # Padding would enter the batch's statistics: no class may need it.
    batch = min(batch, int(data.counts.min()))
  automatic = _CPU_MICRO_BATCH if platform == 'cpu' else batch
  micro_batch = config.micro_batch or automatic
  return dataclasses.replace(config, batch_real=batch, micro_batch=micro_batch)


def _check_state(
  state: CondenseState, data: ClassData, config: CondenseConfig
) -> None:
  expected = (data.classes, config.images_per_class, *data.image_shape)
  if state.images.shape != expected:
    raise InputError(
      f'the state holds images of shape {state.images.shape}, these settings'
      f' need {expected}: pass state=None to start anew'
    )
