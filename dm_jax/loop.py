"""Runs steps, many in a compiled call, and reports between the calls."""

from collections.abc import Callable
import dataclasses
import functools
import time
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from dm_jax.parallel import ClassLayout
from dm_jax.types import Array, Diverged

_MOST_STEPS = 1000  # Per compiled call.
_SECONDS = 1.0  # Aim of a compiled call, so that callbacks come soon.


@dataclasses.dataclass(frozen=True)
class Metrics:
  """What happened since the last callback.

  Attributes:
    step: steps done.
    losses: float32 [steps since the last callback], summed over the classes.
    seconds: that they took.
    compile_seconds: of the whole run so far.
  """

  step: int
  losses: np.ndarray
  seconds: float
  compile_seconds: float


def repeat(step: Callable) -> Callable:
  """Returns (state, problem, steps) -> (state, losses [_MOST_STEPS, C]).

  The number of steps is an argument of the compiled program, so that calls of
  every length share it. Losses beyond that number are 0.
  """

  def call(state: Any, problem: Any, steps: Array):
    def body(i, carry):
      state, losses = carry
      state, loss = step(state, problem)
      return state, losses.at[i].set(loss.astype(jnp.float32))

    losses = jnp.zeros((_MOST_STEPS, state.images.shape[0]), jnp.float32)
    return lax.fori_loop(jnp.int32(0), steps, body, (state, losses))

  return call


@functools.lru_cache(maxsize=8)
def _program(step: Callable, axes: tuple[Any, Any], layout: ClassLayout):
  """The compiled repetition; equal arguments share it."""
  return layout.map(repeat(step), (*axes, None))


def run(
  step: Callable,
  state: Any,
  problem: Any,
  axes: tuple[Any, Any],
  layout: ClassLayout,
  *,
  steps: int,
  every: int,
  describe: str,
  callback: Callable[[Any, Metrics], None] | None,
) -> Any:
  """Steps from `state` until `steps` are done.

  Args:
    step: (state, problem) -> (state, losses [C]); calls with the same one share
      what is compiled.
    state: has `step` and `images`; not changed.
    problem: what a step reads.
    axes: of the state and the problem, see `ClassLayout.map`; hashable.
    layout: the devices.
    steps: the last step.
    every: callbacks come at its multiples, and about once a second.
    describe: the settings to name when the run diverges.
    callback: gets (state, metrics); the state is its to keep.

  Returns:
    The state after the last step.

  Raises:
    Diverged: a loss or image is not finite; holds the last good state.
  """
  done = int(state.step)
  if done >= steps:
    return state
  dealt = layout.deal(state, axes[0], donated=True)
  held = layout.deal(problem, axes[1])
  started = time.perf_counter()
  program = _program(step, axes, layout)
  dealt, losses = program(dealt, held, jnp.int32(0))
  jax.block_until_ready(losses)
  compile_seconds = time.perf_counter() - started
  count = 1
  while done < steps:
    started = time.perf_counter()
    dealt, losses = program(dealt, held, jnp.int32(count))
    losses = layout.gather_last(losses)[:count].sum(-1)
    seconds = time.perf_counter() - started
    good, state = state, layout.gather(dealt, axes[0])
    _check_finite(losses, done, good, state, describe)
    done += count
    if callback is not None:
      callback(state, Metrics(done, losses, seconds, compile_seconds))
    count = _next_count(seconds / count, done, steps, every)
  return state


def _next_count(
  seconds_per_step: float, done: int, steps: int, every: int
) -> int:
  """How many steps take about `_SECONDS` without passing a callback's step."""
  affordable = int(_SECONDS / max(seconds_per_step, 1e-9))
  limit = min(_MOST_STEPS, steps - done, every - done % every)
  return max(1, min(affordable, limit))


def _check_finite(losses, done: int, good, state, describe: str) -> None:
  finite = np.isfinite(losses)
  images_finite = bool(jax.jit(_all_finite)(state.images))
  if finite.all() and images_finite:
    return
  # The losses are those before each update: the last may spoil the images.
  step = done + (len(losses) if finite.all() else 1 + int(np.argmin(finite)))
  raise Diverged(
    f'the loss is not finite at step {step} with {describe}; a smaller'
    ' learning rate helps',
    step,
    good,
  )


def _all_finite(images: Array) -> Array:
  return jnp.isfinite(images).all()
