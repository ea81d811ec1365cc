"""Condensing a whole set: `condense`, and `condense_classes` below it."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, cast

import jax
import optax

from dm_jax.condensing import loop
from dm_jax.condensing.plan import (
  check_condensable,
  check_network,
  lay_out_classes,
  make_plan,
  resolve,
  spans_all,
)
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.devices import layout as parallel
from dm_jax.errors import InputError
from dm_jax.matching.optimizer import make_optimizer
from dm_jax.matching.state import (
  CondenseState,
  Problem,
  init_state,
  make_problem,
)
from dm_jax.matching.step import keep, make_step
from dm_jax.networks.linen import AnyNetwork, as_network
from dm_jax.networks.registry import (
  default_network,
)
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.types import AnyArray, Decoder, Embedder, Key

__all__ = [
  'PROBLEM_AXES',
  'STATE_AXES',
  'CondenseState',
  'Problem',
  'check_condensable',
  'check_network',
  'condense',
  'condense_classes',
  'default_network',
  'init_state',
  'make_optimizer',
  'make_problem',
  'make_step',
]

# Which leaves have a class axis; pytree prefixes, see `parallel`.
STATE_AXES = cast(Any, CondenseState)(step=None, images=0, optimizer=0)
PROBLEM_AXES = cast(Any, Problem)(
  data=0, network_key=None, class_keys=0, embedder=None
)
Callback = Callable[[CondenseState, loop.Metrics], None]


def condense(
  images: AnyArray,
  labels: AnyArray,
  config: CondenseConfig = CondenseConfig(),
  *,
  key: Key,
  network: AnyNetwork | None = None,
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
    network: what embeds the images, drawn afresh each step: a `Network` or a
      Linen module (see `network_from_linen`). None is the paper's ConvNet, four
      layers deep from 64 pixels on and three below.
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
  network: AnyNetwork | None = None,
  state: CondenseState | None = None,
  callback: Callback | None = None,
  devices: Sequence[Any] | None = None,
  embedder: Embedder | None = None,
  decode: Decoder = keep,
  optimizer: optax.GradientTransformation | None = None,
  place: str = 'auto',
  peers: loop.Peers = loop.ALONE,
  first: int = 0,
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
    place: where the real images lie, see `DataConfig.placement`.
    peers: the processes that share the classes, each with those that its `data`
      holds.
    first: number of the first class. The draws for a class depend on its number
      and the key alone: where no norm mixes images, two calls of three classes
      give the same as one call of six.

  Returns:
    The synthetic set, of all classes.

  Raises:
    InputError, Diverged: as for `condense`.
  """
  check_condensable(config, data)
  made = as_network(
    network or default_network(data.image_shape, data.classes),
    data.image_shape,
  )
  check_network(config, data, made)
  fits = make_plan(config, data, made, place, devices)
  layout = lay_out_classes(config, data, made, devices, fits.at_once, peers)
  resolved = resolve(config, data, made, layout.platform)
  own, low = data.own, first + data.held_range[0]
  if state is None:
    state = init_state(own, config, key, optimizer, first=low)
  else:
    _check_state(state, data, config)
    if data.held is not None:
      state = parallel.slice_classes(state, STATE_AXES, *data.held)
  problem = make_problem(own, key, embedder or made.init, first=low)
  axis = layout.axis if spans_all(made, config) else None
  state = loop.run(
    _make_step(made, resolved, decode, optimizer, axis),
    state,
    problem,
    (STATE_AXES, PROBLEM_AXES),
    layout,
    steps=config.steps,
    every=config.log_every,
    describe=f'condense.learning_rate {resolved.learning_rate}',
    callback=callback,
    resident=fits.placement == 'device',
    peers=peers,
  )
  provenance = {
    'config': {'condense': dataclasses.asdict(config)},
    'versions': package_versions(),
  }
  images = jax.vmap(decode)(state.images)
  return SyntheticSet.from_classes(images, data, provenance)


@functools.lru_cache(maxsize=8)
def _make_step(network, config, decode, optimizer, axis):
  """`make_step`; equal arguments give the same function."""
  return make_step(
    network, config, decode=decode, optimizer=optimizer, axis=axis
  )


def _check_state(
  state: CondenseState, data: ClassData, config: CondenseConfig
) -> None:
  expected = (data.classes, config.largest, *data.image_shape)
  if state.images.shape != expected:
    raise InputError(
      f'the state holds images of shape {state.images.shape}, these settings'
      f' need {expected}: pass state=None to start anew'
    )
