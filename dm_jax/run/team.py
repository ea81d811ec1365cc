"""The processes of one run at work together, each on its own classes.

The lead, process 0, runs the program and asks; the others serve it: they do the
same with their classes until it dismisses them. Where a process is alone, every
method is a plain call.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import inspect
import itertools
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import jax
import numpy as np

from dm_jax.condensing import loop
from dm_jax.condensing.condense import STATE_AXES, condense_classes
from dm_jax.config.sections import EvalConfig
from dm_jax.devices import layout as parallel
from dm_jax.errors import Diverged, InputError, one_line
from dm_jax.matching.loss import RealSide
from dm_jax.matching.state import CondenseState
from dm_jax.run import interrupts, processes
from dm_jax.run.interrupts import Interrupted, Request
from dm_jax.run.job import Job, Purpose
from dm_jax.selection.select import select_classes
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import EvalResult, evaluate, untold
from dm_jax.training.pretrain import Trained
from dm_jax.types import Embedder

_P = ParamSpec('_P')
_R = TypeVar('_R')
_TASKS: dict[str, Callable] = {}


def _task(*own: str) -> Callable:
  """Makes a method one that every process does when the lead calls it.

  Args:
    own: arguments that stay with the lead; the others take the defaults.
  """

  def decorate(
    method: Callable[Concatenate['Team', _P], _R],
  ) -> Callable[Concatenate['Team', _P], _R]:
    name, signature = method.__name__, inspect.signature(method)
    _TASKS[name] = method

    @functools.wraps(method)
    def ask(team: 'Team', *args: _P.args, **kwargs: _P.kwargs) -> _R:
      given = signature.bind(team, *args, **kwargs).arguments
      del given['self']
      sent = {key: value for key, value in given.items() if key not in own}
      with team._together(name, sent):
        return method(team, *args, **kwargs)

    return ask

  return decorate


class Team(loop.Peers):
  """What the processes of a job do together; enter it on the lead."""

  def __init__(
    self, job: Job, request: Request, fate: processes.Fate | None = None
  ):
    """Takes a job that every process has prepared.

    Args:
      job: of the run.
      request: ends the run when it may. A signal to any process reaches it.
      fate: is settled when all know that the run is over.
    """
    self._job, self._request = job, request
    self._fate = fate or processes.Fate()
    self._apart = False  # Whether the others may be waiting in a task.
    self._released = False  # Whether the lead has called them out of the loop.
    self.classes = processes.shares(job.split.train.classes)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    if processes.count() == 1 or self._apart:
      return
    number = getattr(error, 'signal', 0)
    message = None if error is None else one_line(error)
    processes.broadcast((None, (message, number)))
    self._fate.settle()

  def serve(self) -> None:
    """Does what the lead asks until it dismisses this process.

    Raises:
      InputError, Interrupted: the lead ended the run so.
    """
    while True:
      task, given = processes.broadcast(None)
      if task is None:
        break
      # The lead has seen it, too, and goes on as it likes.
      with contextlib.suppress(loop.Released, Diverged):
        _TASKS[task](self, **given)
    self._fate.settle()
    message, number = given
    if number:
      raise Interrupted(f'process 0: {message}', number)
    if message is not None:
      raise InputError(f'process 0 ended the run: {message}')

  @contextlib.contextmanager
  def _together(self, task: str, given: dict[str, Any]):
    """Has the other processes do a task while the lead does it in here."""
    if processes.count() > 1:
      self._apart, self._released = True, False
      processes.broadcast((task, jax.device_get(given)))
    try:
      yield
    except BaseException:
      self._apart = not self._released
      raise
    self._apart = False

  @_task()
  def begin(self, number: int) -> CondenseState:
    """Returns the state that set 0 to K - 1 starts from."""
    job, train = self._job, self._job.split.train
    key = job.key(Purpose.MAKE, number)
    start = job.config.condense.init
    state = job.plan.algorithm.init(train.own, key, start)
    return self.share({}, state)[1]

  @_task('callback', 'embedder', 'cached')
  def condense(
    self,
    number: int,
    state: CondenseState,
    callback: Callable[[CondenseState, loop.Metrics], None] | None = None,
    embedder: Embedder | None = None,
    cached: RealSide | None = None,
  ) -> SyntheticSet:
    """Condenses set 0 to K - 1 from a state on, see `condense_classes`."""
    job = self._job
    return condense_classes(
      job.split.train,
      job.config.condense,
      key=job.key(Purpose.MAKE, number),
      network=job.network,
      state=state,
      callback=callback,
      embedder=embedder,
      cached=cached,
      plan=job.plan,
      peers=self if processes.count() > 1 else loop.ALONE,
    )

  @_task('trained')
  def select(
    self,
    method: str,
    number: int,
    purpose: Purpose,
    trained: Trained | None = None,
  ) -> SyntheticSet:
    """Selects set 0 to K - 1, see `select_classes`.

    Args:
      method: how; only at random where there are several processes.
      number: of the set.
      purpose: of the key, see `Job.key`.
      trained: of `select_classes`, in a process that is alone.
    """
    job, train = self._job, self._job.split.train
    size = job.config.condense.largest
    chosen = select_classes(
      train,
      method,
      size,
      key=job.key(purpose, number),
      network=job.network,
      config=job.config.pretrain,
      trained=trained,
      storage=job.config.condense.stored_as,
    )
    if train.held is None:
      return chosen
    low, high = train.held
    own = np.asarray(chosen.stored[low * size : high * size])
    stored = np.concatenate(processes.gather(own))
    return dataclasses.replace(chosen, stored=jax.numpy.asarray(stored))

  @_task('callback')
  def evaluate(
    self,
    synthetic: SyntheticSet,
    config: EvalConfig,
    *,
    purpose: Purpose,
    number: int,
    network: str,
    first: int = 0,
    callback: Callable[[int, int], None] | None = None,
  ) -> EvalResult:
    """Tests networks on the test set, see `evaluate`; each process some.

    No warning tells of those that diverged: who asks for a few at a time does.

    Args:
      synthetic: what to train on.
      config: the protocol.
      purpose: of the key, see `Job.key`.
      number: of the set.
      network: its label in the job's pool.
      first: number of the first network.
      callback: see `evaluate`; tells of this process's networks.
    """
    job = self._job
    low, high = processes.share(config.networks)
    own = EvalResult(())
    if low < high:
      with untold():
        own = evaluate(
          synthetic,
          job.dataset.test_images,
          job.dataset.test_labels,
          dataclasses.replace(config, networks=high - low),
          key=job.key(purpose, number),
          network=job.pool[network],
          callback=callback or self._stop_if_asked,
          first=first + low,
        )
    every = self._gather((own.accuracies, own.correct, own.finite))
    chain = itertools.chain.from_iterable
    return EvalResult(*(tuple(chain(of)) for of in zip(*every, strict=True)))

  def share(self, losses: loop.Losses, state: Any) -> tuple[loop.Losses, Any]:
    if processes.count() == 1:
      return losses, state
    parts = self._gather((losses, jax.device_get(state)))
    states = [state for _, state in parts]
    return (
      loop.add_losses([losses for losses, _ in parts]),
      parallel.join_classes(states, STATE_AXES),
    )

  def agree(self, count: int | None) -> int | None:
    agreed = processes.broadcast(count)
    self._released = agreed is None
    return agreed

  def _gather(self, value: Any) -> list[Any]:
    """Gathers, and hands on a signal that any process got."""
    parts = processes.gather((value, self._request.number))
    # A signal may have come to this one since it gave its own.
    self._request.number = self._request.number or max(n for _, n in parts)
    return [value for value, _ in parts]

  def _stop_if_asked(self, *_: int) -> None:
    """Ends the run; the networks in training are trained anew."""
    self._request.meet(f'evaluating, in process {processes.index()}')


def serve(job: Job, fate: processes.Fate) -> None:
  """Takes part in a run whose lead is another process."""
  with interrupts.deferred() as request:
    Team(job, request, fate).serve()
