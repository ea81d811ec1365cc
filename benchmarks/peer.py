"""Measures dm_jax beside the same algorithm as a plain PyTorch loop.

  pip install -e '.[bench]'
  python benchmarks/peer.py --what=condense,evaluate --rounds=7

Both run in one process, on the device that JAX uses and with as many threads,
and take turns; figures are medians. Pixels are random, of CIFAR-10's shape.

  condense  a whole step of --recipe: paper, with a fresh random ConvNet, a real
            batch and an augmentation for each class, the loss, its gradient,
            the update; or trajectory, with snapshots of trainings, tiles and a
            cross entropy (the snapshots are random networks here),
  evaluate  training ConvNets on a synthetic set and testing each on 256 images.

Compiling is not counted. Before anything is timed, it is checked that both
compute the same.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import math
import os
import shlex
import statistics
import sys
import time
from typing import Any, NamedTuple

from absl import flags
import jax
import numpy as np
import torch

from benchmarks import peer_torch, peer_trajectory
from benchmarks.peer_check import check, random_data
from benchmarks.portable import portable_command
from benchmarks.rates import count_threads
from benchmarks.start import start
import dm_jax
from dm_jax.condensing import loop
from dm_jax.condensing.condense import condense_classes
from dm_jax.errors import choose
from dm_jax.files import full_path, write_json
from dm_jax.images.normalise import normalise
from dm_jax.matching.optimizer import resolve_optimizer
from dm_jax.run.facts import describe_machine
from dm_jax.synthetic_set import package_versions
from dm_jax.training.embedders import Pool, snapshots_held

_WHAT = flags.DEFINE_list('what', ['condense', 'evaluate'], 'What to measure.')
_ROUNDS = flags.DEFINE_integer(
  'rounds', 7, 'Measurements of each.', lower_bound=1
)
_WIDTH = flags.DEFINE_integer('width', 128, 'See NetworkConfig.width.')
_RECIPE = flags.DEFINE_enum(
  'recipe', 'paper', ['paper', 'trajectory'], 'Whose step condense measures.'
)
_BATCH = flags.DEFINE_integer(
  'batch_real', None, "Real images per class; by default the recipe's."
)
_SIZE = flags.DEFINE_integer('images_per_class', 10, 'Synthetic images.')
_CLASSES = flags.DEFINE_integer('classes', 10, 'Classes.')
_REAL = flags.DEFINE_integer('real', 5000, 'Images per class to draw from.')
_NETWORKS = flags.DEFINE_integer('networks', 5, 'Networks trained.')
_EPOCHS = flags.DEFINE_integer('epochs', 50, 'Epochs that each is trained.')
_RECORD = flags.DEFINE_string('record', None, 'JSON file to write.')
_TESTS = 256  # Images that a trained network is tested on.
_ENDLESS = 10**9
_SECONDS = 1.0  # Of PyTorch's steps in a round, as of the library's.


class _Enough(Exception):
  """Ends the measurement."""


class Times(NamedTuple):
  """Seconds of each round."""

  ours: list[float]
  theirs: list[float]


def seconds(call: Callable[[], Any], device) -> float:
  """Times a call, until a GPU has done what PyTorch gave it."""
  started = time.perf_counter()
  call()
  if device.type == 'cuda':
    torch.cuda.synchronize()
  return time.perf_counter() - started


def make_network() -> dm_jax.Network:
  return dm_jax.make_network(
    'convnet',
    image_shape=peer_torch.SHAPE,
    classes=_CLASSES.value,
    width=_WIDTH.value,
  )


def get_recipe() -> dm_jax.Recipe:
  """Returns the recipe, with the flags' sizes and an end far away."""
  recipe = dm_jax.recipe(
    _RECIPE.value,
    image_shape=peer_torch.SHAPE,
    images_per_class=_SIZE.value,
  )
  condense = dataclasses.replace(
    recipe.condense,
    batch_real=_BATCH.value or recipe.condense.batch_real,
    steps=_ENDLESS,
    log_every=_ENDLESS,
  )
  return peer_trajectory.as_published(
    dataclasses.replace(recipe, condense=condense)
  )


def make_torch_step(
  data: dm_jax.ClassData, recipe: dm_jax.Recipe, device
) -> Callable[[], Any]:
  """Returns a function that takes a step on its own synthetic images."""
  real = peer_torch.RealImages.from_classes(
    data.images, data.mean, data.std, device
  )
  start = [real.draw(label, _SIZE.value) for label in range(data.classes)]
  synthetic = torch.stack(start).requires_grad_()
  config, width, classes = recipe.condense, _WIDTH.value, data.classes
  if recipe.embedder.name == 'random':
    side, batch = peer_torch.SHAPE[0], config.batch_real
    optimizer = peer_torch.make_pixel_optimizer(synthetic)
    draw = functools.partial(peer_torch.draw_augmentation, 1, device)

    def step():
      network = peer_torch.make_convnet(width, classes, side, device)
      peer_torch.match(network, real, synthetic, optimizer, batch, draw)

    return step

  optimizer = peer_trajectory.make_pixel_optimizer(
    synthetic, resolve_optimizer(config, make_network())
  )
  pool = peer_trajectory.make_pool(recipe, width, classes, device)

  def draw():
    drawn = peer_trajectory.sample(config.augment, device)
    return functools.partial(peer_trajectory.augment_by, drawn)

  def step():
    pair = peer_trajectory.draw_pair(pool, recipe.embedder.ahead)
    peer_trajectory.match(pair, real, synthetic, optimizer, config, draw)

  return step


