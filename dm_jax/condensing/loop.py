"""Runs steps, many in a compiled call, and reports between the calls."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from dm_jax.condensing.prefetch import Prefetcher, deal_chunk
from dm_jax.devices.layout import ClassLayout
from dm_jax.devices.pace import A_SECOND, Pace
from dm_jax.errors import Diverged
from dm_jax.matching.step import Algorithm
from dm_jax.types import Array
from dm_jax.words import short_repr

_MOST_STEPS = 1000  # Per compiled call.
Losses = Mapping[str, np.ndarray]  # By term, [steps].


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

  def __repr__(self) -> str:
    return short_repr(self)

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
  pace: Pace = A_SECOND,
  deal: Callable[..., Any] = deal_chunk,
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
    pace: how long the compiled calls are.
    deal: what brings a chunk of the problem to the devices, see `deal_chunk`.

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
  shared = layout.deal_shared(problem, axes[1])
  chunk = functools.partial(deal, layout, problem, axes[1], shared)
  supply = Prefetcher(chunk, layout.chunks, resident, pace.clock)
  with contextlib.closing(supply):
    advance = _Advance(algorithm, own, axes, layout, supply)
    started = pace.clock()
    advance.compile()
    compile_seconds = pace.clock() - started
    count = 1
    while done < steps:
      started = pace.clock()
      losses, own = advance(count)
      computed = pace.clock() - started
      copied, waited = supply.seconds()
      good = state
      losses, state = peers.share(losses, own)
      seconds = pace.clock() - started
      try:
        _check_finite(losses, done, good, state, describe)
        done += count
        if callback is not None:
          metrics = Metrics(done, losses, seconds, compile_seconds, waited)
          callback(state, metrics)
      except BaseException:
        peers.agree(None)
        raise
      most = min(_MOST_STEPS, steps - done, every - done % every)
      # Make a call at least twice as long as the copy it must hide.
      ahead = pace.next_count(
        count, computed - waited, most=most, at_least=2 * copied
      )
      # After the last call all processes agree on 0 more steps, so none leaves
      # early.
      agreed = peers.agree(ahead if done < steps else 0)
      if agreed is None:
        raise Released
      count = agreed
  return state


class _Advance:
  """Holds a run on the devices and takes its steps, chunk by chunk."""

  def __init__(self, algorithm, state, axes, layout, supply):
    """Puts the state onto the devices."""
    self._layout, self._axes, self._supply = layout, axes, supply
    self._program = _program(algorithm, axes, layout)
    self._states = [
      layout.deal(state, axes[0], chunk=chunk, donated=True)
      for chunk in range(layout.chunks)
    ]

  def compile(self) -> None:
    """Compiles the program by a call of no steps."""
    self._run(0, self._supply.first(), 0)

  def __call__(self, count: int) -> tuple[Losses, Any]:
    """Takes `count` steps; returns their losses and the state after them."""
    chunks = range(self._layout.chunks)
    losses = [self._run(i, self._supply.take(i), count) for i in chunks]
    states = self._states[0] if len(chunks) == 1 else self._states
    return add_losses(losses), self._layout.gather(states, self._axes[0])

  def _run(self, chunk: int, problem: Any, count: int) -> Losses:
    self._states[chunk], losses = self._program(
      self._states[chunk], problem, jnp.int32(count)
    )
    # Waits, so that no more than two chunks of the problem are ever held.
    return {
      name: self._layout.gather_last(loss, chunk)[:count].sum(-1)
      for name, loss in losses.items()
    }


def _check_finite(losses, done: int, good, state, describe: str) -> None:
  finite = np.isfinite(np.sum([*losses.values()], axis=0))
  images_finite = bool(jax.jit(_all_finite)(state.images))
  if finite.all() and images_finite:
    return
  # A loss is of before its update, so the last update may break the images
  # while every loss is finite.
  step = done + (len(finite) if finite.all() else 1 + int(np.argmin(finite)))
  raise Diverged(
    f'the loss is not finite at step {step} with {describe}; a smaller'
    ' learning rate helps',
    step,
    good,
  )


def _all_finite(images: Array) -> Array:
  return jnp.isfinite(images).all()
