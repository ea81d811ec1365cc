"""One run of `launch.py`: condense, evaluate, report; resumes by itself."""

from collections.abc import Callable
import contextlib
import dataclasses
import hashlib
import os
from pathlib import Path
import time
from typing import Any

import jax
import numpy as np

from dm_jax import augment, data, interrupts, workdir
from dm_jax.checkpoint import Checkpoints
from dm_jax.condense import (
  CondenseState,
  check_condensable,
  condense_classes,
  init_state,
)
from dm_jax.config import EvalConfig, RunConfig
from dm_jax.data import Dataset
from dm_jax.discrepancy import get_discrepancy
from dm_jax.evaluate import evaluate
from dm_jax.interrupts import Interrupted
from dm_jax.networks import make_network
from dm_jax.progress import Progress
from dm_jax.recorder import Recorder, describe_machine
from dm_jax.report import summary_lines, write_report
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.types import Diverged, InputError, Json, Key, Network, choose

MODES = ('run', 'condense', 'evaluate')

# What the keys of a run are for: each is the seed's, folded with its number.
_CONDENSE, _EVALUATE, _CHOOSE_RANDOM = range(3)


@dataclasses.dataclass(frozen=True)
class Job:
  """A run that has been checked and may start.

  Attributes:
    config: all settings.
    mode: one of `MODES`.
    dataset: the real images.
    networks: the one that condenses and the one that is evaluated.
    synthetic: what to evaluate, in mode evaluate.
    folder: what the run writes goes here.
    command: how the run was started, for the report.
    say: gets each line for the person who watches.
  """

  config: RunConfig
  mode: str
  dataset: Dataset
  networks: tuple[Network, ...]
  synthetic: SyntheticSet | None
  folder: Path
  command: str
  say: Callable[[str], None]

  def key(self, purpose: int) -> Key:
    return jax.random.fold_in(jax.random.key(self.config.seed), purpose)


