"""Trains one network by the original protocol; pure functions.

Everything is written for one network and one epoch; `evaluate` maps it. A
single step (`augment_batch`, `update`) serves every kind of training.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any, Self

import chex
import jax
from jax import lax
import jax.numpy as jnp
import optax

from dm_jax.config.protocols import Protocol
from dm_jax.config.sections import EvalConfig, PretrainConfig
from dm_jax.devices.arrangement import PLAIN
from dm_jax.errors import InputError
from dm_jax.images import augment
from dm_jax.networks.outputs import count_outputs
from dm_jax.types import (
  AnyArray,
  Array,
  Batch,
  Key,
  Network,
  Variables,
)

# `fold_in` by small numbers may give what `split` gives, e.g. of the stages.
_CUTMIX = 100


@dataclasses.dataclass(frozen=True)
class TrainingConfig(Protocol):
  """What compiled training reads of its settings; equal ones share programs.

  Attributes:
    epochs: E of the schedule, see `learning_rate`.
    part: images of a batch that are differentiated at a time; 0 is all.
  """

  epochs: int
  part: int

  @classmethod
  def of(
    cls, section: EvalConfig | PretrainConfig, part: int = PLAIN.part
  ) -> Self:
    """Takes what training reads from a section of the settings.

    Args:
      section: of the settings.
      part: see `TrainingConfig`; `devices.arrangement` has it by platform.
    """
    return cls(epochs=section.epochs, part=part, **vars(section.training))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainingState:
  """One network in training.

  Attributes:
    variables: of the network.
    momentum: the optimiser's state.
  """

  variables: Variables
  momentum: Any


def learning_rate(epoch: Array, config: TrainingConfig) -> Array:
  """Returns the rate of epoch 0, 1, ... by `config.schedule`.

  half: of E + 1 epochs those after ⌊E/2⌋ + 1 have a tenth of the rate.
  thirds: of E epochs those from ⌊2E/3⌋ on have a fifth, those from ⌊5E/6⌋ on
  a fifth of that, as in IDC (Kim et al., ICML 2022).
  constant: all of them have the whole.
  """
  rate = jnp.float32(config.learning_rate)
  if config.schedule == 'half':
    rate *= jnp.where(epoch >= _fresh_start(config), 0.1, 1.0)
  elif config.schedule == 'thirds':
    for start in (2 * config.epochs // 3, 5 * config.epochs // 6):
      rate *= jnp.where(epoch >= start, 0.2, 1.0)
  return rate


def _fresh_start(config: TrainingConfig) -> int:
  """The epoch of `half` whose rate is the first low one: new momentum, too."""
  return config.epochs // 2 + 2


def init_training(
  network: Network, config: TrainingConfig, key: Key
) -> TrainingState:
  """Returns a fresh network; `key` is consumed."""
  variables = network.init(key)
  momentum = _optimizer(config).init(_split(variables)[0])
  return TrainingState(variables, momentum)


def train_epoch(
  network: Network,
  config: TrainingConfig,
  state: TrainingState,
  images: Array,
  targets: Array,
  epoch: Array,
  key: Key,
) -> TrainingState:
  """Passes once over the images in random order.

  Args:
    network: what is trained.
    config: the protocol.
    state: before the epoch.
    images: normalised float32 [N, H, W, D].
    targets: as for `cross_entropy`.
    epoch: int32 [], from 0.
    key: of this epoch and network; is consumed.
  """
  chex.assert_rank([images, targets, epoch], [4, {1, 2}, 0])
  order_key, batches_key = jax.random.split(key)
  count = len(images)
  order = jax.random.permutation(order_key, count)
  rate = learning_rate(epoch, config)
  if config.schedule == 'half':
    fresh = epoch == _fresh_start(config)
    momentum = jax.tree.map(
      lambda leaf: jnp.where(fresh, jnp.zeros_like(leaf), leaf), state.momentum
    )
    state = TrainingState(state.variables, momentum)

  def step(state, args):
    number, indices = args
    batch_key = jax.random.fold_in(batches_key, number)
    batch = vary_batch(
      network, config, images[indices], targets[indices], batch_key
    )
    state, _ = update(network, config, state, *batch, rate)
    return state, None

  # The last batch of an epoch is smaller where the images do not divide:
  # padding it would enter a batch norm's statistics.
  size = min(config.batch_size, count)
  full = count // size
  numbers = jnp.arange(full, dtype=jnp.int32)
  batches = order[: full * size].reshape(full, size)
  state, _ = lax.scan(step, state, (numbers, batches))
  if full * size < count:
    state, _ = step(state, (jnp.int32(full), order[full * size :]))
  return state


def vary_batch(
  network: Network,
  config: TrainingConfig,
  images: Array,
  targets: Array,
  key: Key,
) -> tuple[Array, Array]:
  """Augments a batch, then mixes it if `config.cutmix` is above 0.

  Args:
    network: knows how many classes there are.
    config: the operations to draw from, and how often batches are mixed.
    images: normalised float32 [N, H, W, D].
    targets: as for `cross_entropy`.
    key: is consumed.

  Returns:
    Images and targets; where batches may be mixed, these are probabilities.
  """
  images = augment_batch(images, config, key)
  if not config.cutmix:
    return images, targets
  classes = count_outputs(network, len(images), images.shape[1:])
  mix_key = jax.random.fold_in(key, _CUTMIX)
  return cutmix(images, targets, mix_key, classes, probability=config.cutmix)


def augment_batch(images: Array, config: TrainingConfig, key: Key) -> Array:
  """Augments by one operation of each stage, with values for each image.

  Args:
    images: normalised float32 [N, H, W, D].
    config: the operations to draw from.
    key: is consumed.
  """
  stages = augment.parse(config.augment)
  keys = augment.stage_keys(key, stages)
  for stage_key, stage in zip(keys, stages, strict=False):
    images = _augment_stage(images, stage, stage_key)
  return images


def _augment_stage(images: Array, stage: augment.Stage, key: Key) -> Array:
  operation_key, values_key = jax.random.split(key)
  operation = augment.sample_operation(operation_key, stage)
  draw = functools.partial(
    augment.sample_values,
    operation=operation,
    stage=stage,
    image_shape=images.shape[1:],
  )
  values = jax.vmap(draw)(jax.random.split(values_key, len(images)))
  return jax.vmap(
    lambda value, image: augment.apply(
      (augment.Augmentation(operation, value),), image, (stage,)
    )
  )(values, images)


def cutmix(
  images: Array,
  targets: Array,
  key: Key,
  classes: int,
  *,
  probability: float = 1.0,
) -> tuple[Array, Array]:
  """Gives all images of a batch the same box of others of it, and their share.

  The cross entropy with the mixed targets is the mean of both images', weighted
  by their areas.

  Args:
    images: float [N, H, W, D].
    targets: as for `cross_entropy`.
    key: is consumed.
    classes: C, that a class is one of.
    probability: of mixing at all, in [0, 1].

  Returns:
    Images, and the probabilities of their classes, float32 [N, C].

  Raises:
    InputError: targets of another shape.

  Source: Yun et al., ICCV 2019, with λ uniform in [0, 1).
  """
  count, height, width, _ = images.shape
  targets = _probabilities(targets, count, classes)
  mix_key, size_key, centre_key, partner_key = jax.random.split(key, 4)
  mixed = jax.random.bernoulli(mix_key, jnp.float32(probability))
  side = jnp.sqrt(1 - jax.random.uniform(size_key, (), jnp.float32))
  side *= mixed.astype(jnp.float32)

  def covered(length: int, key: Key) -> Array:
    half = (side * length).astype(jnp.int32) // 2
    centre = jax.random.randint(key, (), 0, length, jnp.int32)
    pixel = jnp.arange(length, dtype=jnp.int32)
    return (pixel >= centre - half) & (pixel < centre + half)

  row_key, column_key = jax.random.split(centre_key)
  box = covered(height, row_key)[:, None] & covered(width, column_key)[None]
  share = box.mean(dtype=jnp.float32)
  partner = jax.random.permutation(
    partner_key, jnp.arange(count, dtype=jnp.int32)
  )
  images = jnp.where(box[None, ..., None], images[partner], images)
  return images, (1 - share) * targets + share * targets[partner]


def _probabilities(targets: Array, count: int, classes: int) -> Array:
  """Returns targets as probabilities, [N, C]."""
  shape = targets.shape
  if jnp.issubdtype(targets.dtype, jnp.integer):
    fits = shape == (count,)
  else:  # A network may know more classes than there are.
    fits = len(shape) == 2 and shape[0] == count and shape[1] <= classes
  if not fits:
    raise InputError(
      f'CutMix mixes classes, int [{count}], or their probabilities, float'
      f' [{count}, {classes}], got {targets.dtype} {list(shape)}: give one of'
      ' these as targets, or set cutmix to 0'
    )
  if len(shape) == 2:
    return targets
  return jax.nn.one_hot(targets, classes, dtype=jnp.float32)


def update(
  network: Network,
  config: TrainingConfig,
  state: TrainingState,
  images: Array,
  targets: Array,
  rate: AnyArray,
) -> tuple[TrainingState, Array]:
  """Takes one step of SGD on the mean cross entropy.

  Args:
    network: what is trained.
    config: momentum and weight decay.
    state: before the step.
    images: normalised float32 [N, H, W, D], augmented.
    targets: as for `cross_entropy`.
    rate: learning rate, float32 [].

  Returns:
    The state after the step, and the logits [N, C] before it.
  """
  params, rest = _split(state.variables)
  gradient, rest, logits = _gradient(
    network, config.part, params, rest, images, targets
  )
  updates, momentum = _optimizer(config).update(
    gradient, state.momentum, params
  )
  params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
  return TrainingState(_join(params, rest), momentum), logits


def cross_entropy(logits: Array, targets: Array) -> Array:
  """Returns the cross entropy of each image, [N].

  Args:
    logits: [N, C'], of C classes or more.
    targets: the class of each image, int32 [N], or the probabilities of its
      classes, float32 [N, C].
  """
  if jnp.issubdtype(targets.dtype, jnp.integer):
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)
  surplus = logits.shape[-1] - targets.shape[-1]
  return optax.softmax_cross_entropy(
    logits, jnp.pad(targets, ((0, 0), (0, surplus)))
  )


def all_finite(variables: Variables) -> Array:
  """Tells, bool [], whether no number of a network is infinite or NaN."""
  leaves = [
    jnp.isfinite(leaf).all()
    for leaf in jax.tree.leaves(variables)
    if jnp.issubdtype(leaf.dtype, jnp.inexact)
  ]
  return jnp.stack([jnp.bool_(True), *leaves]).all()


def _gradient(
  network: Network, part: int, params, rest, images: Array, targets: Array
):
  """Differentiates the mean cross entropy by the parameters.

  In equal parts of about `part` images, where these give what the batch does.

  Returns:
    The gradient, what else there is of the variables after the batch, and the
    logits [N, C].
  """

  def total(params, images, targets):
    variables = _join(params, rest)
    outputs = network.apply(variables, images, Batch(train=True))
    losses = cross_entropy(outputs.logits, targets)
    _, rest_after = _split(outputs.variables)
    return losses.sum() / count, (rest_after, outputs.logits)

  def whole(images, targets):
    gradient, (rest, logits) = jax.grad(total, has_aux=True)(
      params, images, targets
    )
    return gradient, rest, logits

  def add(gradient, part):
    more, _, logits = whole(*part)
    return jax.tree.map(jnp.add, gradient, more), logits

  count = len(images)
  sizes = [n for n in range(1, part + 1) if count % n == 0]
  # Collections other than constants may change with the batch.
  alone = not network.mixes_images and set(rest or ()) <= {*network.constants}
  if not alone or not sizes or sizes[-1] < part // 2:
    return whole(images, targets)
  parts = [a.reshape(-1, sizes[-1], *a.shape[1:]) for a in (images, targets)]
  zeros = jax.tree.map(jnp.zeros_like, params)
  gradient, logits = lax.scan(add, zeros, tuple(parts))
  return gradient, rest, logits.reshape(count, -1)


def _optimizer(config: TrainingConfig) -> optax.GradientTransformation:
  """PyTorch's SGD, but for the learning rate, which changes by epoch."""
  return optax.chain(
    optax.add_decayed_weights(config.weight_decay),
    optax.trace(config.momentum),
  )


def _split(variables: Variables) -> tuple[Any, dict[str, Any] | None]:
  """Returns what is trained and the rest, None where all is trained."""
  if not (isinstance(variables, Mapping) and 'params' in variables):
    return variables, None
  rest = {k: v for k, v in variables.items() if k != 'params'}
  return variables['params'], rest


def _join(params: Any, rest: dict[str, Any] | None) -> Variables:
  return params if rest is None else {**rest, 'params': params}
