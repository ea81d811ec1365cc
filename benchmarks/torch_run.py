"""A run of the paper in PyTorch, which leaves what a run of the library leaves.

`peer_torch.py` computes; here are its images, its workdir and its resumption.
"""

from collections.abc import Callable
import dataclasses
import os
from pathlib import Path
import time
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks import peer_torch
from benchmarks.portable import portable_command, portable_settings
from benchmarks.rates import count_threads
from dm_jax.config.fields import differences
from dm_jax.config.sections import NetworkConfig
from dm_jax.data.class_data import WHOLE
from dm_jax.data.load import load
from dm_jax.data.split import hold_out
from dm_jax.errors import Diverged, InputError
from dm_jax.files import read_json, write_atomically
from dm_jax.images.normalise import normalise
from dm_jax.networks.labels import label
from dm_jax.records.evaluations import Case, Evaluation
from dm_jax.records.json_values import encode
from dm_jax.records.metrics import MetricsWriter
from dm_jax.records.results import (
  CONFIG_NAME,
  Condensing,
  Data,
  Results,
  Validation,
  read_results,
  write_results,
)
from dm_jax.run.config import RunConfig
from dm_jax.run.facts import describe_machine
from dm_jax.run.inputs import describe_inputs
from dm_jax.run.job import split_seed
from dm_jax.run.workdir import claim
from dm_jax.synthetic_set import SyntheticSet, package_versions

_SET, _STATE = 'synthetic.npz', 'torch_state.pt'
# Added to the run's seed; a set or network adds its number.
_SEEDS = {'condense': 0, 'validate': 1_000_000, 'judge': 2_000_000}


def check_covered(config: RunConfig) -> None:
  """Raises InputError if a config asks for more than the loop does."""
  known = RunConfig(
    seed=config.seed,
    sets=config.sets,
    data=config.data,
    output=config.output,
    pretrain=config.pretrain,
    network=NetworkConfig(width=config.network.width),
  )
  condense = dataclasses.replace(
    known.condense,
    images_per_class=config.condense.largest,
    steps=config.condense.steps,
    batch_real=config.condense.batch_real,
    log_every=config.condense.log_every,
  )
  evaluate = dataclasses.replace(
    known.evaluate,
    baselines='none',
    **{
      name: getattr(config.evaluate, name)
      for name in (
        'networks',
        'epochs',
        'validation_every',
        'validation_networks',
      )
    },
  )
  known = dataclasses.replace(known, condense=condense, evaluate=evaluate)
  changed = differences(known.settings(), config.settings())
  if changed:
    raise InputError(
      'the loop in PyTorch knows the paper alone, with the ConvNet of depth 3'
      f' and no baselines: set back {"; ".join(changed)}'
    )


class Images(NamedTuple):
  """What a run reads, on PyTorch's device.

  Attributes:
    dataset: the library's.
    split: its training images, and those held out.
    real: the first of these.
    held_out: images and labels of the second.
    tests: images and labels to test on.
  """

  dataset: Any
  split: Any
  real: peer_torch.RealImages
  held_out: tuple[Any, Any]
  tests: tuple[Any, Any]

  @classmethod
  def read(cls, config: RunConfig, device) -> 'Images':
    """Reads them as the library does.

    Raises:
      InputError: they cannot be read, or are not of 32×32×3.
    """
    dataset = load(config.data)
    if dataset.train.image_shape != peer_torch.SHAPE:
      raise InputError(
        f'the loop in PyTorch takes images of 32×32×3, got'
        f' {dataset.train.image_shape}: set data.resize, or choose other images'
      )
    split = hold_out(dataset.train, config.data.validation, split_seed(config))
    train = split.train

    def normalised(images, labels):
      made = normalise(images, train.mean, train.std)
      return (
        peer_torch.to_torch(made, device),
        torch.from_numpy(np.array(labels)).long().to(device),
      )

    real = peer_torch.RealImages.from_classes(
      train.images, train.mean, train.std, device, train.counts
    )
    return cls(
      dataset,
      split,
      real,
      normalised(split.images, split.labels),
      normalised(dataset.test_images, dataset.test_labels),
    )


