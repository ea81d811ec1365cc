"""Makes the sets of a run, condensed or selected, each in its own folder."""

from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import json
from pathlib import Path
import time
from typing import NamedTuple

from dm_jax.condensing.loop import Metrics
from dm_jax.config.fields import differences
from dm_jax.errors import Diverged, InputError
from dm_jax.matching.loss import RealSide
from dm_jax.matching.state import CondenseState
from dm_jax.records.checkpoint import Checkpoints
from dm_jax.records.results import Condensing, JpegFiles, Results
from dm_jax.run.interrupts import Interrupted, Request
from dm_jax.run.job import Job, Purpose
from dm_jax.run.pool import RunPool
from dm_jax.run.progress import progress
from dm_jax.run.recorder import Recorder, Saved, save_picture
from dm_jax.run.results_file import ResultsFile
from dm_jax.run.team import Team
from dm_jax.run.validate import validate
from dm_jax.selection.select import needs_training
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.training import pretrain as pretraining
from dm_jax.training.teacher import label_by_teacher
from dm_jax.types import Embedder
from dm_jax.words import method_name


class Selection(NamedTuple):
  """Real images to select.

  Attributes:
    method: how.
    purpose: of the key.
    path: the file of the set.
  """

  method: str
  purpose: Purpose
  path: Path


