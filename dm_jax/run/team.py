"""The processes of one run at work together, each on its own classes.

The lead, process 0, runs the program and asks; the others serve it: they do the
same with their classes until it dismisses them. Where a process is alone, every
method is a plain call.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import itertools
from typing import Any, Self

import jax
import numpy as np

from dm_jax.condensing import loop
from dm_jax.condensing.condense import (
  STATE_AXES,
  CondenseState,
  condense_classes,
  init_state,
)
from dm_jax.config.sections import EvalConfig
from dm_jax.devices import layout as parallel
from dm_jax.errors import Diverged, InputError, one_line
from dm_jax.run import interrupts, processes
from dm_jax.run.interrupts import Interrupted, Request
from dm_jax.run.job import Job, Purpose
from dm_jax.selection.select import select_classes
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import EvalResult, evaluate
from dm_jax.training.pretrain import Trained
from dm_jax.types import Embedder


class Team:
  """What the processes of a job do together; enter it on the lead."""

  def __init__(self, job: Job, request: Request):
    """Takes a job that every process has prepared.

    Args:
      job: of the run.
      request: ends the run when it may. A signal to any process reaches it.
    """
    self._job, self._request = job, request
    self._crew = _Crew(request, job.split.train.classes)
    self._apart = False  # Whether the others may be waiting in a task.

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    if processes.count() == 1 or self._apart:
      return
    number = getattr(error, 'signal', 0)
    message = None if error is None else one_line(error)
    processes.broadcast(('dismiss', (message, number)))
    processes.settle()

  def serve(self) -> None:
    """Does what the lead asks until it dismisses this process.

    Raises:
      InputError, Interrupted: the lead ended the run so.
    """
    while True:
      task, arguments = processes.broadcast(None)
      if task == 'dismiss':
        break
      # The lead has seen it, too, and goes on as it likes.
      with contextlib.suppress(loop.Released, Diverged):
        getattr(self, f'_{task}')(*arguments)
    processes.settle()
    message, number = arguments
    if number:
      raise Interrupted(f'process 0: {message}', number)
    if message is not None:
      raise InputError(f'process 0 ended the run: {message}')

  def begin(self, number: int) -> CondenseState:
    """Returns the state that set 0 to K - 1 starts from."""
    return self._ask('begin', (number,))

  def condense(
    self,
    number: int,
    state: CondenseState,
    callback: Callable[[CondenseState, loop.Metrics], None],
    embedder: Embedder | None,
  ) -> SyntheticSet:
    """Condenses set 0 to K - 1 from a state on, see `condense_classes`."""
    return self._ask('condense', (number, state), callback, embedder)

  def select(
    self, method: str, number: int, purpose: Purpose, trained: Trained | None
  ) -> SyntheticSet:
    """Selects set 0 to K - 1, see `select_classes`.

    Args:
      method: how; only `random` where there are several processes.
      number: of the set.
      purpose: of the key, see `Job.key`.
      trained: of `select_classes`, in a process that is alone.
    """
    return self._ask('select', (method, number, purpose), trained)

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

    Args:
      synthetic: what to train on.
      config: the protocol.
      purpose: of the key, see `Job.key`.
      number: of the set.
      network: its label in the job's pool.
      first: number of the first network.
      callback: see `evaluate`; tells of this process's networks.
    """
    task = (synthetic, config, purpose, number, network, first)
    return self._ask('evaluate', task, callback)

  def _ask(self, task: str, arguments: tuple, *own: Any) -> Any:
    """Has every process do a task; `own` is for this one alone."""
    if processes.count() > 1:
      self._apart, self._crew.stopped = True, False
      processes.broadcast((task, jax.device_get(arguments)))
    try:
      result = getattr(self, f'_{task}')(*arguments, *own)
    except BaseException:
      # Where the loop has told the others to stop, they have come back.
      self._apart = not self._crew.stopped
      raise
    self._apart = False
    return result

  def _begin(self, number: int) -> CondenseState:
    job, train = self._job, self._job.split.train
    first, key = (
      train.held_range[0] + job.first_class,
      job.key(Purpose.MAKE, number),
    )
    state = init_state(train.own, job.config.condense, key, first=first)
    return self._crew.share(np.zeros(0), state)[1]

  def _condense(
    self,
    number: int,
    state: CondenseState,
    callback: Callable | None = None,
    embedder: Embedder | None = None,
  ) -> SyntheticSet:
    job = self._job
    return condense_classes(
      job.split.train,
      job.config.condense,
      key=job.key(Purpose.MAKE, number),
      network=job.network,
      state=state,
      callback=callback,
      embedder=embedder,
      place=job.config.data.placement,
      crew=self._crew if processes.count() > 1 else loop.ALONE,
      first=job.first_class,
    )

  def _select(
    self,
    method: str,
    number: int,
    purpose: Purpose,
    trained: Trained | None = None,
  ) -> SyntheticSet:
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
      first=job.first_class,
    )
    if train.held is None:
      return chosen
    low, high = train.held
    own = np.asarray(chosen.images[low * size : high * size])
    images = np.concatenate(processes.gather(own))
    return dataclasses.replace(chosen, images=jax.numpy.asarray(images))

  def _evaluate(
    self,
    synthetic: SyntheticSet,
    config: EvalConfig,
    purpose: Purpose,
    number: int,
    network: str,
    first: int,
    callback: Callable[[int, int], None] | None = None,
  ) -> EvalResult:
    job = self._job
    low, high = processes.share(config.networks)
    own = EvalResult(())
    if low < high:
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
    every = self._crew.gather((own.accuracies, own.correct))
    accuracies, correct = zip(*every, strict=True)
    chain = itertools.chain.from_iterable
    return EvalResult(tuple(chain(accuracies)), tuple(chain(correct)))

  def _stop_if_asked(self, *_: int) -> None:
    """Ends the run; the networks in training are trained anew."""
    self._request.meet(f'evaluating, in process {processes.index()}')


class _Crew(loop.Crew):
  """Keeps the processes in step, and brings signals to the lead."""

  def __init__(self, request: Request, classes: int):
    self._request = request
    self.stopped = False
    numbers = range(processes.count()) if processes.count() > 1 else ()
    shares = [processes.share(classes, number) for number in numbers]
    self.classes = tuple(high - low for low, high in shares)

  def share(self, losses: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
    if processes.count() == 1:
      return losses, state
    parts = self.gather((losses, jax.device_get(state)))
    states = [state for _, state in parts]
    return (
      np.sum([losses for losses, _ in parts], axis=0),
      parallel.join_classes(states, STATE_AXES),
    )

  def agree(self, count: int | None) -> int | None:
    agreed = processes.broadcast(count)
    self.stopped = agreed is None
    return agreed

  def gather(self, value: Any) -> list[Any]:
    """Gathers, and hands on a signal that any process got."""
    parts = processes.gather((value, self._request.number))
    # A signal may have come to this one since it gave its own.
    self._request.number = self._request.number or max(n for _, n in parts)
    return [value for value, _ in parts]


def serve(job: Job) -> None:
  """Takes part in a run whose lead is another process."""
  with interrupts.deferred() as request:
    Team(job, request).serve()
