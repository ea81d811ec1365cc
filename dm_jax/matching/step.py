"""The algorithm: one pure step of distribution matching (Alg. 1).

Read `make_algorithm` from the top: a network is drawn, real images of every
class are drawn and embedded, the synthetic ones are compared with them, and
move down the gradient. `loss` says how two sets are compared, `state` what is
kept between steps.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from dm_jax.arguments import GROUPED, as_key, check_type, refuse_traced
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.devices.layout import ClassAxis
from dm_jax.images.normalise import clip
from dm_jax.matching.cached import look_up
from dm_jax.matching.loss import (
  Comparison,
  class_gradients,
  embed_real,
  make_targets,
)
from dm_jax.matching.objective import Objective, make_objective
from dm_jax.matching.optimizer import (
  PixelOptimizer,
  as_transformation,
  resolve_optimizer,
)
from dm_jax.matching.state import CondenseState, Problem, init_images
from dm_jax.matching.terms import Term
from dm_jax.networks.linen import AnyNetwork, as_network
from dm_jax.networks.outputs import output_shapes
from dm_jax.networks.registry import default_network
from dm_jax.types import AnyKey, Array, Key, Network, Numbered

_WRAP = 'wrap a Linen module by dm_jax.network_from_linen(module, (H, W, D))'
Losses = dict[str, Array]  # [C] by term.
Step = Callable[[CondenseState, Problem], tuple[CondenseState, Losses]]


class Algorithm(NamedTuple):
  """Distribution matching as pure functions, to be jitted, looped or mapped.

  Attributes:
    init: (data, key, start) -> the first `CondenseState`; start is 'real' or
      'noise'.
    gradient: (state, problem) -> (gradient [C, S, H, W, D], `Comparison`)
      of the step that comes next; nothing moves.
    step: (state, problem) -> (state, losses [C] by term). Losses are those
      before the update; their sum is what is minimised.
    terms: the names of the losses.
  """

  init: Callable[[ClassData, Key, str], CondenseState]
  gradient: Callable[[CondenseState, Problem], tuple[Array, Comparison]]
  step: Step
  terms: tuple[str, ...]


@functools.lru_cache(maxsize=8)
def make_algorithm(
  objective: Objective,
  optimizer: PixelOptimizer | optax.GradientTransformation,
) -> Algorithm:
  """Makes the algorithm; equal arguments give the same functions.

  Args:
    objective: what is minimised.
    optimizer: of the pixels of one class.
  """
  tx = as_transformation(optimizer)

  def init(data: ClassData, key: Key, start: str) -> CondenseState:
    storage, sizes = objective.storage, objective.sizes
    images = init_images(data, storage, max(sizes), start, key)
    shapes = output_shapes(objective.network, data.image_shape)
    state = [objective.terms.init(shapes) for _ in sizes]
    terms = jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf[None], (len(images), *leaf.shape)),
      jax.tree.map(jnp.asarray, tuple(state)),
    )
    return CondenseState(jnp.int32(0), images, jax.vmap(tx.init)(images), terms)

  def gradient(state: CondenseState, problem: Problem):
    fold = jax.random.fold_in
    drawn = problem.embedder(fold(problem.network_key, state.step))
    keys = jax.vmap(fold, (0, None))(problem.class_keys, state.step)
    networks = drawn.networks if isinstance(drawn, Numbered) else drawn
    if problem.cached is None:
      real = embed_real(objective, problem.data, networks, keys)
    else:
      real = look_up(problem.cached, cast(Numbered, drawn).number, keys)
    targets = make_targets(
      problem.data, problem.labels, state.terms, real, keys
    )
    return class_gradients(objective, state.images, targets, networks)

  def step(state: CondenseState, problem: Problem):
    downhill, compared = gradient(state, problem)
    # Optax's Adam mixes types, which a caller may have forbidden.
    with jax.numpy_dtype_promotion('standard'):
      updates, opt_state = jax.vmap(tx.update)(
        downhill, state.optimizer, state.images
      )
    images = cast(Array, optax.apply_updates(state.images, updates))
    if objective.clamp:
      images = clip(images, problem.data.mean, problem.data.std)
    after = CondenseState(state.step + 1, images, opt_state, compared.states)
    return after, compared.losses

  return Algorithm(init, gradient, step, objective.terms.names)


def make_step(
  network: Network,
  config: CondenseConfig,
  *,
  terms: tuple[tuple[str, Term], ...] = (),
  optimizer: optax.GradientTransformation | None = None,
  axis: ClassAxis | None = None,
) -> Step:
  """Makes one step of Algorithm 1: pure, to be jitted, scanned or mapped.

  Args:
    network: what embeds; its variables come from `Problem.embedder`.
    config: batch size, augmentation, discrepancy, storage and optimiser. For a
      network that mixes images and knows no padding, `batch_real` must not be
      above the smallest class: padding would enter the statistics. (`condense`
      sees to that.)
    terms: (name, term) of losses that are added to the discrepancy.
    optimizer: moves the pixels of one class; None is the config's, with what
      was tested with the network where it leaves settings open, on images of
      CIFAR-10's deviation.
    axis: the mapped axis that the classes are dealt over, where batch norm
      takes all of them as one batch; None where one call sees all classes.

  Returns:
    step: (state, problem) -> (state, losses [C] by term); losses are those
    before the update, and their sum is what is minimised.

  Raises:
    InputError: an unknown augmentation, discrepancy or storage.
  """
  return _algorithm(network, config, terms, optimizer, axis).step


def init_state(
  data: ClassData,
  config: CondenseConfig,
  key: AnyKey,
  *,
  network: AnyNetwork | None = None,
  terms: tuple[tuple[str, Term], ...] = (),
  optimizer: optax.GradientTransformation | None = None,
) -> CondenseState:
  """Returns the state before the first step of `make_step`.

  Args:
    data: the real images, of some classes or all.
    config: `images_per_class`, `init`, and the optimiser's settings.
    key: of the run, the same as for `make_problem`.
    network: as for `make_step`, or a Linen module; None is the paper's.
    terms: as for `make_step`.
    optimizer: as for `make_step`.

  Raises:
    InputError: a class has fewer real images than are to be drawn.
  """
  check_type('data', data, ClassData, remedy=GROUPED)
  check_type('config', config, CondenseConfig)
  if config.init == 'real' and not isinstance(data.images, jax.Array):
    refuse_traced('init_state from images on the host', data, key)
  else:
    refuse_traced('init_state of traced images', data, inside_jit=True)
  made = as_network(
    network or default_network(data.image_shape, data.classes),
    data.image_shape,
  )
  algorithm = _algorithm(made, config, terms, optimizer)
  return algorithm.init(data, as_key(key), config.init)


def _algorithm(
  network: Network,
  config: CondenseConfig,
  terms: tuple[tuple[str, Term], ...],
  optimizer: optax.GradientTransformation | None,
  axis: ClassAxis | None = None,
) -> Algorithm:
  """The algorithm of which `make_step` and `init_state` are parts."""
  check_type('config', config, CondenseConfig)
  check_type('network', network, Network, remedy=_WRAP)
  objective = make_objective(network, config, terms=terms, axis=axis)
  return make_algorithm(
    objective, optimizer or resolve_optimizer(config, network)
  )
