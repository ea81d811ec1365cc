"""The trained networks of a run: its pool, and what is made with it."""

from collections.abc import Iterator
import contextlib
import dataclasses
import functools
from pathlib import Path
import time

from dm_jax.condensing.targets import make_targets_ahead
from dm_jax.errors import InputError
from dm_jax.matching.loss import RealSide
from dm_jax.networks.labels import label
from dm_jax.run.interrupts import Request
from dm_jax.run.job import Job, Purpose
from dm_jax.run.progress import progress
from dm_jax.run.results_file import ResultsFile
from dm_jax.training.embedders import Pool
from dm_jax.training.pool import make_pool
from dm_jax.types import Embedder, Variables


@dataclasses.dataclass(frozen=True)
class RunPool:
  """Trains the pool of a job, or reads what is made.

  Attributes:
    job: of the run.
    request: ends the run when it may.
    results: of the run so far.
  """

  job: Job
  request: Request
  results: ResultsFile

  def networks(self) -> tuple[Embedder | None, RealSide | None]:
    """What draws from the pool, if the config has one, and cached targets."""
    job = self.job
    config = job.config.embedder
    if config.name == 'random':
      return None, None
    pool = self._read_or_train()
    if config.name == 'pool':
      whole, pool = pool, self._within(pool)
      job.say(
        f'embedding with {len(pool.accuracies)} of {len(whole.accuracies)}'
        ' networks, their validation accuracies'
        f' {pool.accuracies.min():.1%} to {pool.accuracies.max():.1%}'
      )
    if not config.cached:
      return pool.embedder(config), None
    with (
      self._timed(),
      progress('embed real images', 'network', self.request) as update,
    ):
      cached = make_targets_ahead(
        job.plan,
        job.split.train,
        pool.variables,
        config,
        job.key(Purpose.EMBED),
        self._folder,
        fingerprint=(
          f'{job.inputs["data"]}, {job.config.data.validation} held out'
        ),
        callback=update,
      )
    return pool.embedder(config), cached

  def elsewhere(self, change: str) -> str:
    """Says where a change can be tried that no pool is trained anew for.

    Not in this workdir: its settings are bound.

    Args:
      change: of settings that a pool does not depend on.
    """
    config = self.job.config
    # Each group of a stream has a pool of its own, which no other run takes.
    if config.embedder.name == 'random' or config.application == 'continual':
      return 'in another workdir'
    return (
      f'in another workdir; for {change} --config.embedder.dir={self._folder}'
      ' takes these networks there'
    )

  @functools.cached_property
  def teacher(self) -> Variables:
    """The variables of the networks that label, see `label_by_teacher`."""
    return self._read_or_train().trained().variables

  def _read_or_train(self) -> Pool:
    """Trains the pool of the config, or reads what is saved of it."""
    job = self.job
    # The seed, which splits the data, too, is in the key.
    held_out = job.config.data.validation
    network = label(job.config.network)
    try:
      with (
        self._timed(),
        progress('train the pool', 'step', self.request) as update,
      ):
        return make_pool(
          job.network,
          job.split.train,
          job.split.images,
          job.split.labels,
          job.config.embedder,
          job.config.pretrain,
          self._folder,
          job.key(Purpose.EMBED),
          fingerprint=f'{job.inputs["data"]}, {network}, {held_out} held out',
          callback=update,
        )
    except InputError as error:
      if error.setting != 'pretrain.learning_rate':
        raise
      # It diverged; a shared folder may hold networks of the same rate.
      dir_too = ' and embedder.dir' if job.config.embedder.dir else ''
      raise InputError(f'{error}, in another workdir{dir_too}') from error

  def _within(self, pool: Pool) -> Pool:
    """Returns the networks that the config's bounds take."""
    config = self.job.config.embedder
    try:
      return pool.within(config.low, config.high)
    except InputError as error:
      raise InputError(f'{error}, {self.elsewhere("other bounds")}') from error

  @property
  def _folder(self) -> Path:
    shared = self.job.config.embedder.dir
    return self.job.folder / 'pool' if shared is None else Path(shared)

  @contextlib.contextmanager
  def _timed(self) -> Iterator[None]:
    """Keeps what a pool takes, also where its training is interrupted."""
    started = time.perf_counter()
    try:
      yield
    finally:
      seconds = time.perf_counter() - started
      self.results.keep(self.results.now.with_pool(seconds))
