"""Makes the sets of a run, condensed or selected, each in its own folder."""

import contextlib
import dataclasses
import functools
from pathlib import Path
import time
from typing import Any

import numpy as np

from dm_jax.condensing.condense import made_from
from dm_jax.condensing.loop import Metrics
from dm_jax.errors import Diverged, InputError
from dm_jax.files import write_json
from dm_jax.matching.state import CondenseState
from dm_jax.networks.labels import label
from dm_jax.records.checkpoint import Checkpoints
from dm_jax.report.grid import draw_grid, save_png
from dm_jax.run.interrupts import Interrupted, Request
from dm_jax.run.job import (
  BASELINE,
  EMBED,
  PRETRAIN,
  VALIDATE,
  Job,
  Purpose,
)
from dm_jax.run.progress import Progress
from dm_jax.run.recorder import Recorder, Saved
from dm_jax.run.team import Team
from dm_jax.selection.select import needs_training
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.training import embedders as embedder_pool
from dm_jax.training import pretrain as pretraining
from dm_jax.training.evaluate import evaluate
from dm_jax.types import Embedder


@dataclasses.dataclass(frozen=True)
class Maker:
  """Makes the sets of a job, and keeps what is done.

  Attributes:
    job: of the run.
    request: ends the run when it may.
    team: the processes that do the work.
    results: of the run so far; changed as it goes on.
    trained: by set, the network that images are selected by, once trained.
  """

  job: Job
  request: Request
  team: Team
  results: dict[str, Any]
  trained: dict[int, pretraining.Trained] = dataclasses.field(
    default_factory=dict
  )

  def save_results(self) -> None:
    write_json(self.job.folder / 'results.json', self.results)

  def make(self, number: int) -> SyntheticSet:
    """Makes set 0 to K - 1 by the job's method, or what is left of it."""
    job = self.job
    if job.synthetic is not None:
      return job.synthetic
    if job.config.method != 'dm':
      path = job.set_folder(number) / 'synthetic.npz'
      return self._selected(job.config.method, number, Purpose.MAKE, path)
    return self._condensed(number)

  def select(self, method: str, number: int) -> SyntheticSet:
    """Selects a baseline for set 0 to K - 1, or reads it.

    All that need the trained network are selected when it is there, so that a
    run that is stopped later need not train it again.
    """
    wanted = self.job.config.evaluate.selections
    together = [m for m in wanted if needs_training(m)]
    folder = self.job.set_folder(number) / 'baselines'
    chosen = {
      m: self._selected(m, number, BASELINE, folder / f'{m}.npz')
      for m in (together if needs_training(method) else [method])
    }
    return chosen[method]

  def _selected(
    self, method: str, number: int, purpose: Purpose, path: Path
  ) -> SyntheticSet:
    job = self.job
    if path.exists():
      return SyntheticSet.load(path)
    trained = self._train(number) if needs_training(method) else None
    started = time.perf_counter()
    chosen = self.team.select(method, number, purpose, trained)
    if method == 'whole':  # The data themselves: neither saved nor drawn.
      return chosen
    self._note_seconds(method, number, time.perf_counter() - started)
    chosen = self.with_provenance(chosen, method, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = job.set_folder(number) / 'images' / f'{method}.png'
    save_png(draw_set(chosen, method), picture)
    chosen.save(path)  # Last: where it is there, all is done.
    return chosen

  def with_provenance(
    self, made: SyntheticSet, method: str, number: int
  ) -> SyntheticSet:
    """Returns a set that says how this run made it."""
    config = self.job.config
    return made.with_provenance(
      method=method,
      config=config.settings(),
      seed=config.seed,
      set=number,
      versions=package_versions(),
    )

  def _train(self, number: int) -> pretraining.Trained:
    """Trains what images are selected by; one network serves all methods."""
    job = self.job
    if number in self.trained:
      return self.trained[number]
    started = time.perf_counter()
    try:
      with self.progress('train on real images', 'step') as update:
        self.trained[number] = pretraining.pretrain(
          job.network,
          job.split.train,
          job.config.pretrain,
          job.key(PRETRAIN, number),
          callback=lambda done, total, _: update(done, total),
        )
    except InputError as error:  # It diverged, and the settings are bound.
      raise InputError(
        f'{error}, in another workdir; what was made here is kept, and'
        ' --mode=evaluate judges it'
      ) from error
    self._note_seconds('training', number, time.perf_counter() - started)
    return self.trained[number]

  def _note_seconds(self, what: str, number: int, seconds: float) -> None:
    """Keeps what a selection took, or the training that several share."""
    spent = self.results.setdefault('selecting_seconds', {})
    spent.setdefault(str(number), {})[what] = seconds
    self.save_results()

  def making_seconds(self, method: str, number: int) -> float | None:
    """Returns what making a set took, over all that a run was interrupted by.

    Selections that need a trained network are each told with its training,
    which they share. None if it is not known.

    Args:
      method: the run's own or a baseline's.
      number: of the set.
    """
    if method == 'dm':
      spent = self.results.get('condensing', {}).get(str(number), {})
      parts = ['compile_seconds', 'condense_seconds']
    else:
      spent = self.results.get('selecting_seconds', {}).get(str(number), {})
      parts = [method, 'training'] if needs_training(method) else [method]
    if not all(part in spent for part in parts):
      return None
    return sum(spent[part] for part in parts)

  def meet_request(self, doing: str) -> None:
    """Raises Interrupted, saying what was being done, if a signal has come."""
    if self.request.number:
      raise Interrupted(
        f'stopped ({doing}); the same command goes on after the last network'
        ' that was finished',
        self.request.number,
      )

  @contextlib.contextmanager
  def progress(self, description: str, unit: str):
    """Gives (done, total) -> None, which shows it and meets requests to end."""
    bars: list[Progress] = []

    def update(done: int, total: int) -> None:
      if not bars:
        bars.append(Progress(total, description=description, unit=unit))
      bars[0].update(done)
      if done < total:  # All done: what follows is short.
        self.meet_request(description)

    try:
      yield update
    finally:
      for bar in bars:
        bar.close()

  def _embedder(self) -> Embedder | None:
    """The pool of partly trained networks, if the config has one."""
    job = self.job
    config = job.config.embedder
    if config.name == 'random':
      return None
    folder = job.folder / 'pool' if config.dir is None else Path(config.dir)
    # The seed, which splits the data, too, is in the key.
    held_out = job.config.data.validation
    network = label(job.config.network)
    with self.progress('train the pool', 'step') as update:
      pool = embedder_pool.make_pool(
        job.network,
        job.split.train,
        job.split.images,
        job.split.labels,
        config,
        job.config.pretrain,
        folder,
        job.key(EMBED),
        fingerprint=f'{job.inputs["data"]}, {network}, {held_out} held out',
        callback=update,
      )
    chosen = pool.within(config.low, config.high)
    job.say(
      f'embedding with {len(chosen.accuracies)} of {len(pool.accuracies)}'
      ' networks, their validation accuracies'
      f' {chosen.accuracies.min():.1%} to {chosen.accuracies.max():.1%}'
    )
    return chosen.embedder()

  def _condensed(self, number: int) -> SyntheticSet:
    job = self.job
    config, train = job.config, job.split.train
    folder = job.set_folder(number)
    folder.mkdir(exist_ok=True)
    if config.sets > 1:
      job.say(f'set {number + 1} of {config.sets}')

    kept = config.output.checkpoints_kept
    checkpoints = Checkpoints(folder / 'checkpoints', kept, job.say)
    with contextlib.closing(checkpoints):
      like = functools.partial(_fresh_state, job, number)
      restored = checkpoints.restore(lambda: Saved.anew(like()))
      if restored is None:
        start = Saved.anew(self.team.begin(number))
      else:
        start = restored
      self._note_resumption(int(start.state.step))
      unfinished = int(start.state.step) < config.condense.steps
      embedder = self._embedder() if unfinished else None
      with Recorder(
        folder, config, train, checkpoints, start, self.request
      ) as recorder:
        if restored is None:
          recorder.draw(start.state)
        self._validate(number, start.state)
        synthetic = self._condense_recorded(
          number, start.state, recorder, embedder
        )
      measured = self.results.setdefault('condensing', {})
      before = measured.get(str(number), {})
      measured[str(number)] = before | recorder.results(before)
    synthetic = self.with_provenance(synthetic, 'dm', number)
    self.sum_up()
    self.save_results()
    synthetic.save(folder / 'synthetic.npz')  # Last, as above.
    return synthetic

  def _condense_recorded(
    self,
    number: int,
    state: CondenseState,
    recorder: Recorder,
    embedder: Embedder | None,
  ) -> SyntheticSet:
    def callback(state: CondenseState, metrics: Metrics) -> None:
      recorder.record(state, metrics)
      try:
        self._validate(number, state)
      except Interrupted:
        recorder.save(state)
        raise

    try:
      return self.team.condense(number, state, callback, embedder)
    except Diverged as error:
      recorder.save(error.state)
      raise

  def _note_resumption(self, step: int) -> None:
    self.results.setdefault('resumed_from', [])
    if 0 < step < self.job.config.condense.steps:
      self.job.say(f'resuming at step {step}')
      self.results['resumed_from'].append(step)
      self.save_results()

  def _validate(self, number: int, state: CondenseState) -> None:
    """Evaluates the images of a step on the validation images, if it is due.

    After a resume the first step is seen again: what is there stays.
    """
    job, step = self.job, int(state.step)
    config = job.config.evaluate
    done = self.results.setdefault('validation', [])
    known = any((row['set'], row['step']) == (number, step) for row in done)
    if not config.validation_every or step % config.validation_every or known:
      return
    train = job.split.train

    def meet_request(*_) -> None:
      if self.request.number:
        raise Interrupted(
          f'stopped while validating at step {step}, which was saved; the same'
          ' command goes on from there',
          self.request.number,
        )

    result = evaluate(
      made_from(state, train, job.config.condense),
      job.split.images,
      job.split.labels,
      dataclasses.replace(config, networks=config.validation_networks),
      key=job.key(VALIDATE, number),
      network=next(iter(job.pool.values())),
      callback=meet_request,
    )
    row = {
      'set': number,
      'step': step,
      'images_per_class': job.config.condense.largest,
      'accuracies': list(result.accuracies),
      'mean': result.mean,
      'std': result.std,
    }
    done.append(row)
    job.say(f'validation accuracy at step {step:,}: {result.mean:.1%}')
    self.save_results()

  def sum_up(self) -> None:
    """Tells of all sets at once: seconds are summed, a step is the median."""
    rows = self.results['condensing'].values()
    for name in ('compile_seconds', 'condense_seconds'):
      self.results[name] = sum(row.get(name, 0.0) for row in rows)
    for name in ('seconds_per_step', 'images_per_second', 'final_loss'):
      values = [row[name] for row in rows if name in row]
      if values:
        self.results[name] = float(np.median(values))


def _fresh_state(job: Job, number: int) -> CondenseState:
  """A state like the first one, for its structure: nothing is drawn."""
  config = dataclasses.replace(job.config.condense, init='noise')
  init = job.plan.algorithm.init
  return init(job.split.train, config, job.key(Purpose.MAKE, number))


def draw_set(chosen: SyntheticSet, title: str):
  """Draws a set whose classes have equally many images."""
  images = chosen.images_uint8.reshape(chosen.classes, -1, *chosen.image_shape)
  return draw_grid(images, chosen.class_names, title=title)
