"""Trains networks on the real images, and notes what they forget."""

from collections.abc import Callable, Collection, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from dm_jax.config.sections import PretrainConfig
from dm_jax.data.class_data import ClassData, check_whole
from dm_jax.devices.arrangement import get_arrangement
from dm_jax.devices.layout import ClassLayout, lay_out
from dm_jax.devices.pace import A_SECOND, Pace
from dm_jax.errors import InputError
from dm_jax.images.augment import parse
from dm_jax.images.normalise import normalise
from dm_jax.networks.outputs import check_outputs
from dm_jax.training import step as training
from dm_jax.training.step import TrainingConfig, TrainingState
from dm_jax.types import AnyArray, Array, Key, Network, Variables

# Gets (steps done, steps in all, variables after those done).
Callback = Callable[[int, int, Variables], None]


@dataclasses.dataclass(frozen=True)
class Trained:
  """A network after its training, and how that went for each image.

  Attributes:
    variables: of the network.
    events: int32 [N], how often an image was wrong, having been right when the
      network saw it before; in the order of `flatten`.
    learned: bool [N], whether it was ever right.
    seen: bool [N], whether the network ever saw it: an epoch leaves out what
      fills no batch.
  """

  variables: Variables
  events: np.ndarray
  learned: np.ndarray
  seen: np.ndarray


class _Inputs(NamedTuple):
  """What training reads and never changes; the images stay uint8."""

  images: Array
  labels: Array


class _Progress(NamedTuple):
  """What changes from step to step.

  Attributes:
    order_key: the order of every epoch follows from it.
    batches_key: as the augmentation of every batch does from this.
    state: the network in training.
    order: int32 [N], that in which this epoch takes the images.
    right: bool [N], whether an image was right when it was seen last.
    events: as in `Trained`.
    learned: as in `Trained`.
    seen: as in `Trained`.
  """

  order_key: Key
  batches_key: Key
  state: TrainingState
  order: Array
  right: Array
  events: Array
  learned: Array
  seen: Array


def flatten(data: ClassData) -> tuple[AnyArray, np.ndarray]:
  """Returns the real images without padding, class by class.

  Args:
    data: grouped by class.

  Returns:
    Images uint8 [N, H, W, D], NumPy or JAX as they were, and labels int32 [N].
  """
  counts = np.asarray(data.counts)
  capacity = data.images.shape[1]
  images = data.images.reshape(-1, *data.image_shape)
  labels = np.repeat(np.arange(data.classes, dtype=np.int32), counts)
  if len(labels) == len(images):
    return images, labels
  real = np.arange(capacity)[None] < counts[:, None]
  return images[np.flatnonzero(real)], labels


