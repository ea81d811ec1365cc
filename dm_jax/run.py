"""One run of `launch.py`: condense, evaluate, report; resumes by itself."""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import os
from pathlib import Path
import time
from typing import Any

from dm_jax import interrupts, workdir
from dm_jax.checkpoint import Checkpoints
from dm_jax.condense import CondenseState, condense_classes, init_state
from dm_jax.config import EvalConfig, RunConfig
from dm_jax.evaluate import EvalResult, evaluate
from dm_jax.interrupts import Interrupted, Request
from dm_jax.job import (
  CHOOSE_RANDOM,
  CONDENSE,
  EVALUATE,
  Job,
  facts,
  prepare,
)
from dm_jax.progress import Progress
from dm_jax.recorder import Recorder, Saved, describe_machine
from dm_jax.report import summary_lines, write_report
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.types import Diverged, Json, Key


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
  file = None if synthetic is None else Path(synthetic)
  job = prepare(config, mode, Path(folder), file, command, say)
  with (
    workdir.claim(job.folder, config, job.inputs()),
    interrupts.deferred() as request,
  ):
    results = workdir.read_json(job.folder / 'results.json')
    results |= facts(job)
    synthetic_set = job.synthetic
    if synthetic_set is None:
      synthetic_set = _condense(job, request, results)
    if mode != 'condense':
      _evaluate_all(job, request, results, synthetic_set)
    results |= describe_machine(results.get('peak_bytes', 0))
    _save(job, results)
    page = write_report(job.folder, results, config.to_dict())
  for line in summary_lines(results):
    say(line)
  say(f'report: {page}')
  return results


def _save(job: Job, results: Json) -> None:
  workdir.write_json(job.folder / 'results.json', results)


def _condense(
  job: Job, request: Request, results: dict[str, Any]
) -> SyntheticSet:
  config, train = job.config, job.dataset.train
  key = job.key(CONDENSE)

  def begin() -> Saved:
    return Saved.anew(init_state(train, config.condense, key))

  smallest = int(train.counts.min())
  if job.networks[0].mixes_images and config.condense.batch_real > smallest:
    job.say(
      f'batch norm takes {smallest} real images per class and step, as many as'
      ' the smallest class has'
    )
  kept = config.output.checkpoints_kept
  checkpoints = Checkpoints(job.folder / 'checkpoints', kept, job.say)
  with contextlib.closing(checkpoints):
    restored = checkpoints.restore(begin)
    start = begin() if restored is None else restored
    state, step = start.state, int(start.state.step)
    results.setdefault('resumed_from', [])
    if 0 < step < config.condense.steps:
      job.say(f'resuming at step {step}')
      results['resumed_from'].append(step)
      _save(job, results)
    with Recorder(
      job.folder, config, train, checkpoints, start, request
    ) as recorder:
      if restored is None:
        recorder.draw(state)
      synthetic = _condense_recorded(job, key, state, recorder)
    results |= recorder.results(results)
  synthetic = synthetic.with_provenance(
    config=config.settings(), seed=config.seed, versions=package_versions()
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


@dataclasses.dataclass(frozen=True)
class _Trial:
  """One set to be judged.

  Attributes:
    title: for the person who watches.
    names: of the mean, the deviation and the accuracies in `results.json`.
    make_set: what to train on; not called where all is done already.
    config: the protocol.
  """

  title: str
  names: tuple[str, str, str]
  make_set: Callable[[], SyntheticSet]
  config: EvalConfig


def _evaluate_all(
  job: Job, request: Request, results: dict[str, Any], synthetic: SyntheticSet
) -> None:
  """Evaluates the set and its baselines; what is done already stays."""
  for trial in _trials(job, synthetic):
    _evaluate(job, request, results, trial)


def _trials(job: Job, synthetic: SyntheticSet) -> list[_Trial]:
  config, train = job.config.evaluate, job.dataset.train

  def random_real() -> SyntheticSet:
    chosen = dataclasses.replace(job.config.condense, init='real')
    state = init_state(train, chosen, job.key(CHOOSE_RANDOM))
    return SyntheticSet.from_classes(state.images, train, {})

  def names(prefix: str) -> tuple[str, str, str]:
    return f'{prefix}_mean', f'{prefix}_std', f'{prefix}_accuracies'

  own_names = ('accuracy_mean', 'accuracy_std', 'accuracies')
  trials = [_Trial('synthetic', own_names, lambda: synthetic, config)]
  if job.mode == 'evaluate':
    return trials
  if config.random_baseline:
    trials.append(
      _Trial('random', names('baseline_random'), random_real, config)
    )
  if config.whole_set:
    longer = dataclasses.replace(
      config,
      epochs=config.whole_set_epochs,
      networks=config.whole_set_networks,
    )
    whole = functools.partial(SyntheticSet.from_whole, train)
    trials.append(_Trial('whole set', names('whole_set'), whole, longer))
  return trials


def _evaluate(
  job: Job, request: Request, results: dict[str, Any], trial: _Trial
) -> None:
  """Evaluates one set, a group of networks at a time, saving after each."""
  config = trial.config
  total, epochs = config.networks, config.epochs + 1
  group = dataclasses.replace(config, networks=_group_size(total))
  mean, std, accuracies = trial.names
  done = results.get(accuracies, [])
  if len(done) == total:
    return
  trained = trial.make_set()
  with Progress(
    total * epochs,
    description=f'train on {trial.title}',
    unit='epoch',
    initial=len(done) * epochs,
  ) as bar:

    def callback(epochs_done: int, _) -> None:
      bar.update(len(done) * epochs + epochs_done)
      if request.number:
        raise Interrupted(
          f'stopped while evaluating ({trial.title}) after {len(done)} of'
          f' {total} networks; the same command goes on from there',
          request.number,
        )

    while len(done) < total:
      started = time.perf_counter()
      result = evaluate(
        trained,
        job.dataset.test_images,
        job.dataset.test_labels,
        group,
        key=job.key(EVALUATE),
        network=job.networks[1],
        callback=callback,
        first=len(done),
      )
      done = [*done, *result.accuracies]
      so_far = EvalResult(tuple(done))
      results |= {mean: so_far.mean, std: so_far.std, accuracies: done}
      results.setdefault('evaluate_seconds', 0.0)
      results['evaluate_seconds'] += time.perf_counter() - started
      _save(job, results)


def _group_size(networks: int) -> int:
  """How many networks to train between two saves: a divisor, at most 5.

  Groups of one size share what is compiled.
  """
  return max(n for n in range(1, 6) if networks % n == 0)
