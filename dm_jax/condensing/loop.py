"""Runs steps, many in a compiled call, and reports between the calls."""

from collections.abc import Callable, Mapping, Sequence
import concurrent.futures
import contextlib
import dataclasses
import functools
import time
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from dm_jax.data.mapped import release
from dm_jax.devices.layout import ClassLayout
from dm_jax.errors import Diverged
from dm_jax.matching.step import Algorithm
from dm_jax.types import Array

_MOST_STEPS = 1000  # Per compiled call.
Losses = Mapping[str, np.ndarray]  # By term, [steps].

_SECONDS = 1.0  # Aim of a compiled call, so that callbacks come soon.


@dataclasses.dataclass(frozen=True)
class Metrics:
  """What happened since the last callback.

  Attributes:
    step: steps done.
    terms: float32 [steps since the last callback] by term of the loss, summed
      over the classes.
    seconds: that they took.
    compile_seconds: of the whole run so far.
    waited: of the seconds, those in which the devices had no images yet.
  """

  step: int
  terms: Mapping[str, np.ndarray]
  seconds: float
  compile_seconds: float
  waited: float = 0.0

  @property
  def losses(self) -> np.ndarray:
    """The sum of the terms, float32 [steps since the last callback]."""
    return np.sum([*self.terms.values()], axis=0)


def repeat(algorithm: Algorithm) -> Callable:
  """Returns (state, problem, steps) -> (state, losses by term).

  Losses are [_MOST_STEPS, C], 0 beyond the number of steps. That number is an
  argument of the compiled program, so that calls of every length share it.
  """

  def call(state: Any, problem: Any, steps: Array):
    def body(i, carry):
      state, losses = carry
      state, new = algorithm.step(state, problem)
      return state, {
        name: losses[name].at[i].set(new[name].astype(jnp.float32))
        for name in algorithm.terms
      }

    none = jnp.zeros((_MOST_STEPS, state.images.shape[0]), jnp.float32)
    losses = dict.fromkeys(algorithm.terms, none)
    return lax.fori_loop(jnp.int32(0), steps, body, (state, losses))

  return call


@functools.lru_cache(maxsize=8)
def _program(algorithm: Algorithm, axes: tuple[Any, Any], layout: ClassLayout):
  """The compiled repetition; equal arguments share it."""
  return layout.map(repeat(algorithm), (*axes, None))


def add_losses(parts: Sequence[Losses]) -> Losses:
  """Adds the losses of several parts of the classes, term by term."""
  return {name: np.sum([p[name] for p in parts], axis=0) for name in parts[0]}


class Released(Exception):
  """Another process, the lead, ended the run that this one takes part in."""


class Peers:
  """How the processes of one run keep in step; this one is alone.

  Every process calls both methods once after each compiled call.

  Attributes:
    classes: of each process; empty where one has all.
  """

  classes: tuple[int, ...] = ()

  def share(self, losses: Losses, state: Any) -> tuple[Losses, Any]:
    """Returns the losses of all processes, summed, and the state of all."""
    return losses, state

  def agree(self, count: int | None) -> int | None:
    """Returns the steps of the next call as the lead says, None to stop."""
    return count


ALONE = Peers()


class _Supply:
  """Hands out each chunk of the problem, on the devices.

  Either all of them lie there, or the next one is copied while the current one
  computes.
  """

  def __init__(self, deal: Callable[[int], Any], chunks: int, resident: bool):
    """Takes what deals a chunk."""
    self._deal, self._chunks = deal, chunks
    self.streams = chunks > 1 and not resident
    self._copied = self._waited = 0.0
    self._held = [] if self.streams else [deal(i) for i in range(chunks)]
    self._copier = concurrent.futures.ThreadPoolExecutor(1)
    self._next = self._copier.submit(self._copy, 0) if self.streams else None

  def first(self) -> Any:
    """Returns chunk 0 without moving on."""
    return self._next.result() if self._next else self._held[0]

  def take(self, chunk: int) -> Any:
    """Returns the next chunk, 0, 1, ..., and 0 after the last."""
    if self._next is None:
      return self._held[chunk]
    started = time.perf_counter()
    dealt = self._next.result()
    self._waited += time.perf_counter() - started
    following = (chunk + 1) % self._chunks
    self._next = self._copier.submit(self._copy, following)
    return dealt

  def seconds(self) -> tuple[float, float]:
    """Returns how long it copied and was waited for since the last time."""
    seconds = self._copied, self._waited
    self._copied = self._waited = 0.0
    return seconds

  def _copy(self, chunk: int) -> Any:
    started = time.perf_counter()
    dealt = jax.block_until_ready(self._deal(chunk))
    self._copied += time.perf_counter() - started
    return dealt

  def close(self) -> None:
    self._next = None
    self._copier.shutdown(cancel_futures=True)