def make_embedder(recipe: dm_jax.Recipe) -> Any:
  """Returns what draws from as many networks as the recipe keeps, untrained."""
  if recipe.embedder.name == 'random':
    return None
  count = snapshots_held(recipe.embedder, recipe.pretrain)
  keys = jax.random.split(jax.random.key(0), count)
  init = jax.jit(functools.partial(jax.lax.map, make_network().init))
  epochs = np.tile(
    np.arange(recipe.pretrain.epochs + 1.0), recipe.embedder.networks
  )
  pool = Pool(init(keys), np.full(count, np.nan), epochs)
  return pool.embedder(recipe.embedder)


def measure_condense(device) -> Times:
  """Seconds per step: PyTorch's between the library's compiled calls."""
  data = random_data(_CLASSES.value, _REAL.value, peer_torch.SHAPE[0])
  recipe = get_recipe()
  step = make_torch_step(data, recipe, device)
  times = Times([], [])

  def steps(count: int) -> None:
    for _ in range(count):
      step()

  def callback(state, metrics: loop.Metrics) -> None:
    jax.block_until_ready(state.images)
    times.ours.append(metrics.seconds / len(metrics.losses))
    last = times.theirs[-1] if times.theirs else math.inf
    count = max(1, int(_SECONDS / last))
    call = functools.partial(steps, count)
    times.theirs.append(seconds(call, device) / count)
    if len(times.ours) > _ROUNDS.value:
      raise _Enough

  with contextlib.suppress(_Enough):
    condense_classes(
      data,
      recipe.condense,
      key=jax.random.key(0),
      network=make_network(),
      callback=callback,
      embedder=make_embedder(recipe),
      devices=jax.local_devices()[:1],
    )
  return times


def measure_evaluate(device) -> Times:
  """Seconds in which all networks are trained and tested."""
  data = random_data(_CLASSES.value, _SIZE.value, peer_torch.SHAPE[0])
  images = normalise(data.images, data.mean, data.std)
  synthetic = dm_jax.SyntheticSet.from_classes(images, data, {})
  draw = np.random.default_rng(1).integers
  tests = draw(0, 256, (_TESTS, *peer_torch.SHAPE), np.uint8)
  test_labels = draw(0, data.classes, _TESTS)
  # The library runs one epoch more than this says, as the original does.
  config = dm_jax.EvalConfig(networks=_NETWORKS.value, epochs=_EPOCHS.value - 1)
  ours = functools.partial(
    dm_jax.evaluate,
    synthetic,
    tests,
    test_labels,
    config,
    key=jax.random.key(0),
    network=make_network(),
  )
  theirs = functools.partial(
    train_and_test,
    peer_torch.to_torch(synthetic.images, device),
    torch.from_numpy(np.array(synthetic.labels)).long().to(device),
    peer_torch.to_torch(normalise(tests, data.mean, data.std), device),
    torch.from_numpy(test_labels).to(device),
  )
  times = Times([], [])
  for _ in range(_ROUNDS.value + 1):
    times.ours.append(seconds(ours, device))
    times.theirs.append(seconds(theirs, device))
  return times


def train_and_test(images, labels, tests, test_labels) -> None:
  """Does in PyTorch what `dm_jax.evaluate` does."""
  for _ in range(_NETWORKS.value):
    network = peer_torch.make_convnet(
      _WIDTH.value, _CLASSES.value, peer_torch.SHAPE[0], images.device
    )
    peer_torch.train(network, images, labels, _EPOCHS.value)
    peer_torch.count_correct(network, tests, test_labels)


_MEASURES = {'condense': measure_condense, 'evaluate': measure_evaluate}


def describe(threads: int) -> dict[str, Any]:
  """Returns what a record says about the run itself."""
  return {
    'command': portable_command(shlex.join(['python', *sys.argv])),
    'recipe': _RECIPE.value,
    'device': describe_machine()['device'],
    'threads': threads,
    'OMP_WAIT_POLICY': os.environ.get('OMP_WAIT_POLICY'),
    'versions': {**package_versions(), 'torch': torch.__version__},
  }


def describe_times(what: str, times: Times) -> dict[str, Any]:
  """Returns the figures of a record; the first round warms both up."""
  ours, theirs = times.ours[1:], times.theirs[1:]
  middle = statistics.median(ours), statistics.median(theirs)
  return {
    'what': what,
    'dm_jax_seconds': middle[0],
    'torch_seconds': middle[1],
    'ratio': middle[0] / middle[1],
    'dm_jax_rounds': ours,
    'torch_rounds': theirs,
  }


def main(argv: list[str]) -> None:
  del argv
  for what in _WHAT.value or []:
    choose('measurement', what, _MEASURES)
  threads = count_threads()
  torch.set_num_threads(threads)
  torch.manual_seed(0)
  torch.backends.cudnn.benchmark = True  # XLA tries its kernels out as well.
  device = peer_torch.choose_device()
  check(device, _RECIPE.value)
  record = describe(threads)
  print(f'{record["device"]}, {threads} threads, median of {_ROUNDS.value}')
  print(', '.join(f'{k} {v}' for k, v in record['versions'].items()))
  print('| what | dm_jax, s | PyTorch, s | dm_jax / PyTorch |')
  print('|---|---|---|---|')
  record['figures'] = []
  for what in _WHAT.value or []:
    figures = describe_times(what, _MEASURES[what](device))
    record['figures'].append(figures)
    ours, theirs = figures['dm_jax_seconds'], figures['torch_seconds']
    ratio = figures['ratio']
    print(f'| {what} | {ours:.4g} | {theirs:.4g} | {ratio:.2f} |', flush=True)
  if _RECORD.value:
    write_json(full_path(_RECORD.value, '--record'), record)


if __name__ == '__main__':
  start(main)
