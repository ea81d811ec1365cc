import dataclasses
import functools
import itertools
import threading
import time
from typing import Any
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.condensing import loop
from dm_jax.condensing.prefetch import deal_chunk
from dm_jax.devices.layout import lay_out
from dm_jax.devices.pace import Pace
from dm_jax.errors import Diverged
from dm_jax.matching.step import Algorithm

CLASSES = 4
# Of calls of one step each, and of calls as long as they may be.
SHORT, LONG = Pace(aim=0.0), Pace(aim=1e9)


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


def unused(*args):
  raise AssertionError('the loop takes steps alone')


@functools.cache
def algorithm(step):
  """The same step gives the same one, which shares what is compiled."""

  def named(state, problem):
    state, losses = step(state, problem)
    return state, {'loss': losses}

  return Algorithm(unused, unused, named, ('loss',))


def start(step=0, classes=CLASSES):
  return State(jnp.int32(step), jnp.arange(classes, dtype=jnp.float32))


def run(
  step=add,
  state=None,
  *,
  steps,
  every=4,
  devices=1,
  callback=None,
  at_once=None,
  resident=True,
  **options,
):
  state = state or start()
  classes = len(state.images)
  return loop.run(
    algorithm(step),
    state,
    np.ones(classes, np.float32),
    (State(step=None, images=0), 0),
    lay_out(classes, jax.devices()[:devices], at_once=at_once),
    steps=steps,
    every=every,
    describe='a learning rate of 3',
    callback=callback,
    resident=resident,
    **options,
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
  ('pace', 'every', 'expected'),
  [
    # The first call has one step, which tells how many are affordable.
    (SHORT, 4, list(range(1, 11))),
    (LONG, 4, [1, 4, 8, 10]),
    (LONG, 100, [1, 10]),
  ],
)
def test_the_length_of_calls_changes_no_result(pace, every, expected):
  calls = Calls()
  state = run(steps=10, every=every, callback=calls, pace=pace)
  assert calls.steps == expected
  np.testing.assert_array_equal(calls.losses, 8 * np.arange(10) + 6)
  np.testing.assert_array_equal(state.images, np.arange(4) + 10)


def test_a_call_has_a_most_number_of_steps():
  calls = Calls()
  run(steps=2500, every=10_000, callback=calls, pace=LONG)
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


def watched(calls):
  """A step, the times it was traced, and the calls before each compiling."""
  traced, compiled_before = [], set()

  def step(state, problem):
    traced.append(state.step)
    return add(state, problem)

  def listen(event, duration_secs, **_):
    if event == '/jax/core/compile/backend_compile_duration':
      compiled_before.add(len(calls.steps))

  # It stays: not every jax that we support can take one back.
  jax.monitoring.register_event_duration_secs_listener(listen)
  return step, traced, compiled_before


def test_the_step_is_traced_once_and_nothing_compiles_later():
  calls = Calls()
  step, traced, compiled_before = watched(calls)
  run(step, steps=30, every=8, callback=calls, pace=LONG)
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
def test_divergence_names_the_step_and_keeps_the_last_good_state(step, devices):
  with pytest.raises(Diverged, match='step 6 .* rate of 3') as error:
    run(step, steps=9, every=3, devices=devices, pace=LONG)
  assert error.value.step == 6
  assert int(error.value.state.step) == 3
  np.testing.assert_array_equal(error.value.state.images, np.arange(4) + 3)


# At most 3 of 10 classes on a device: 3, 3, 3 and 1 of them on one device, all
# but the last with no padding; on three devices 2 + 2 + 2 and then 2 + 2.
CHUNKED = [(1, True), (1, False), (3, True), (3, False)]


@pytest.mark.parametrize(('devices', 'resident'), CHUNKED)
def test_chunks_are_reported_as_one(devices, resident):
  calls = Calls()
  state = run(
    state=start(classes=10),
    steps=10,
    devices=devices,
    callback=calls,
    at_once=3,
    resident=resident,
  )
  # Step i finds images c + i, and sums i + c + i over the classes.
  np.testing.assert_array_equal(calls.losses, 20 * np.arange(10) + 45)
  np.testing.assert_array_equal(state.images, np.arange(10) + 10)
  assert int(state.step) == calls.steps[-1] == 10
  for kept in calls.states:  # They are the callback's to keep.
    np.testing.assert_array_equal(kept.images, np.arange(10) + int(kept.step))