def run(
  config: RunConfig,
  *,
  mode: str,
  folder: str | os.PathLike[str],
  synthetic: str | os.PathLike[str] | None = None,
  command: str = '',
  say: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Does a whole run, or what is left of it, and leaves its files in `folder`.

  Args:
    config: all settings.
    mode: run (condense, then evaluate), condense, or evaluate.
    folder: the workdir.
    synthetic: in mode evaluate, the file of the set.
    command: how the run was started, for the report.
    say: gets each line for the person who watches.

  Returns:
    What `results.json` holds.

  Raises:
    InputError: something given cannot be used; nothing was written.
    Diverged: the loss is not finite; the last good state was saved.
    Interrupted: by a signal; the state was saved.
  """
  job = _prepare(config, mode, Path(folder), synthetic, command, say)
  inputs = {'data': data.fingerprint(job.dataset)}
  if job.synthetic is not None:
    pixels = np.asarray(job.synthetic.images).tobytes()
    inputs['synthetic'] = hashlib.sha256(pixels).hexdigest()
  with (
    workdir.claim(job.folder, config, inputs),
    interrupts.deferred() as request,
  ):
    results = workdir.read_json(job.folder / 'results.json')
    results |= _facts(job)
    synthetic_set = job.synthetic
    if synthetic_set is None:
      synthetic_set = _condense(job, request, results)
    if mode != 'condense':
      _evaluate_all(job, request, results, synthetic_set)
    _save(job, results)
    page = write_report(job.folder, results, config.to_dict())
  for line in summary_lines(results):
    say(line)
  say(f'report: {page}')
  return results


def _prepare(config, mode, folder, synthetic, command, say) -> Job:
  """Refuses whatever can be refused before anything is written."""
  choose('mode', mode, MODES)
  if mode == 'evaluate' and synthetic is None:
    raise InputError('mode evaluate needs a set: --synthetic=FILE')
  if mode != 'evaluate' and synthetic is not None:
    raise InputError(f'--synthetic goes with --mode=evaluate, not {mode}')
  for operations in (config.condense.augment, config.evaluate.augment):
    augment.parse(operations)
  get_discrepancy(config.condense.discrepancy)
  loaded = None if synthetic is None else SyntheticSet.load(synthetic)
  dataset = data.load(config.data)
  train = dataset.train
  if loaded is None:
    check_condensable(config.condense, train)
    networks = (config.network, config.evaluation_network)
  else:
    _check_fits(loaded, dataset)
    networks = (config.evaluation_network, config.evaluation_network)
  if mode == 'run' and config.evaluate.random_baseline:
    _check_baseline(config, train)
  made = tuple(
    make_network(n, image_shape=train.image_shape, classes=train.classes)
    for n in networks
  )
  return Job(config, mode, dataset, made, loaded, folder, command, say)


def _check_fits(synthetic: SyntheticSet, dataset: Dataset) -> None:
  train = dataset.train
  old = (synthetic.image_shape, synthetic.class_names)
  new = (train.image_shape, train.class_names)
  if old != new:
    raise InputError(
      f'the synthetic set does not fit the data: it has {synthetic.classes}'
      f' classes of {synthetic.image_shape}, the data {train.classes} of'
      f' {train.image_shape}, names {synthetic.class_names[:3]} against'
      f' {train.class_names[:3]}: give the --config it was made with'
    )


def _check_baseline(config: RunConfig, train) -> None:
  per_class, smallest = config.condense.images_per_class, train.counts.min()
  if per_class > smallest:
    raise InputError(
      f'the random baseline needs {per_class} images of each class, the'
      f' smallest has {smallest}: set evaluate.random_baseline False'
    )


def _facts(job: Job) -> dict[str, Any]:
  train = job.dataset.train
  return {
    'mode': job.mode,
    'seed': job.config.seed,
    'command': job.command,
    'images_per_class': job.config.condense.images_per_class
    if job.synthetic is None
    else len(job.synthetic.labels) // job.synthetic.classes,
    'data': {
      'name': job.config.data.name,
      'classes': train.classes,
      'class_names': list(train.class_names),
      'train_images': int(train.counts.sum()),
      'test_images': len(job.dataset.test_labels),
      'image_shape': list(train.image_shape),
      'mean': list(train.mean),
      'std': list(train.std),
    },
    'versions': package_versions(),
    **describe_machine(),
  }


def _save(job: Job, results: Json) -> None:
  workdir.write_json(job.folder / 'results.json', results)


def _condense(job: Job, request, results: dict[str, Any]) -> SyntheticSet:
  config, train = job.config, job.dataset.train
  key = job.key(_CONDENSE)

  def begin() -> CondenseState:
    return init_state(train, config.condense, key)

  kept = config.output.checkpoints_kept
  checkpoints = Checkpoints(job.folder / 'checkpoints', kept, job.say)
  with contextlib.closing(checkpoints):
    restored = checkpoints.restore(begin)
    state = begin() if restored is None else restored
    recorder = Recorder(
      job.folder, config, train, checkpoints, int(state.step), request
    )
    with recorder:
      if restored is None:
        recorder.draw(state)
      elif int(state.step) < config.condense.steps:
        job.say(f'resuming at step {int(state.step)}')
      synthetic = _condense_recorded(job, key, state, recorder)
    results |= recorder.results(results)
  synthetic = synthetic.with_provenance(
    config=config.to_dict(), seed=config.seed, versions=package_versions()
  )
  synthetic.save(job.folder / 'synthetic.npz')
  _save(job, results)
  return synthetic


def _condense_recorded(
  job: Job, key: Key, state: CondenseState, recorder: Recorder
) -> SyntheticSet:
  try:
    return condense_classes(
      job.dataset.train,
      job.config.condense,
      key=key,
      network=job.networks[0],
      state=state,
      callback=recorder.record,
    )
  except Diverged as error:
    recorder.save(error.state)
    raise


def _evaluate_all(
  job: Job, request, results: dict[str, Any], synthetic: SyntheticSet
) -> None:
  """Evaluates the set and its baselines; what is done already stays."""
  config, train = job.config.evaluate, job.dataset.train
  _evaluate(job, request, results, '', 'synthetic', lambda: synthetic, config)
  if job.mode == 'evaluate':
    return

  def random_real() -> SyntheticSet:
    chosen = dataclasses.replace(job.config.condense, init='real')
    state = init_state(train, chosen, job.key(_CHOOSE_RANDOM))
    return SyntheticSet.from_classes(state.images, train, {})

  if config.random_baseline:
    _evaluate(
      job, request, results, 'baseline_random', 'random', random_real, config
    )
  if config.whole_set:
    longer = dataclasses.replace(
      config,
      epochs=config.whole_set_epochs,
      networks=config.whole_set_networks,
    )
    _evaluate(
      job,
      request,
      results,
      'whole_set',
      'whole set',
      lambda: SyntheticSet.from_whole(train),
      longer,
    )


def _evaluate(
  job: Job,
  request,
  results: dict[str, Any],
  name: str,
  title: str,
  make_set: Callable[[], SyntheticSet],
  config: EvalConfig,
) -> None:
  """Evaluates one set; adds NAME_mean, NAME_std and NAME_accuracies."""
  names = {
    'mean': f'{name}_mean' if name else 'accuracy_mean',
    'std': f'{name}_std' if name else 'accuracy_std',
    'accuracies': f'{name}_accuracies' if name else 'accuracies',
  }
  if names['accuracies'] in results:
    return
  started = time.perf_counter()
  total = config.networks * (config.epochs + 1)
  with Progress(total, description=f'train on {title}', unit='epoch') as bar:

    def callback(done: int, _) -> None:
      bar.update(done)
      if request.number:
        raise Interrupted(
          f'stopped while evaluating ({title}); the same command goes on',
          request.number,
        )

    result = evaluate(
      make_set(),
      job.dataset.test_images,
      job.dataset.test_labels,
      config,
      key=job.key(_EVALUATE),
      network=job.networks[1],
      callback=callback,
    )
  results[names['mean']] = result.mean
  results[names['std']] = result.std
  results[names['accuracies']] = list(result.accuracies)
  seconds = time.perf_counter() - started
  results['evaluate_seconds'] = results.get('evaluate_seconds', 0.0) + seconds
  _save(job, results)
