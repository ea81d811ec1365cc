import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax import loop
from dm_jax.parallel import lay_out
from dm_jax.types import Diverged

CLASSES = 4


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  step: Any
  images: Any


def add(state, problem):
  """Step i adds `problem` to the images; the losses are i + images."""
  losses = state.step + state.images
  images = state.images + problem
  return State(state.step + 1, images), losses


def start(step=0):
  return State(jnp.int32(step), jnp.arange(CLASSES, dtype=jnp.float32))


def run(step=add, state=None, *, steps, every=4, devices=1, callback=None):
  return loop.run(
    step,
    state or start(),
    jnp.ones(CLASSES),
    (State(step=None, images=0), 0),
    lay_out(CLASSES, jax.devices()[:devices]),
    steps=steps,
    every=every,
    describe='a learning rate of 3',
    callback=callback,
  )


class Calls:
  """A callback that keeps what it gets."""

  def __init__(self):
    self.states, self.metrics = [], []

  def __call__(self, state, metrics):
    self.states.append(state)
    self.metrics.append(metrics)

  @property
  def steps(self):
    return [metrics.step for metrics in self.metrics]

  @property
  def losses(self):
    return np.concatenate([metrics.losses for metrics in self.metrics])


def test_every_step_is_reported_once_and_in_order():
  calls = Calls()
  state = run(steps=10, callback=calls)
  # Step i finds images c + i, and sums i + c + i over the classes.
  np.testing.assert_array_equal(calls.losses, 8 * np.arange(10) + 6)
  np.testing.assert_array_equal(state.images, np.arange(4) + 10)
  assert int(state.step) == calls.steps[-1] == 10
  assert calls.steps == sorted(set(calls.steps))
  assert {4, 8} <= set(calls.steps)
  for state, metrics in zip(calls.states, calls.metrics, strict=True):
    assert int(state.step) == metrics.step
    assert metrics.seconds > 0
    assert metrics.compile_seconds == calls.metrics[0].compile_seconds > 0


@pytest.mark.parametrize(
  ('seconds', 'every', 'expected'),
  [
    # The first call has one step, which tells how many are affordable.
    (0, 4, list(range(1, 11))),
    (1e9, 4, [1, 4, 8, 10]),
    (1e9, 100, [1, 10]),
  ],
)
def test_the_length_of_calls_changes_no_result(
  monkeypatch, seconds, every, expected
):
  monkeypatch.setattr(loop, '_SECONDS', seconds)
  calls = Calls()
  state = run(steps=10, every=every, callback=calls)
  assert calls.steps == expected
  np.testing.assert_array_equal(calls.losses, 8 * np.arange(10) + 6)
  np.testing.assert_array_equal(state.images, np.arange(4) + 10)


def test_a_call_has_a_most_number_of_steps(monkeypatch):
  monkeypatch.setattr(loop, '_SECONDS', 1e9)
  calls = Calls()
  run(steps=2500, every=10_000, callback=calls)
  assert calls.steps == [1, 1001, 2001, 2500]
  np.testing.assert_array_equal(calls.losses, 8 * np.arange(2500) + 6)


def test_a_run_goes_on_where_its_state_is():
  calls = Calls()
  run(state=start(step=6), steps=10, callback=calls)
  assert calls.steps[0] == 7
  assert {8, 10} <= set(calls.steps)
  assert len(calls.losses) == 4


def test_a_run_that_is_done_does_nothing():
  calls, state = Calls(), start(step=10)
  assert run(state=state, steps=10, callback=calls) is state
  assert run(state=state, steps=9, callback=calls) is state
  assert calls.steps == []


def test_the_step_is_traced_once_and_nothing_compiles_later(monkeypatch):
  monkeypatch.setattr(loop, '_SECONDS', 1e9)
  calls, traced, compiled_before = Calls(), [], set()

  def step(state, problem):
    traced.append(state.step)
    return add(state, problem)

  def listen(event, duration_secs, **_):
    if event == '/jax/core/compile/backend_compile_duration':
      compiled_before.add(len(calls.steps))

  # It stays: not every jax that we support can take one back.
  jax.monitoring.register_event_duration_secs_listener(listen)
  run(step, steps=30, every=8, callback=calls)
  assert calls.steps == [1, 8, 16, 24, 30]
  assert len(traced) == 1
  assert compiled_before == {0}


@pytest.mark.parametrize('devices', [1, 4])
def test_states_are_the_callbacks_and_the_callers_to_keep(devices):
  calls, state = Calls(), start()
  end = run(state=state, steps=6, every=2, devices=devices, callback=calls)
  for kept in (state, *calls.states, end):
    np.testing.assert_array_equal(kept.images, np.arange(4) + int(kept.step))


def test_what_a_callback_raises_ends_the_run():
  def stop(state, metrics):
    if metrics.step >= 4:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run(steps=10, callback=stop)


def diverge_in_loss(state, problem):
  state, losses = add(state, problem)
  return state, jnp.where(state.step > 5, jnp.nan, losses)


def diverge_in_images(state, problem):
  state, losses = add(state, problem)
  images = jnp.where(state.step > 5, jnp.inf, state.images)
  return State(state.step, images), losses


@pytest.mark.parametrize('devices', [1, 4])
@pytest.mark.parametrize('step', [diverge_in_loss, diverge_in_images])
def test_divergence_names_the_step_and_keeps_the_last_good_state(
  monkeypatch, step, devices
):
  monkeypatch.setattr(loop, '_SECONDS', 1e9)
  with pytest.raises(Diverged, match='step 6 .* rate of 3') as error:
    run(step, steps=9, every=3, devices=devices)
  assert error.value.step == 6
  assert int(error.value.state.step) == 3
  np.testing.assert_array_equal(error.value.state.images, np.arange(4) + 3)