@pytest.mark.parametrize(('devices', 'resident'), CHUNKED)
def test_the_step_of_chunks_is_traced_and_compiled_once(devices, resident):
  calls = Calls()
  step, traced, compiled_before = watched(calls)
  run(
    step,
    start(classes=10),
    steps=30,
    every=8,
    devices=devices,
    callback=calls,
    at_once=3,
    resident=resident,
    pace=LONG,
  )
  assert calls.steps == [1, 8, 16, 24, 30]
  assert len(traced) == 1
  assert compiled_before == {0}


@pytest.mark.parametrize(('devices', 'resident'), CHUNKED)
@pytest.mark.parametrize('spoilt', [0, 9])
def test_divergence_in_a_chunk_keeps_the_last_good_state_of_all(
  devices, resident, spoilt
):
  def step(state, problem):
    bad = (state.step > 5) & (state.images == state.step + spoilt)
    state, losses = add(state, problem)
    return state, jnp.where(bad, jnp.nan, losses)

  with pytest.raises(Diverged, match='step 7 ') as error:
    run(
      step,
      start(classes=10),
      steps=9,
      every=3,
      devices=devices,
      at_once=3,
      resident=resident,
      pace=LONG,
    )
  assert int(error.value.state.step) == 6
  np.testing.assert_array_equal(error.value.state.images, np.arange(10) + 6)


@pytest.mark.parametrize(
  ('seconds', 'expected'), [(0.0, [*range(1, 9)]), (0.1, [1, 4, 8])]
)
def test_a_call_is_long_enough_to_hide_the_copying(seconds, expected):
  def deal(*args):
    time.sleep(seconds)
    return deal_chunk(*args)

  calls = Calls()
  # What stays on the devices is copied once, before the first call.
  run(
    steps=8,
    callback=calls,
    at_once=2,
    resident=not seconds,
    pace=SHORT,
    deal=deal,
  )
  assert calls.steps == expected


@pytest.mark.parametrize('devices', [1, 3])
def test_two_chunks_of_the_data_are_on_the_devices_at_most(devices):
  held, most = weakref.WeakValueDictionary(), []

  def counted(*args):
    dealt = deal_chunk(*args)
    held[len(most)] = dealt
    most.append(len(held))
    return dealt

  options = {'steps': 12, 'devices': devices, 'at_once': 1, 'deal': counted}
  run(state=start(classes=12), resident=False, **options)
  assert len(most) > 12, 'chunks were dealt again'
  assert max(most) == 2
  most.clear()
  run(state=start(classes=12), resident=True, **options)
  assert max(most) == len(most) == 12 // devices, 'as a check of the test'


def threads():
  return set(threading.enumerate())


@pytest.mark.parametrize('failing', [0, 1, 3, 7])
def test_what_the_copying_thread_raises_ends_the_run(failing):
  """Of 4 chunks; copies 4 to 7 are those of the second call."""
  before, number = threads(), itertools.count()

  def broken(*args):
    if next(number) == failing:
      raise OSError('the disk is gone')
    return deal_chunk(*args)

  with pytest.raises(OSError, match='the disk is gone'):
    run(steps=10, at_once=1, resident=False, deal=broken)
  assert threads() == before


def test_no_thread_is_left_however_a_run_ends():
  before = threads()
  run(steps=3, at_once=1, resident=False)
  assert threads() == before

  def stop(state, metrics):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run(steps=3, at_once=1, resident=False, callback=stop)
  assert threads() == before
  with pytest.raises(Diverged):
    run(diverge_in_loss, steps=9, at_once=1, resident=False)
  assert threads() == before


def test_what_all_classes_share_is_put_onto_the_devices_once():
  layout = lay_out(6, jax.local_devices()[:1], at_once=2)
  problem = {'pool': jnp.ones(3), 'data': jnp.arange(6.0)}
  axes = {'pool': None, 'data': 0}
  shared = layout.deal_shared(problem, axes)
  dealt = [deal_chunk(layout, problem, axes, shared, i) for i in range(3)]
  assert all(one['pool'] is shared['pool'] for one in dealt)
  np.testing.assert_array_equal(shared['pool'], np.ones(3))
  rows = [np.ravel(one['data']).tolist() for one in dealt]
  assert rows == [[0, 1], [2, 3], [4, 5]]
