"""What it costs to train the networks of a search together, and alone.

  python benchmarks/family.py --width=32 --depth=3

Six ConvNets that differ in activation and kind of pooling are trained on random
pixels of CIFAR-10's shape, as one family and as networks of their own: seconds
to compile, and seconds of training without compiling, by turns, the median of
the rounds. No data are needed.
"""

import dataclasses
import itertools
import statistics
import time

from absl import flags
import jax
import numpy as np

from benchmarks.start import start
from dm_jax.applications.search import train_networks
from dm_jax.config.sections import EvalConfig, NetworkConfig
from dm_jax.data.class_data import ClassData
from dm_jax.devices.compile_clock import compile_seconds
from dm_jax.networks.registry import make_network
from dm_jax.selection.select import select_classes
from dm_jax.training.evaluate import evaluate

_WIDTH = flags.DEFINE_integer('width', 32, 'Channels.')
_DEPTH = flags.DEFINE_integer('depth', 3, 'Layers.')
_NORM = flags.DEFINE_string('norm', 'instance', 'See network.norm.')
_EPOCHS = flags.DEFINE_integer('epochs', 20, 'Of 100 images.')
_ROUNDS = flags.DEFINE_integer('rounds', 3, 'Timed ones.', lower_bound=1)
_KEY = jax.random.key(0)


def main(argv: list[str]) -> None:
  del argv
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (200, 32, 32, 3), np.uint8)
  labels = np.arange(200) % 10
  data = ClassData.from_arrays(images, labels)
  chosen = select_classes(data, 'random', 10, key=_KEY)
  config = EvalConfig(networks=1, epochs=_EPOCHS.value - 1)
  base = NetworkConfig(width=_WIDTH.value, depth=_DEPTH.value, norm=_NORM.value)
  members = [
    dataclasses.replace(base, activation=activation, pooling=pooling)
    for activation, pooling in itertools.product(
      ('sigmoid', 'relu', 'leaky_relu'), ('max', 'avg')
    )
  ]

  def together() -> None:
    list(train_networks(members, chosen, images, labels, config, key=_KEY))

  def alone() -> None:
    for member in members:
      network = make_network(
        member, image_shape=data.image_shape, classes=data.classes
      )
      evaluate(chosen, images, labels, config, key=_KEY, network=network)

  ways = {'together': together, 'alone': alone}
  compiled, seconds = {}, {name: [] for name in ways}
  for name, train in ways.items():
    before = compile_seconds()
    train()
    compiled[name] = compile_seconds() - before
  for _ in range(_ROUNDS.value):
    for name, train in ways.items():
      started = time.perf_counter()
      train()
      seconds[name].append(time.perf_counter() - started)
  for name in ways:
    print(
      f'{name}: {compiled[name]:.1f} s to compile,'
      f' {statistics.median(seconds[name]):.2f} s to train six networks'
    )


if __name__ == '__main__':
  start(main)