def total_steps(data: ClassData, config: PretrainConfig) -> int:
  """Returns the steps that training on these images takes."""
  images = int(np.sum(data.counts))
  return config.epochs * (images // min(config.batch_size, images))


def pretrain(
  network: Network,
  data: ClassData,
  config: PretrainConfig,
  key: Key,
  *,
  callback: Callback | None = None,
  stops: Collection[int] = (),
  pace: Pace = A_SECOND,
) -> Trained:
  """Trains a fresh network on all real images.

  Each epoch takes the images in a new random order, in whole batches, and
  leaves out what is left over. An image counts as right if the network
  classifies it, augmented and mixed, as its own class in the step that trains
  on it, before the update.

  Args:
    network: what to train.
    data: the real images; they stay uint8, only batches are normalised.
    config: how.
    key: every draw follows from it; is consumed.
    callback: gets (steps done, steps in all, variables) between compiled calls,
      about once a second; the variables are its to keep. What it raises ends
      the training.
    stops: steps after which the callback comes in any case, 0 before the
      first. They change no result.
    pace: how long the compiled calls are.

  Returns:
    The network after its last step, and what it forgot on the way.

  Raises:
    InputError: an unknown augmentation, classes that are not held here, or the
      network diverged.

  Source: forgetting events as in Toneva et al., ICLR 2019.
  """
  one = None
  if callback is not None:

    def one(done: int, total: int, variables: Variables) -> None:
      callback(done, total, row(variables, 0))

  return pretrain_each(
    network,
    data,
    config,
    key[None],
    callback=one,
    stops=stops,
    devices=jax.local_devices()[:1],
    pace=pace,
  )[0]


def pretrain_each(
  network: Network,
  data: ClassData,
  config: PretrainConfig,
  keys: Key,
  *,
  callback: Callback | None = None,
  stops: Collection[int] = (),
  devices: Sequence[Any] | None = None,
  pace: Pace = A_SECOND,
) -> list[Trained]:
  """Does what `pretrain` does for several networks, sharded over the devices.

  Those of one device are trained one after the other inside a compiled call.

  Args:
    network: as for `pretrain`.
    data: as for `pretrain`; every device in use holds them.
    config: as for `pretrain`.
    keys: one for each network, [M].
    callback: as for `pretrain`; steps are those of each network, and the
      variables have a leading M.
    stops: as for `pretrain`.
    devices: which to use; None for all local ones.
    pace: as for `pretrain`.

  Returns:
    M networks and what they forgot, up to rounding the same on any number of
    devices.

  Raises:
    InputError: as for `pretrain`.
  """
  parse(config.augment)
  check_whole(data, 'training on the real images')
  batch = min(config.batch_size, int(np.sum(data.counts)))
  check_outputs(network, batch, data.image_shape, data.classes)
  layout = lay_out(len(keys), devices)
  part = get_arrangement(layout.platform).part
  init, advance = _pretraining_programs(
    network, TrainingConfig.of(config, part), (data.mean, data.std), layout
  )
  total, done, ahead = total_steps(data, config), 0, 1
  inputs = _Inputs(*layout.deal(flatten(data), None))
  progress, _ = init(layout.deal(keys, 0, donated=True), inputs)

  def report(done: int) -> None:
    if callback is not None:
      callback(done, total, layout.gather(progress.state.variables, 0))

  if 0 in stops:
    report(0)
  ends = sorted({*stops, total} - {0})
  while done < total:
    started = pace.clock()
    end = next(stop for stop in ends if stop > done)
    count = min(ahead, end - done)
    progress, finite = advance(
      progress, inputs, np.int32(done), np.int32(count)
    )
    finite = layout.gather_last(finite).all()  # Waits, too.
    seconds = pace.clock() - started
    if not finite:
      raise InputError(
        f'training on the real images diverged after step {done} of {total}'
        f' with pretrain.learning_rate {config.learning_rate}: choose a'
        ' smaller one',
        setting='pretrain.learning_rate',
      )
    done += count
    report(done)
    ahead = pace.next_count(count, seconds, most=total)
  variables = layout.gather(progress.state.variables, 0)
  noted = [
    np.asarray(layout.gather(each, 0))
    for each in (progress.events, progress.learned, progress.seen)
  ]
  return [
    Trained(row(variables, i), *(each[i] for each in noted))
    for i in range(len(keys))
  ]


def row(variables: Variables, index: int) -> Variables:
  """Returns the variables of one network, of leaves [M, ...]."""
  return jax.tree.map(lambda leaf: leaf[index], variables)


@functools.lru_cache(maxsize=8)
def _pretraining_programs(
  network: Network, config: TrainingConfig, statistics, layout: ClassLayout
):
  """Init and advance, compiled: equal settings and layouts share them."""
  init = functools.partial(_init, network, config)
  advance = functools.partial(_advance_each, network, config, statistics)
  return (
    layout.map(init, (0, None)),
    layout.map(advance, (0, None, None, None)),
  )


def _init(network: Network, config: TrainingConfig, keys: Key, inputs: _Inputs):
  """Keys of a device's networks -> (how they start, nothing)."""
  count = len(inputs.labels)

  def one(key: Key) -> _Progress:
    init_key, order_key, batches_key = jax.random.split(key, 3)
    return _Progress(
      order_key,
      batches_key,
      training.init_training(network, config, init_key),
      order=jnp.zeros(count, jnp.int32),
      right=jnp.zeros(count, bool),
      events=jnp.zeros(count, jnp.int32),
      learned=jnp.zeros(count, bool),
      seen=jnp.zeros(count, bool),
    )

  return lax.map(one, keys), ()


def _advance_each(
  network: Network,
  config: TrainingConfig,
  statistics,
  progress: _Progress,
  inputs: _Inputs,
  first: Array,
  count: Array,
) -> tuple[_Progress, Array]:
  """Takes steps with a device's networks; tells which are finite."""

  def one(progress: _Progress) -> tuple[_Progress, Array]:
    after = _advance(
      network, config, statistics, progress, inputs, first, count
    )
    return after, training.all_finite(after.state.variables)

  return lax.map(one, progress)


def _advance(
  network: Network,
  config: TrainingConfig,
  statistics,
  progress: _Progress,
  inputs: _Inputs,
  first: Array,
  count: Array,
) -> _Progress:
  """Takes `count` steps from step `first` on."""
  images = len(inputs.labels)
  size = min(config.batch_size, images)
  batches = images // size

  def step(number, progress: _Progress) -> _Progress:
    epoch, place = number // batches, number % batches
    order = lax.cond(
      place == 0,
      lambda: jax.random.permutation(
        jax.random.fold_in(progress.order_key, epoch),
        jnp.arange(images, dtype=jnp.int32),
      ),
      lambda: progress.order,
    )
    rows = lax.dynamic_slice_in_dim(order, place * size, size)
    batch, labels = normalise(inputs.images[rows], *statistics), inputs.labels
    batch_key = jax.random.fold_in(progress.batches_key, number)
    varied = training.vary_batch(
      network, config, batch, labels[rows], batch_key
    )
    rate = training.learning_rate(epoch, config)
    state, logits = training.update(
      network, config, progress.state, *varied, rate
    )
    right = lax.argmax(logits, logits.ndim - 1, jnp.int32) == labels[rows]
    return _note(progress, rows, right)._replace(state=state, order=order)

  return lax.fori_loop(first, first + count, step, progress)


def _note(progress: _Progress, rows: Array, right: Array) -> _Progress:
  """Notes which images were right as the network saw them now."""
  forgotten = progress.right[rows] & ~right
  return progress._replace(
    right=progress.right.at[rows].set(right),
    events=progress.events.at[rows].add(forgotten.astype(jnp.int32)),
    learned=progress.learned.at[rows].max(right),
    seen=progress.seen.at[rows].set(True),
  )
