"""Condensing a whole set: `condense`, and `condense_classes` below it."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, cast

import jax
import optax

from dm_jax import augment, loop, parallel
from dm_jax.config import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.discrepancy import get_discrepancy
from dm_jax.networks import make_network, paper_network
from dm_jax.step import (
  CondenseState,
  Problem,
  check_start,
  init_state,
  keep,
  make_optimizer,
  make_problem,
  make_step,
)
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.types import (
  AnyArray,
  Decoder,
  Embedder,
  InputError,
  Key,
  Network,
)

__all__ = [
  'CondenseState',
  'Problem',
  'check_condensable',
  'condense',
  'condense_classes',
  'default_network',
  'init_state',
  'make_optimizer',
  'make_problem',
  'make_step',
]

_CPU_MICRO_BATCH = 32  # Keeps activations in a CPU's cache.

# Which leaves have a class axis; pytree prefixes, see `parallel`.
_STATE_AXES = cast(Any, CondenseState)(step=None, images=0, optimizer=0)
_PROBLEM_AXES = cast(Any, Problem)(
  data=0, network_key=None, class_keys=0, embedder=None
)

Callback = Callable[[CondenseState, loop.Metrics], None]


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
  caller's arrays alone. Equal arguments give equal results, up to rounding on
  any number of devices; all local devices are used.

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
  embedder: Embedder | None = None,
  decode: Decoder = keep,
  optimizer: optax.GradientTransformation | None = None,
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
    embedder: key -> variables of the step's network, a `jax.tree_util.Partial`
      if it holds arrays; None draws random ones, `network.init`.
    decode: as for `make_step`.
    optimizer: as for `make_step`.

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
  if state is None:
    state = init_state(data, config, key, optimizer)
  _check_state(state, data, config)
  problem = make_problem(data, key, embedder or network.init)
  step = make_step(network, resolved, decode=decode, optimizer=optimizer)
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
  images = jax.vmap(decode)(state.images)
  return SyntheticSet.from_classes(images, data, provenance)


def default_network(data: ClassData) -> Network:
  """The paper's ConvNet, of the depth that it uses for such images."""
  return make_network(
    paper_network(data.image_shape),
    image_shape=data.image_shape,
    classes=data.classes,
  )


def check_condensable(config: CondenseConfig, data: ClassData) -> None:
  """Raises InputError if these images cannot be condensed so."""
  augment.parse(config.augment)
  get_discrepancy(config.discrepancy)
  check_start(config, data)


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