@dataclasses.dataclass(frozen=True)
class Maker:
  """Makes the sets of a job, or reads what is made.

  Attributes:
    job: of the run.
    request: ends the run when it may.
    team: the processes that do the work.
    results: of the run so far.
  """

  job: Job
  request: Request
  team: Team
  results: ResultsFile

  @functools.cached_property
  def _pool(self) -> RunPool:
    return RunPool(self.job, self.request, self.results)

  def make(self, number: int) -> SyntheticSet:
    """Makes set 0 to K - 1 by the job's method, or what is left of it."""
    job, method = self.job, self.job.config.method
    if job.synthetic is not None:
      return job.synthetic
    if method == 'dm':
      return self._condense(number)
    path = job.set_folder(number) / 'synthetic.npz'
    own = Selection(method, Purpose.MAKE, path)
    baselines = self._trained_baselines(number) if job.mode == 'run' else []
    together = baselines if needs_training(method) else []
    return self._select_all([own, *together], number)[0]

  def select(self, method: str, number: int) -> SyntheticSet:
    """Selects a baseline for set 0 to K - 1, or reads it."""
    if not needs_training(method):
      return self._select_all([self._baseline(method, number)], number)[0]
    together = self._trained_baselines(number)
    chosen = self._select_all(together, number)
    return chosen[[s.method for s in together].index(method)]

  def _baseline(self, method: str, number: int) -> Selection:
    folder = self.job.set_folder(number) / 'baselines'
    return Selection(method, Purpose.BASELINE, folder / f'{method}.npz')

  def _trained_baselines(self, number: int) -> list[Selection]:
    wanted = self.job.config.evaluate.selections
    return [self._baseline(m, number) for m in wanted if needs_training(m)]

  def _select_all(
    self, wanted: Sequence[Selection], number: int
  ) -> list[SyntheticSet]:
    """Selects what is not there yet, by one trained network if one is needed.

    What needs the network is selected when it is there, so that a run that is
    stopped later need not train it again.
    """
    missing = [s.method for s in wanted if not s.path.exists()]
    trained = self._train(number) if any(map(needs_training, missing)) else None
    return [self._select(selection, number, trained) for selection in wanted]

  def _select(
    self,
    selection: Selection,
    number: int,
    trained: pretraining.Trained | None,
  ) -> SyntheticSet:
    method, purpose, path = selection
    if path.exists():
      return SyntheticSet.load(path)
    job, started = self.job, time.perf_counter()
    by = trained if needs_training(method) else None
    chosen = self.team.select(method, number, purpose, by)
    if method == 'whole':  # The data themselves: neither saved nor drawn.
      return chosen
    self._keep_seconds(method, number, time.perf_counter() - started)
    size = chosen.provenance.get('bytes')
    chosen = with_provenance(chosen, job, method, number)
    if size is not None:
      chosen = chosen.with_provenance(**chosen.provenance, bytes=size)
      files = JpegFiles(len(chosen.class_of), size)
      self.results.keep(self.results.now.with_jpeg(number, files))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = job.set_folder(number) / 'images' / f'{method}.png'
    save_picture(chosen, method_name(method), picture)
    chosen = self._label(chosen)
    self._save(chosen, method, path)
    return chosen

  def _train(self, number: int) -> pretraining.Trained:
    """Trains the network that images are selected by."""
    job, started = self.job, time.perf_counter()
    try:
      with progress('train on real images', 'step', self.request) as update:
        trained = pretraining.pretrain(
          job.network,
          job.split.train,
          job.config.pretrain,
          job.key(Purpose.PRETRAIN, number),
          callback=lambda done, total, _: update(done, total),
        )
    except InputError as error:  # It diverged, and the settings are bound.
      raise InputError(
        f'{error}, in another workdir; what was made here is kept, and'
        ' --mode=evaluate judges it'
      ) from error
    self._keep_seconds('training', number, time.perf_counter() - started)
    return trained

  def _keep_seconds(self, what: str, number: int, seconds: float) -> None:
    """Keeps what a selection took, or the training that several share."""
    self.results.keep(self.results.now.with_selecting(number, what, seconds))

  def _condense(self, number: int) -> SyntheticSet:
    job = self.job
    config = job.config
    folder = job.set_folder(number)
    folder.mkdir(exist_ok=True)
    if config.sets > 1:
      job.say(f'set {number + 1} of {config.sets}')
    kept = config.output.checkpoints_kept
    checkpoints = Checkpoints(folder / 'checkpoints', kept, job.say)
    path = folder / 'synthetic.npz'
    with contextlib.closing(checkpoints):
      anew = functools.partial(Saved.anew, terms=len(job.plan.algorithm.terms))
      restored = checkpoints.restore(lambda: anew(_fresh_state(job, number)))
      done = 0 if restored is None else int(restored.state.step)
      unfinished = done < config.condense.steps
      if unfinished and path.exists():
        # Checkpoints were lost since. What was judged are the set's own bytes.
        return self._read_alone(path)
      start = anew(self.team.begin(number)) if restored is None else restored
      self._keep_resumption(done)
      networks = None, None
      if unfinished:
        self._keep_plan(resumed=restored is not None)
        networks = self._pool.networks()
      with Recorder(job, number, checkpoints, start, self.request) as recorder:
        if restored is None:
          recorder.draw(start.state)
        self._validate(number, start.state)
        made = self._condense_recorded(number, start.state, recorder, networks)
      if unfinished or self._known(number).condense_seconds is None:
        self._keep_condensing(number, recorder.measured())
    if path.exists():
      # It says what it was made with, which need not be what is here now.
      return self._read(path)
    made = self._label(with_provenance(made, job, 'dm', number))
    self._save(made, 'dm', path)
    return made

  def _read(self, path: Path) -> SyntheticSet:
    """Reads a condensed set; its file marks it as complete."""
    made = SyntheticSet.load(path)
    self._keep_bytes('dm', path)
    return made

  def _read_alone(self, path: Path) -> SyntheticSet:
    """Reads a set that no checkpoint holds any more."""
    try:
      return self._read(path)
    except InputError as error:
      raise InputError(
        f'{error}; no checkpoint of its last step is left: move it elsewhere to'
        ' condense anew'
      ) from error

  def _label(self, made: SyntheticSet) -> SyntheticSet:
    """Gives a set the labels that the config asks for."""
    if self.job.config.labels == 'class':
      return made
    return label_by_teacher(
      made,
      self.job.network,
      self._pool.teacher,
      callback=lambda *_: self.request.meet('labelling the images'),
    )

  def _validate(self, number: int, state: CondenseState) -> None:
    """Evaluates the images of a step on the validation images, if due."""
    validate(self.job, self.results, self.request, number, state, self._label)

  def _save(self, made: SyntheticSet, method: str, path: Path) -> None:
    """Saves a set, last of all: the file marks it as complete."""
    made.save(path)
    self._keep_bytes(method, path)

  def _keep_bytes(self, method: str, path: Path) -> None:
    size = path.stat().st_size
    self.results.keep(self.results.now.with_bytes(method, size))

  def _condense_recorded(
    self,
    number: int,
    state: CondenseState,
    recorder: Recorder,
    networks: tuple[Embedder | None, RealSide | None],
  ) -> SyntheticSet:
    before = self._known(number).compile_seconds

    def callback(state: CondenseState, metrics: Metrics) -> None:
      compiled = (before or 0.0) + metrics.compile_seconds
      if compiled != self._known(number).compile_seconds:
        # At once: of a process that is killed, nothing else tells of it.
        self._keep_condensing(number, Condensing(), compiled)
      recorder.record(state, metrics)
      try:
        self._validate(number, state)
      except Interrupted:
        recorder.save(state)
        raise

    try:
      return self.team.condense(number, state, callback, *networks)
    except Diverged as error:
      recorder.save(error.state)
      told = f'{error}, {self._pool.elsewhere("that")}'
      raise Diverged(told, error.step, error.state) from error

  def _known(self, number: int) -> Condensing:
    """What condensing a set has taken so far, in all processes of the run."""
    return self.results.now.condensing.get(str(number), Condensing())

  def _keep_condensing(
    self, number: int, measured: Condensing, compiled: float | None = None
  ) -> None:
    if compiled is None:
      compiled = self._known(number).compile_seconds or 0.0
    measured = dataclasses.replace(measured, compile_seconds=compiled)
    self.results.keep(self.results.now.with_condensing(str(number), measured))

  def _keep_plan(self, *, resumed: bool) -> None:
    """Keeps how this start condenses: one that only judges keeps no plan.

    Args:
      resumed: whether a set goes on that an earlier start began.

    Raises:
      InputError: it was begun with another optimiser, by a version that
        recommended another rate for what the config leaves open.
    """
    plan = self.job.plan.record()
    moved = json.loads(json.dumps(plan['optimizer']))  # As a file holds it.
    # A field that an earlier version lacks changed nothing then.
    begun = moved | self.results.now.plan.get('optimizer', {})
    changed = differences(begun, moved)
    if resumed and changed:
      raise InputError(
        'the set was begun by another version of dm_jax, with another'
        f' optimiser ({"; ".join(changed)}): go on with that version, or begin'
        f' anew {self._pool.elsewhere("that")}'
      )
    self.results.keep(dataclasses.replace(self.results.now, plan=plan))

  def _keep_resumption(self, step: int) -> None:
    if 0 < step < self.job.config.condense.steps:
      self.job.say(f'resuming at step {step}')
      self.results.keep(self.results.now.with_resumption(step))