@dataclasses.dataclass
class TorchRun:
  """A run in PyTorch, and its results so far.

  Attributes:
    config: of the run.
    folder: its workdir.
    images: that it reads.
    results: kept in the workdir whenever they change.
    say: gets each line for the person who watches.
  """

  config: RunConfig
  folder: Path
  images: Images
  results: Results
  say: Callable[[str], None]

  def keep(self, results: Results) -> None:
    self.results = results
    write_results(self.folder, results)

  def make(self, number: int) -> Any:
    """Condenses a set, or what is left of it; returns it [C, S, D, H, W]."""
    config, folder = self.config, self._folder_of(number)
    folder.mkdir(parents=True, exist_ok=True)
    seed = self.config.seed + _SEEDS['condense'] + number
    torch.manual_seed(seed)
    now = peer_torch.start_set(self.images.real, config.condense.largest)
    now = _resumed(folder / _STATE, now)
    if now.step == 0:
      self._validate(number, now)
    steps, log = config.condense.steps, config.condense.log_every
    saved = time.monotonic()
    with MetricsWriter(folder, resume_step=now.step) as metrics:
      logged = now.seconds
      on_the_way = peer_torch.condense(
        self.images.real,
        now,
        steps,
        config.network.width,
        config.condense.batch_real,
      )
      for now, loss in on_the_way:
        if not np.isfinite(loss):
          raise Diverged(
            f'the loss is {loss} at step {now.step}', now.step, now
          )
        if now.step % log and now.step < steps:
          continue
        metrics.write(now.step, loss=loss, seconds=now.seconds - logged)
        logged = now.seconds
        self._validate(number, now)
        due = time.monotonic() - saved >= config.output.checkpoint_seconds
        if due or now.step == steps:
          _save_state(folder / _STATE, now)
          saved = time.monotonic()
    self.keep(
      self.results.with_condensing(
        str(number),
        Condensing(
          condense_seconds=now.seconds,
          seconds_per_step=now.seconds / steps if steps else None,
        ),
      )
    )
    self._save_set(folder, now.synthetic)
    return now.synthetic.detach()

  def judge(self, number: int, synthetic) -> None:
    """Trains and tests the networks of a set that are not recorded yet."""
    config = self.config
    case = Case('dm', label(config.network), config.condense.largest)
    found = self.results.evaluation(case)
    by_set = [list(each) for each in found.accuracies] if found else []
    by_set += [[] for _ in range(number + 1 - len(by_set))]
    for network in range(len(by_set[number]), config.evaluate.networks):
      seed = _SEEDS['judge'] + number * config.evaluate.networks + network
      began = time.perf_counter()
      accuracy = self._train_one(seed, synthetic, self.images.tests)
      spent = time.perf_counter() - began
      by_set[number].append(accuracy)
      judged = self.results.with_evaluation(Evaluation.of(case, by_set))
      self.keep(judged.with_evaluating(spent))
      self.say(f'set {number}, network {network}: {accuracy:.1%}')

  def _validate(self, number: int, now: peer_torch.Progress) -> None:
    """Judges a set on its way by the images held out, where it is due."""
    every, step = self.config.evaluate.validation_every, now.step
    known = {(row.set, row.step) for row in self.results.validation}
    if not every or step % every or (number, step) in known:
      return
    accuracies = tuple(
      self._train_one(
        _SEEDS['validate'] + network, now.synthetic, self.images.held_out
      )
      for network in range(self.config.evaluate.validation_networks)
    )
    mean, std = float(np.mean(accuracies)), float(np.std(accuracies))
    size = self.config.condense.largest
    row = Validation(number, step, size, accuracies, mean, std)
    self.keep(self.results.with_validation(row))
    self.say(f'step {step}, {now.seconds:.1f} s: {mean:.1%} on held-out images')

  def _train_one(self, seed: int, synthetic, tests) -> float:
    """Returns the accuracy of a network; the draws of condensing stay."""
    config = self.config
    with torch.random.fork_rng():
      torch.manual_seed(config.seed + seed)
      return peer_torch.judge(
        synthetic, tests, config.network.width, config.evaluate.epochs_run
      )

  def _folder_of(self, number: int) -> Path:
    return self.folder / f'set_{number}' if number else self.folder

  def _save_set(self, folder: Path, synthetic) -> None:
    images = np.moveaxis(synthetic.detach().cpu().numpy(), -3, -1)
    made = SyntheticSet.from_classes(
      images, self.images.split.train, {'program': 'torch'}
    )
    made.save(folder / _SET)


