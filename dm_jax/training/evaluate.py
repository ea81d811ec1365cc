"""Judges a synthetic set: trains fresh networks on it alone and tests them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
from typing import Any, NamedTuple
import warnings

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from dm_jax.arguments import HOW_TO_LOAD, as_key, check_type, refuse_traced
from dm_jax.config.sections import EvalConfig
from dm_jax.data.arrays import check_images, check_labels
from dm_jax.devices.arrangement import get_arrangement
from dm_jax.devices.layout import ClassLayout, lay_out
from dm_jax.devices.pace import A_SECOND, Pace
from dm_jax.errors import InputError
from dm_jax.images.augment import parse
from dm_jax.networks.linen import AnyNetwork, as_network
from dm_jax.networks.outputs import check_outputs
from dm_jax.networks.registry import make_network, paper_network
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training import step as training
from dm_jax.training.features import count_correct, pad_test
from dm_jax.training.step import TrainingConfig
from dm_jax.types import AnyArray, AnyKey, Array, Key, Network


@dataclasses.dataclass(frozen=True)
class EvalResult:
  """Test accuracies of networks that were trained on one set.

  Attributes:
    accuracies: one for each network, in [0, 1], after the last epoch.
    correct: for each network the correctly classified test images of class 0 to
      C - 1; empty where it is not known.
    finite: for each network whether it is after training; one that diverged
      finds the first class everywhere. Empty where it is not known.
  """

  accuracies: tuple[float, ...]
  correct: tuple[tuple[int, ...], ...] = ()
  finite: tuple[bool, ...] = ()

  def __repr__(self) -> str:
    return (
      f'EvalResult(mean={self.mean:.4g}, std={self.std:.4g},'
      f' networks={len(self.accuracies)})'
    )

  @property
  def mean(self) -> float:
    return float(np.mean(self.accuracies))

  @property
  def std(self) -> float:
    """The deviation over the networks (of this population, as the paper's)."""
    return float(np.std(self.accuracies))

  @property
  def diverged(self) -> int:
    """How many networks did in training."""
    return self.finite.count(False)


class NetworksDiverged(UserWarning):
  """Some networks diverged in training; `EvalResult.diverged` counts them."""


@contextlib.contextmanager
def untold() -> Iterator[None]:
  """Leaves it to the caller to warn of networks that diverged."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', NetworksDiverged)
    yield


class _Labelled(NamedTuple):
  """Images and what is learned from each; all networks share them."""

  images: Array
  targets: Array


class _Programs(NamedTuple):
  """Functions of dealt networks; each is compiled once for all its calls."""

  init: Callable
  advance: Callable
  test: Callable


def evaluate(
  synthetic: SyntheticSet,
  test_images: AnyArray,
  test_labels: AnyArray,
  config: EvalConfig = EvalConfig(),
  *,
  key: AnyKey,
  network: AnyNetwork | None = None,
  callback: Callable[[int, int], None] | None = None,
  first: int = 0,
  devices: Sequence[Any] | None = None,
) -> EvalResult:
  """Trains fresh networks on a set alone and tests each after its last epoch.

  The networks are sharded over the devices, which changes no draw.

  Args:
    synthetic: what to train on, with the statistics that normalised it.
    test_images: uint8 [N, H, W, D] or float in [0, 1].
    test_labels: int [N].
    config: the protocol; its default is the original's.
    key: every draw follows from it, a key or a whole number that seeds one
      (`arguments.as_key`); is consumed.
    network: what to train, a `Network` or a Linen module; None is the ConvNet
      that `config.network` describes, the paper's where it says nothing.
    callback: gets (epochs done, epochs in all), summed over the networks,
      between compiled calls. What it raises ends the evaluation.
    first: number of the first network. A network depends on its number and the
      key alone: two calls of three give the same as one call of six.
    devices: which to use; None for all local ones.

  Returns:
    The accuracy of every network. A warning tells how many diverged: those
    find the first class everywhere.

  Raises:
    InputError: the test data do not fit the set, or a setting is unknown.

  Example:
    result = dm_jax.evaluate(synthetic, test_images, test_labels,
                             dm_jax.EvalConfig(networks=5, epochs=300),
                             key=jax.random.key(1))
  """
  refuse_traced('evaluate', synthetic, test_images, test_labels, key)
  check_type('synthetic', synthetic, SyntheticSet, remedy=HOW_TO_LOAD)
  check_type('config', config, EvalConfig)
  key = as_key(key)
  image_shape = synthetic.image_shape
  network = network or make_network(
    config.network.resolve(paper_network(image_shape)),
    image_shape=image_shape,
    classes=synthetic.classes,
  )
  fold = jax.vmap(jax.random.fold_in, (None, 0))
  numbers = first + jnp.arange(config.networks, dtype=jnp.int32)
  return evaluate_each(
    synthetic,
    test_images,
    test_labels,
    config,
    keys=fold(key, numbers),
    network=as_network(network, image_shape),
    callback=callback,
    devices=devices,
  )


def evaluate_each(
  synthetic: SyntheticSet,
  test_images: AnyArray,
  test_labels: AnyArray,
  config: EvalConfig = EvalConfig(),
  *,
  keys: Key,
  network: Network,
  constants: Mapping[str, Any] | None = None,
  callback: Callable[[int, int], None] | None = None,
  devices: Sequence[Any] | None = None,
  pace: Pace = A_SECOND,
) -> EvalResult:
  """`evaluate`, with a key, and if need be constants, for each network.

  Args:
    synthetic: as for `evaluate`.
    test_images: as for `evaluate`.
    test_labels: as for `evaluate`.
    config: as for `evaluate`, but for `network` and `networks`.
    keys: one for each network, [M].
    network: what to train.
    constants: of each network, see `Network.constants`; leaves [M, ...]. None
      leaves those that `init` makes.
    callback: as for `evaluate`.
    devices: as for `evaluate`.
    pace: how long the compiled calls are.

  Returns:
    The accuracy of every network.

  Raises:
    InputError: as for `evaluate`.
  """
  protocol = config.training
  parse(protocol.augment)
  test_images = check_images(test_images, 'test images')
  test_labels = check_labels(
    test_labels,
    'test labels',
    count=len(test_images),
    classes=synthetic.classes,
  )
  if test_images.shape[1:] != synthetic.image_shape:
    raise InputError(
      f'the synthetic images have shape {synthetic.image_shape}, the test'
      f' images {test_images.shape[1:]}: evaluate on the data it was made from'
    )
  training_set = _Labelled(synthetic.images, synthetic.training_targets)
  count = len(training_set.images)
  batch = min(protocol.batch_size, count)
  shape, classes = synthetic.image_shape, synthetic.classes
  check_outputs(network, batch, shape, classes)
  check_batches(network, count, protocol.batch_size)
  layout = lay_out(len(keys), devices)
  training_config = TrainingConfig.of(
    config, get_arrangement(layout.platform).part
  )
  together = networks_together(config, count, layout.platform)
  statistics = (synthetic.mean, synthetic.std)
  counts, finite = _train_and_test(
    _evaluation_programs(
      network, training_config, statistics, layout, together
    ),
    layout,
    config.epochs_run,
    (keys, dict(constants or {})),
    training_set,
    _Labelled(*pad_test(test_images, test_labels)),
    callback,
    pace,
  )
  counts = counts[: synthetic.classes].T
  accuracies = counts.sum(1) / len(test_labels)
  result = EvalResult(
    tuple(accuracies.tolist()),
    tuple(map(tuple, counts.tolist())),
    tuple(finite.tolist()),
  )
  if result.diverged:
    warnings.warn(
      told_of_diverged(
        result.diverged, len(finite), training_config.learning_rate
      ),
      NetworksDiverged,
      stacklevel=3,  # Who called `evaluate`.
    )
  return result


def networks_together(config: EvalConfig, images: int, platform: str) -> int:
  """Returns how many networks a device trains at once, at the most.

  Args:
    config: what `networks_at_once` says wins.
    images: N of the set that is trained on.
    platform: of the device, see `devices.arrangement`.
  """
  if config.networks_at_once:
    return config.networks_at_once
  arrangement = get_arrangement(platform)
  if not arrangement.training_images:
    return arrangement.networks
  batch = min(config.training.batch_size, images)
  return min(arrangement.networks, max(arrangement.training_images // batch, 1))


def check_batches(network: Network, images: int, batch_size: int) -> None:
  """Raises InputError if a batch norm would see a batch of one image."""
  size = min(batch_size, images)
  if network.mixes_images and (size == 1 or images % size == 1):
    raise InputError(
      f'batch norm needs more than one image in a batch: of {images} images,'
      f' evaluate.batch_size {batch_size} leaves one for the last; use another'
      " batch size, or network.norm 'instance'"
    )


def _train_and_test(
  programs: _Programs,
  layout: ClassLayout,
  total: int,
  starts: tuple[Key, dict[str, Any]],
  training_set: _Labelled,
  test_set: _Labelled,
  callback,
  pace: Pace,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns correctly classified test images, int32 [C, M], and who is finite.

  The networks of a device are trained inside a compiled call, one after the
  other or `networks_together` at once: mapping over their parameters turns
  every convolution into a grouped one, which a CPU computes slowly.
  """
  networks = len(starts[0])
  state, _ = programs.init(layout.deal(starts, 0, donated=True))
  held = layout.deal(training_set, None)
  done, count = 0, 1
  while done < total:
    started = pace.clock()
    state, _ = programs.advance(state, held, jnp.int32(done), jnp.int32(count))
    jax.block_until_ready(state)
    seconds = pace.clock() - started
    done += count
    if callback is not None:
      callback(done * networks, total * networks)
    count = pace.next_count(count, seconds, most=total - done)
  _, found = programs.test(state, layout.deal(test_set, None))
  found = layout.gather_last(found)
  return found[:-1], found[-1].astype(bool)


def told_of_diverged(diverged: int, networks: int, learning_rate: float) -> str:
  """Returns a line on networks that a reader would take for bad ones."""
  return (
    f'{diverged} of {networks} networks diverged in training at'
    f' evaluate.learning_rate {learning_rate} and find the first class'
    ' everywhere, which their accuracy is: choose a smaller one'
  )


@functools.lru_cache(maxsize=32)
def _evaluation_programs(
  network: Network,
  config: TrainingConfig,
  statistics,
  layout: ClassLayout,
  together: int,
) -> _Programs:
  """Compiled functions: equal settings and layouts share them."""
  init = functools.partial(_init, network, config)
  advance = functools.partial(_advance, network, config, together)
  test = functools.partial(_test, network, statistics)
  return _Programs(
    init=layout.map(init, (0,)),
    advance=layout.map(advance, (0, None, None, None)),
    test=layout.map(test, (0, None)),
  )


def _init(network: Network, config: TrainingConfig, starts):
  """(keys, constants) -> ((keys, fresh networks), nothing)."""

  def one(start):
    key, constants = start
    init_key = jax.random.split(key)[0]
    state = training.init_training(network, config, init_key)
    if not constants:  # Variables may be no dict then.
      return state
    variables = {**state.variables, **constants}
    return dataclasses.replace(state, variables=variables)

  return (starts[0], jax.vmap(one)(starts)), ()


def _advance(
  network, config, together, state, training_set: _Labelled, first, count
):
  """Trains every network for `count` epochs from epoch `first` on."""

  def one(args):
    key, trained = args
    train_key = jax.random.split(key)[1]

    def body(epoch, trained):
      return training.train_epoch(
        network,
        config,
        trained,
        *training_set,
        epoch,
        jax.random.fold_in(train_key, epoch),
      )

    return lax.fori_loop(first, first + count, body, trained)

  # Not 1: a batch of one would be mapped over its parameters as well.
  batch = together if together > 1 else None
  return (state[0], lax.map(one, state, batch_size=batch)), ()


def _test(network, statistics, state, test_set: _Labelled):
  """Counts what every network classifies correctly, and tells if it is finite.

  The state is unchanged; the last of a network's counts is 0 if it diverged.
  """

  def one(trained):
    correct = count_correct(network, trained.variables, *test_set, *statistics)
    finite = training.all_finite(trained.variables)
    return jnp.append(correct, finite.astype(jnp.int32))

  return state, lax.map(one, state[1]).T  # The networks come last.
