"""The steps of which arrangements are compared, to be counted or measured."""

from collections.abc import Callable
import dataclasses
import functools

import jax
from jax import lax
import jax.numpy as jnp
import optax

from benchmarks.folded import folded_logits
from dm_jax import ClassData, EvalConfig, Network, make_network, make_problem
from dm_jax.config.sections import CondenseConfig
from dm_jax.devices.arrangement import Arrangement
from dm_jax.matching.objective import make_objective
from dm_jax.matching.optimizer import resolve_optimizer
from dm_jax.matching.step import make_algorithm
from dm_jax.training import step as training
from dm_jax.types import Array, ImageShape, Key

WAYS = ('mapped', 'vmapped', 'folded')


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Of a step.

  Attributes:
    classes: C.
    images_per_class: S.
    batch_real: B.
    real: images of each class to draw from.
    width: of the ConvNet.
    depth: of the same.
    image_shape: H, W, D.
    precision: see `CondenseConfig.precision`.
  """

  classes: int = 10
  images_per_class: int = 10
  batch_real: int = 256
  real: int = 5000
  width: int = 128
  depth: int = 3
  image_shape: ImageShape = (32, 32, 3)
  precision: str = 'float32'

  @property
  def training_batch(self) -> int:
    """Images of a training step on the synthetic set, at most 256."""
    return min(self.classes * self.images_per_class, 256)

  @property
  def network(self) -> Network:
    return make_network(
      'convnet',
      image_shape=self.image_shape,
      classes=self.classes,
      width=self.width,
      depth=self.depth,
    )


def condensing(
  sizes: Sizes, arrangement: Arrangement, micro_batch: int = 0
) -> tuple[Callable, Callable]:
  """Returns the paper's step in an arrangement, and what makes its arguments.

  Args:
    sizes: of the problem.
    arrangement: what is computed together.
    micro_batch: real images embedded at a time; 0 is all of the classes that
      are embedded together.
  """
  images = micro_batch or arrangement.classes * sizes.batch_real
  config = CondenseConfig(
    images_per_class=sizes.images_per_class,
    batch_real=sizes.batch_real,
    precision=sizes.precision,
    micro_batch=images,
  )
  network = sizes.network
  algorithm = make_algorithm(
    make_objective(network, config, arrangement=arrangement),
    resolve_optimizer(config, network),
  )

  def arguments():
    key = jax.random.key(0)
    shape = (sizes.classes, sizes.real, *sizes.image_shape)
    data = ClassData(
      images=jax.random.bits(key, shape, jnp.uint8),
      counts=jnp.full(sizes.classes, sizes.real, jnp.int32),
      mean=(0.5,) * sizes.image_shape[-1],
      std=(0.25,) * sizes.image_shape[-1],
      class_names=tuple(map(str, range(sizes.classes))),
    )
    state = algorithm.init(data, key, 'noise')
    return state, make_problem(data, key, network.init)

  return algorithm.step, arguments


def training_step(
  sizes: Sizes, networks: int, way: str, part: int = 0
) -> tuple[Callable, Callable]:
  """Returns a step of training so many networks, and what makes its arguments.

  Args:
    sizes: of the set, which is one batch of at most 256 images.
    networks: K, each on its own augmented images.
    way: of `WAYS`.
    part: see `TrainingConfig`; of no use to the folded way.
  """
  network = sizes.network
  config = training.TrainingConfig.of(EvalConfig(), part)
  count = sizes.training_batch
  rate = jnp.float32(config.learning_rate)

  def vary(images: Array, labels: Array, key: Key) -> tuple[Array, Array]:
    return training.vary_batch(network, config, images, labels, key)

  def one(state, key, images, labels):
    batch = vary(images, labels, key)
    return training.update(network, config, state, *batch, rate)[0]

  def step(states, keys, images, labels):
    each = functools.partial(one, images=images, labels=labels)
    if way == 'mapped':
      return lax.map(lambda args: each(*args), (states, keys))
    if way == 'vmapped':
      return jax.vmap(each)(states, keys)
    batches = jax.vmap(vary, (None, None, 0))(images, labels, keys)
    return _folded_update(config, states, *batches, rate)

  def arguments():
    keys = jax.random.split(jax.random.key(0), networks)
    init = functools.partial(training.init_training, network, config)
    shape = (count, *sizes.image_shape)
    images = jax.random.normal(jax.random.key(1), shape, jnp.float32)
    labels = jnp.arange(count, dtype=jnp.int32) % sizes.classes
    return jax.vmap(init)(keys), keys, images, labels

  return step, arguments


def _folded_update(config, states, images, labels, rate):
  """`training.update` of all networks, folded into channels."""

  def total(variables):
    logits = folded_logits(variables, images)
    return training.cross_entropy(logits, labels).mean(1).sum()

  gradient = jax.grad(total)(states.variables)
  optimizer = optax.chain(
    optax.add_decayed_weights(config.weight_decay),
    optax.trace(config.momentum),
  )
  params = states.variables
  # The rate and the momentum stay as `update` has them: by parameter.
  updates, momentum = jax.vmap(optimizer.update)(
    gradient['params'], states.momentum, params['params']
  )
  moved = jax.tree.map(lambda p, u: p - rate * u, params['params'], updates)
  return training.TrainingState({**params, 'params': moved}, momentum)