def run_in_torch(
  config: RunConfig,
  folder: Path,
  *,
  mode: str = 'run',
  command: str = '',
  say: Callable[[str], None] = print,
) -> None:
  """Does a whole run in PyTorch, or what is left of it.

  Args:
    config: all settings.
    folder: the workdir.
    mode: run; or condense, which makes the sets alone.
    command: how the run was started.
    say: gets each line for the person who watches.

  Raises:
    InputError: something given cannot be used.
    Diverged: the loss is not finite.
  """
  check_covered(config)
  torch.set_num_threads(count_threads())
  torch.backends.cudnn.benchmark = True  # XLA tries its kernels out as well.
  images = Images.read(config, peer_torch.choose_device())
  with claim(folder, config, describe_inputs(images.dataset, WHOLE, None)):
    before = read_results(folder)
    facts = _facts(config, images, command)
    results = dataclasses.replace(before, **facts)
    run = TorchRun(config, folder, images, results, say)
    run.keep(results)
    for number in range(config.sets):
      made = run.make(number)
      if mode == 'run':
        run.judge(number, made)


def make_record(folder: Path) -> dict[str, Any]:
  """Returns all figures of a run, without places on this machine."""
  results = read_results(folder)
  return {
    **encode(results),
    'command': portable_command(results.command or ''),
    'program': 'torch',
    'settings': portable_settings(read_json(folder / CONFIG_NAME)),
  }


def _facts(config: RunConfig, images: Images, command: str) -> dict[str, Any]:
  train = images.split.train
  return {
    'mode': 'run',
    'method': 'dm',
    'seed': config.seed,
    'command': command,
    'sets': config.sets,
    'images_per_class': config.condense.largest,
    'sizes': config.condense.sizes,
    'networks': (label(config.network),),
    'condensing_network': label(config.network),
    'data': Data(
      name=config.data.name,
      place=Path(config.data.dir).name if config.data.dir else None,
      classes=train.classes,
      class_names=tuple(train.class_names),
      train_images=int(train.counts.sum()),
      validation_images=len(images.split.labels),
      test_images=len(images.dataset.test_labels),
      image_shape=tuple(train.image_shape),
      mean=tuple(train.mean),
      std=tuple(train.std),
    ),
    'versions': {**package_versions(), 'torch': torch.__version__},
    'device': describe_machine()['device'],
    'plan': {
      'threads': torch.get_num_threads(),
      'OMP_WAIT_POLICY': os.environ.get('OMP_WAIT_POLICY'),
    },
  }


def _save_state(path: Path, now: peer_torch.Progress) -> None:
  state = {
    'step': now.step,
    'seconds': now.seconds,
    'synthetic': now.synthetic.detach(),
    'optimizer': now.optimizer.state_dict(),
    'random': torch.get_rng_state(),
  }
  if torch.cuda.is_available():
    state['random_cuda'] = torch.cuda.get_rng_state()
  write_atomically(path, lambda file: torch.save(state, file))


def _resumed(path: Path, fresh: peer_torch.Progress) -> peer_torch.Progress:
  """Returns what is saved, or the fresh start where nothing is."""
  if not path.exists():
    return fresh
  device = fresh.synthetic.device
  state = torch.load(path, map_location='cpu', weights_only=True)
  synthetic = state['synthetic'].to(device).requires_grad_()
  optimizer = peer_torch.make_pixel_optimizer(synthetic)
  optimizer.load_state_dict(state['optimizer'])
  torch.set_rng_state(state['random'])
  if 'random_cuda' in state:
    torch.cuda.set_rng_state(state['random_cuda'])
  return peer_torch.Progress(
    state['step'], state['seconds'], synthetic, optimizer
  )