def run(
  algorithm: Algorithm,
  state: Any,
  problem: Any,
  axes: tuple[Any, Any],
  layout: ClassLayout,
  *,
  steps: int,
  every: int,
  describe: str,
  callback: Callable[[Any, Metrics], None] | None,
  resident: bool = True,
  peers: Peers = ALONE,
) -> Any:
  """Steps from `state` until `steps` are done.

  Args:
    algorithm: calls with the same one share what is compiled.
    state: has `step` and `images`; not changed. Of this process's classes.
    problem: what a step reads.
    axes: of the state and the problem, see `ClassLayout.map`; hashable.
    layout: the devices. Where its classes pass in chunks, each takes all steps
      of a call before the next one.
    steps: the last step.
    every: callbacks come at its multiples, and about once a second.
    describe: the settings to name when the run diverges.
    callback: gets (state, metrics); the state is its to keep.
    resident: whether all of the problem is kept on the devices, or brought
      there chunk by chunk.
    peers: the processes that share the classes.

  Returns:
    The state after the last step, of all classes.

  Raises:
    Diverged: a loss or image is not finite; holds the last good state.
    Released: the lead ended the run.
  """
  own, done = state, int(state.step)
  _, state = peers.share({}, own)
  if done >= steps:
    return state
  advance = _Advance(algorithm, own, problem, axes, layout, resident)
  with contextlib.closing(advance):
    started = time.perf_counter()
    advance.compile()
    compile_seconds = time.perf_counter() - started
    count = 1
    while done < steps:
      started = time.perf_counter()
      losses, own = advance(count)
      computed = time.perf_counter() - started
      copied, waited = advance.supply.seconds()
      good = state
      losses, state = peers.share(losses, own)
      seconds = time.perf_counter() - started
      try:
        _check_finite(losses, done, good, state, describe)
        done += count
        if callback is not None:
          metrics = Metrics(done, losses, seconds, compile_seconds, waited)
          callback(state, metrics)
      except BaseException:
        peers.agree(None)
        raise
      # Longer calls where that hides the copying, with something to spare.
      aim = max(_SECONDS, 2 * copied)
      affordable = int(aim * count / max(computed - waited, 1e-9))
      # The last one agrees on 0, that all of them are through.
      ahead = _next_count(affordable, done, steps, every)
      agreed = peers.agree(ahead if done < steps else 0)
      if agreed is None:
        raise Released
      count = agreed
  return state


class _Advance:
  """Holds a run on the devices and takes its steps, chunk by chunk."""

  def __init__(self, algorithm, state, problem, axes, layout, resident):
    """Puts the state onto the devices, and of the problem what stays there."""
    self._layout, self._axes = layout, axes
    self._program = _program(algorithm, axes, layout)
    self._states = [
      layout.deal(state, axes[0], chunk=chunk, donated=True)
      for chunk in range(layout.chunks)
    ]
    deal = functools.partial(_deal_chunk, layout, problem, axes[1])
    self.supply = _Supply(deal, layout.chunks, resident)

  def compile(self) -> None:
    """Compiles the program by a call of no steps."""
    self._run(0, self.supply.first(), 0)

  def __call__(self, count: int) -> tuple[Losses, Any]:
    """Takes `count` steps; returns their losses and the state after them."""
    chunks = range(self._layout.chunks)
    losses = [self._run(i, self.supply.take(i), count) for i in chunks]
    states = self._states[0] if len(chunks) == 1 else self._states
    return add_losses(losses), self._layout.gather(states, self._axes[0])

  def close(self) -> None:
    self.supply.close()

  def _run(self, chunk: int, problem: Any, count: int) -> Losses:
    self._states[chunk], losses = self._program(
      self._states[chunk], problem, jnp.int32(count)
    )
    # Waits, so that no more than two chunks of the problem are ever held.
    return {
      name: self._layout.gather_last(loss, chunk)[:count].sum(-1)
      for name, loss in losses.items()
    }


def _deal_chunk(layout: ClassLayout, problem: Any, axes: Any, chunk: int):
  dealt = layout.deal(problem, axes, chunk=chunk)
  for leaf in jax.tree.leaves(problem):
    release(leaf)  # What was read of a file need not stay.
  return dealt


def _next_count(affordable: int, done: int, steps: int, every: int) -> int:
  """How many of the affordable steps to take without passing a callback's."""
  limit = min(_MOST_STEPS, steps - done, every - done % every)
  return max(1, min(affordable, limit))


def _check_finite(losses, done: int, good, state, describe: str) -> None:
  finite = np.isfinite(np.sum([*losses.values()], axis=0))
  images_finite = bool(jax.jit(_all_finite)(state.images))
  if finite.all() and images_finite:
    return
  # The losses are those before each update: the last may spoil the images.
  step = done + (len(finite) if finite.all() else 1 + int(np.argmin(finite)))
  raise Diverged(
    f'the loss is not finite at step {step} with {describe}; a smaller'
    ' learning rate helps',
    step,
    good,
  )


def _all_finite(images: Array) -> Array:
  return jnp.isfinite(images).all()