def with_provenance(
  made: SyntheticSet, job: Job, method: str, number: int
) -> SyntheticSet:
  """Returns a set that says how a run made it."""
  return made.with_provenance(
    method=method,
    config=job.config.settings(),
    seed=job.config.seed,
    set=number,
    versions=package_versions(),
  )


def making_seconds(results: Results, method: str, number: int) -> float | None:
  """Returns what making a set took, over all that a run was interrupted by.

  With what trained the networks that it needs: the run's pool, or those that
  selections share. None if it is not known.

  Args:
    results: of the run.
    method: the run's own or a baseline's.
    number: of the set.
  """
  pool = results.pool_seconds or 0.0  # Where there is none, it took nothing.
  if method == 'dm':
    made = results.condensing.get(str(number), Condensing())
    parts = [made.compile_seconds, made.condense_seconds, pool]
  else:
    spent = results.selecting_seconds.get(str(number), {})
    needed = [method, 'training'] if needs_training(method) else [method]
    parts = [spent.get(part) for part in needed]
    if results.teachers is not None:  # They label what is selected, too.
      parts.append(pool)
  known = [seconds for seconds in parts if seconds is not None]
  return sum(known) if len(known) == len(parts) else None


def _fresh_state(job: Job, number: int) -> CondenseState:
  """A state like the first one, for its structure: nothing is drawn."""
  key = job.key(Purpose.MAKE, number)
  return job.plan.algorithm.init(job.split.train, key, 'noise')
