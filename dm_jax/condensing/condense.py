"""Condensing a whole set: `condense`, and `condense_classes` below it."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, cast
import warnings

import jax
import numpy as np
import optax

from dm_jax.arguments import GROUPED, as_key, check_type, refuse_traced
from dm_jax.condensing import loop
from dm_jax.condensing.plan import Plan, check_own, make_plan
from dm_jax.condensing.targets import make_targets_ahead
from dm_jax.config.recipes import Recipe
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.data.variety import suspicions
from dm_jax.devices import layout
from dm_jax.errors import InputError
from dm_jax.matching.loss import RealSide
from dm_jax.matching.state import (
  CondenseState,
  Problem,
  make_problem,
  origin_changes,
  state_origin,
)
from dm_jax.matching.terms import Term
from dm_jax.networks.linen import AnyNetwork, as_network
from dm_jax.networks.registry import default_network
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.training.embedders import snapshots_held
from dm_jax.training.pool import make_pool
from dm_jax.types import AnyArray, AnyKey, Embedder, Json, Key, Network

# Which leaves have a class axis; pytree prefixes, see `devices.layout`.
STATE_AXES = cast(Any, CondenseState)(step=None, images=0, optimizer=0, terms=0)
PROBLEM_AXES = cast(Any, Problem)(
  data=0, network_key=None, class_keys=0, embedder=None, labels=0, cached=0
)

# `fold_in` by 0 to 2 may give what `make_problem` splits the key into.
_POOL = 3

Callback = Callable[[CondenseState, loop.Metrics], None]


def condense(
  images: AnyArray,
  labels: AnyArray,
  config: CondenseConfig | Recipe = CondenseConfig(),
  *,
  key: AnyKey,
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
    config: how to condense; or a recipe, which first trains the networks that
      it embeds with (`dm_jax.recipe`).
    key: every draw follows from it, a key or a whole number that seeds one
      (`arguments.as_key`); is consumed.
    network: what embeds the images, drawn afresh each step: a `Network` or a
      Linen module (see `network_from_linen`). None is the paper's ConvNet, four
      layers deep from 64 pixels on and three below.
    state: where to go on, as a callback of a run of the same images, key and
      settings, but for the steps, got it; None starts anew.
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
  refuse_traced('condense', images, labels, key, state)
  check_type('config', config, CondenseConfig, Recipe)
  key = as_key(key)
  data = ClassData.from_arrays(images, labels)
  for warning in suspicions(data):
    warnings.warn(warning, stacklevel=2)
  made = as_network(
    network or default_network(data.image_shape, data.classes),
    data.image_shape,
  )
  recipe = config if isinstance(config, Recipe) else Recipe(config)
  if recipe.embedder.name == 'random':
    remedy = "give a recipe, e.g. dm_jax.recipe('trajectory', ...), or"
    check_own(recipe.condense, made, remedy)
  if recipe.embedder.name == 'pool':
    raise InputError(
      "the embedder 'pool' chooses networks by validation images, which"
      ' condense is not given: use trajectory or interpolated, or a run'
    )
  held = snapshots_held(recipe.embedder, recipe.pretrain)
  plan = make_plan(
    recipe.condense,
    data,
    made,
    networks=held,
    targets=held * recipe.embedder.cached_draws,
  )
  if state is not None:  # Before networks are trained for a long time.
    check_state(state, plan, data, recipe.condense, key, made, recipe.trained)
  embedder, cached = None, None
  finished = state is not None and int(state.step) >= recipe.condense.steps
  if recipe.embedder.name != 'random' and not finished:
    embedder, cached = _train_embedder(recipe, plan, data, made, key)
  return condense_classes(
    data,
    recipe.condense,
    key=key,
    network=made,
    state=state,
    callback=callback,
    embedder=embedder,
    cached=cached,
    plan=plan,
    trained=recipe.trained,
  )


def _train_embedder(
  recipe: Recipe, plan: Plan, data: ClassData, network: Network, key: Key
) -> tuple[Embedder, RealSide | None]:
  """Trains the networks that a recipe embeds with, and caches its targets."""
  nothing = np.zeros((0, *data.image_shape), np.uint8), np.zeros(0, np.int32)
  config = recipe.embedder
  key = jax.random.fold_in(key, _POOL)
  pool = make_pool(network, data, *nothing, config, recipe.pretrain, None, key)
  cached = None
  if config.cached:
    cached = make_targets_ahead(plan, data, pool.variables, config, key)
  return pool.embedder(config), cached


def condense_classes(
  data: ClassData,
  config: CondenseConfig = CondenseConfig(),
  *,
  key: AnyKey,
  network: AnyNetwork | None = None,
  state: CondenseState | None = None,
  callback: Callback | None = None,
  devices: Sequence[Any] | None = None,
  place: str = 'auto',
  embedder: Embedder | None = None,
  cached: RealSide | None = None,
  terms: tuple[tuple[str, Term], ...] = (),
  optimizer: optax.GradientTransformation | None = None,
  plan: Plan | None = None,
  trained: Json | None = None,
  peers: loop.Peers = loop.ALONE,
) -> SyntheticSet:
  """`condense`, for images that are grouped by class already.

  Args:
    data: the real images, their statistics and class names. The draws for a
      class follow from its number (`ClassData.numbers`) and the key alone:
      where no norm mixes images, two calls of three classes give the same as
      one call of six.
    config: as for `condense`.
    key: as for `condense`.
    network: as for `condense`.
    state: as for `condense`.
    callback: as for `condense`.
    devices: which to use; None for all local ones.
    place: where the real images lie, see `DataConfig.placement`.
    embedder: key -> variables of the step's network, a `jax.tree_util.Partial`
      if it holds arrays; None takes `network.init`, which draws random ones
      unless it is your own.
    cached: see `Problem`.
    terms: as for `make_step`.
    optimizer: as for `make_step`.
    plan: made by `make_plan` of the same data, config and network; None makes
      it. With one, `devices`, `place`, `terms` and `optimizer` are the plan's.
    trained: the settings by which the embedder's networks are trained
      (`Recipe.trained`), so that no state of others goes on; None where the
      caller sees to that.
    peers: the processes that share the classes, each with those that its `data`
      holds.

  Returns:
    The synthetic set, of all classes.

  Raises:
    InputError, Diverged: as for `condense`.
  """
  refuse_traced('condense_classes', data, key, state)
  check_type('data', data, ClassData, remedy=GROUPED)
  check_type('config', config, CondenseConfig)
  key = as_key(key)
  made = as_network(
    network or default_network(data.image_shape, data.classes),
    data.image_shape,
  )
  plan = plan or make_plan(
    config,
    data,
    made,
    place,
    devices=devices,
    shares=peers.classes,
    terms=terms,
    optimizer=optimizer,
  )
  own, (low, high) = data.own, data.held_range
  if state is None:
    state = plan.algorithm.init(own, key, config.init)
  else:
    check_state(state, plan, data, config, key, made, trained)
    state = layout.slice_classes(state, STATE_AXES, low, high)
  if embedder is None and int(state.step) < config.steps:
    check_own(config, made, 'give an embedder of such, or')
  labels = jax.numpy.arange(low, high, dtype='int32')
  state = loop.run(
    plan.algorithm,
    state,
    make_problem(own, key, embedder or made.init, labels, cached),
    (STATE_AXES, PROBLEM_AXES),
    plan.layout,
    steps=config.steps,
    every=config.log_every,
    describe=plan.moves,
    callback=callback
    and _with_origin(callback, data, config, key, made, trained),
    resident=plan.fit.placement == 'device',
    peers=peers,
  )
  return made_from(state, data, config)


def made_from(
  state: CondenseState, data: ClassData, config: CondenseConfig
) -> SyntheticSet:
  """Returns the images of a state as a set.

  Args:
    state: of all classes.
    data: statistics and class names.
    config: how it was condensed.
  """
  provenance = {
    'config': {'condense': dataclasses.asdict(config)},
    'versions': package_versions(),
  }
  return SyntheticSet.from_classes(
    state.images, data, provenance, config.stored_as
  )


def _with_origin(
  callback: Callback,
  data: ClassData,
  config: CondenseConfig,
  key: Key,
  network: Network,
  trained: Json | None,
) -> Callback:
  """Gives a callback states that know what run they are of."""
  origin = state_origin(data, config, key, network, trained)

  def call(state: CondenseState, metrics: loop.Metrics) -> None:
    callback(dataclasses.replace(state, origin=origin), metrics)

  return call


def check_state(
  state: CondenseState,
  plan: Plan,
  data: ClassData,
  config: CondenseConfig,
  key: Key,
  network: Network,
  trained: Json | None = None,
) -> None:
  """Raises InputError unless a run can go on from a state."""
  check_type(
    'state',
    state,
    CondenseState,
    remedy='pass one that a callback got, or None to start anew',
  )
  algorithm = plan.algorithm
  start = functools.partial(algorithm.init, data, jax.random.key(0), 'noise')
  expected = jax.eval_shape(start)
  anew = 'pass state=None to start anew'
  if state.images.shape != expected.images.shape:
    raise InputError(
      f'the state holds images of shape {state.images.shape}, these settings'
      f' need {expected.images.shape}: {anew}'
    )
  if _layout(state.optimizer) != _layout(expected.optimizer):
    raise InputError(f"the state is another optimiser's: {anew}")
  if _layout(state.terms) != _layout(expected.terms):
    raise InputError(f'the state is one of other terms of the loss: {anew}')
  if int(state.step) > config.steps:
    raise InputError(
      f'the state is at step {int(state.step)} and condense.steps is'
      f' {config.steps}: raise it, or {anew}'
    )
  if state.origin is None:
    return
  own = state_origin(data, config, key, network, trained)
  changed = origin_changes(state.origin, own)
  if changed:
    raise InputError(
      f'the state is of another run ({"; ".join(changed)}): give what it was'
      f' made with, or {anew}; dataclasses.replace(state, origin=None) goes on'
      ' from it all the same'
    )


def _layout(tree: Any) -> tuple[Any, ...]:
  """Returns what tells whether one pytree of arrays can stand for another."""
  leaves, structure = jax.tree.flatten(tree)
  return structure, *((leaf.shape, leaf.dtype) for leaf in leaves)
