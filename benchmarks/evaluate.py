"""Measures training M networks on one set: one by one, mapped, vectorised.

  python benchmarks/evaluate.py --networks=convnet,resnet18 --width=128

Prints, for each network and each number of images per class, the seconds that
one network takes for one epoch

  one by one  a compiled step for each batch, called from Python, one network
              after the other: the plainest way,
  mapped      as dm_jax.evaluate does it: epochs and networks loop inside one
              compiled call,
  vectorised  the same with the networks under vmap,

the quotient of the first two, and which share of a matrix product's rate the
mapped way reaches (the operations are three times those that XLA counts for a
forward pass). Pixels are random, batches at most 256, augmented as by default.
The ways take turns; figures are medians.
"""

from collections.abc import Callable
import functools
import operator
import statistics
import time

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.rates import embed_flops, matrix_rate
from benchmarks.start import start, whole_numbers
from dm_jax import make_network
from dm_jax.config.sections import EvalConfig
from dm_jax.devices.arrangement import get_arrangement
from dm_jax.run.facts import describe_machine
from dm_jax.training import step as training

_NETWORKS = flags.DEFINE_list(
  'networks', ['convnet', 'resnet18'], 'Names of networks.'
)
_WIDTH = flags.DEFINE_integer('width', 128, 'See NetworkConfig.width.')
_SIZES = flags.DEFINE_list('images_per_class', ['1', '10', '50'], 'Set sizes.')
_COUNT = flags.DEFINE_integer('count', 4, 'Networks trained, M.')
_ROUNDS = flags.DEFINE_integer(
  'rounds', 5, 'Measurements of each way.', lower_bound=1
)
_EPOCHS = flags.DEFINE_integer('epochs', 1, 'Epochs in a measurement.')
_VECTORISED = flags.DEFINE_boolean('vectorised', True, 'Measure vmap, too.')
_CLASSES = 10
_SHAPE = (32, 32, 3)


def train(network, config, images, labels, state, key):
  """Trains one network for the epochs of a measurement."""

  def body(epoch, state):
    return training.train_epoch(
      network,
      config,
      state,
      images,
      labels,
      epoch,
      jax.random.fold_in(key, epoch),
    )

  epochs = jnp.int32(_EPOCHS.value)
  return jax.lax.fori_loop(jnp.int32(0), epochs, body, state)


def one_by_one(network, config, images, labels) -> Callable:
  """Returns (states, keys) -> new states, a Python loop over the batches."""
  size = min(config.batch_size, len(labels))

  @jax.jit
  def step(state, indices, key):
    batch = training.augment_batch(images[indices], config, key)
    rate = jnp.float32(config.learning_rate)
    return training.update(
      network, config, state, batch, labels[indices], rate
    )[0]

  def train_one(state, key):
    for epoch in range(_EPOCHS.value):
      epoch_key = jax.random.fold_in(key, epoch)
      order = jax.random.permutation(epoch_key, len(labels))
      for first in range(0, len(labels), size):
        indices = order[first : first + size]
        batch_key = jax.random.fold_in(epoch_key, first)
        state = step(state, indices, batch_key)
    return state

  def call(states, keys):
    return [train_one(s, k) for s, k in zip(states, keys, strict=True)]

  return call


def seconds(call: Callable, *args) -> float:
  started = time.perf_counter()
  jax.block_until_ready(call(*args))
  count = _COUNT.value * _EPOCHS.value
  return (time.perf_counter() - started) / count


def measure(name: str, per_class: int) -> str:
  network = make_network(
    name, image_shape=_SHAPE, classes=_CLASSES, width=_WIDTH.value
  )
  part = get_arrangement(jax.devices()[0].platform).part
  config = training.TrainingConfig.of(EvalConfig(), part)
  random = np.random.default_rng(0)
  pixels = random.standard_normal((_CLASSES * per_class, *_SHAPE), np.float32)
  images = jnp.asarray(pixels)
  labels = jnp.repeat(jnp.arange(_CLASSES, dtype=jnp.int32), per_class)
  keys = jax.random.split(jax.random.key(0), _COUNT.value)
  init = functools.partial(training.init_training, network, config)
  together = jax.jit(jax.vmap(init))(keys)
  apart = [
    jax.tree.map(operator.itemgetter(i), together) for i in range(len(keys))
  ]
  one = functools.partial(train, network, config, images, labels)
  ways: dict[str, tuple] = {
    'one by one': (one_by_one(network, config, images, labels), apart, keys),
    'mapped': (
      jax.jit(lambda s, k: jax.lax.map(lambda a: one(*a), (s, k))),
      together,
      keys,
    ),
  }
  if _VECTORISED.value:
    ways['vectorised'] = (jax.jit(jax.vmap(one)), together, keys)
  for way in ways.values():
    seconds(*way)  # Compiles.
  spent: dict[str, list[float]] = {name: [] for name in ways}
  rates = [matrix_rate()]
  for _ in range(_ROUNDS.value):
    for way, call in ways.items():
      spent[way].append(seconds(*call))
    rates.append(matrix_rate())
  return _row(name, per_class, network, spent, statistics.median(rates))


def _row(name, per_class, network, spent, rate) -> str:
  middle = {way: statistics.median(times) for way, times in spent.items()}
  flops = 3 * embed_flops(network, _SHAPE) * _CLASSES * per_class
  figures = [f'{middle[way]:.4f}' for way in middle]
  if 'vectorised' not in middle:
    figures.append('–')
  faster = middle['one by one'] / middle['mapped']
  share = flops / middle['mapped'] / rate
  return (
    f'| {name} | {per_class} | {" | ".join(figures)} | {faster:.2f} |'
    f' {share:.0%} |'
  )


def main(argv: list[str]) -> None:
  del argv
  sizes = whole_numbers(_SIZES)
  machine = describe_machine()
  print(
    f'{machine["device"]}, jax {jax.__version__}, width {_WIDTH.value},'
    f' {_COUNT.value} networks, median of {_ROUNDS.value}'
  )
  print(
    '| network | per class | one by one, s | mapped, s | vectorised, s |'
    ' one by one / mapped | share of matrix rate |'
  )
  print('|---|---|---|---|---|---|---|')
  for name in _NETWORKS.value or []:
    for per_class in sizes:
      print(measure(name, per_class), flush=True)


if __name__ == '__main__':
  start(main)
