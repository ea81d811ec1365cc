"""Making sets: what it takes, over all that a run was stopped by."""

import dataclasses
import re
import shutil

import pytest

from dm_jax.errors import InputError
from dm_jax.records.results import (
  Condensing,
  Results,
  read_results,
  write_results,
)
from dm_jax.run.interrupts import Interrupted, Request
from dm_jax.run.make import Maker, making_seconds
from dm_jax.run.prepare import prepare
from dm_jax.run.results_file import ResultsFile
from dm_jax.run.team import Team


@pytest.fixture
def maker(make_config, save_arrays, tmp_path):
  """A function that gives the maker of a run as each start of it does."""
  save_arrays(tmp_path / 'data.npz')

  def maker(micro_batch, request=None):
    changes = {
      'data.dir': str(tmp_path / 'data.npz'),
      'condense.micro_batch': micro_batch,
      'output.pictures': 0,
    }
    config = make_config(**changes)
    job = prepare(config, 'condense', tmp_path, None, '', lambda line: None)
    request = request or Request()
    results = ResultsFile(tmp_path, {})
    return Maker(job, request, Team(job, request), results)

  return maker


def stop_at_once(maker):
  stopped = Request()
  stopped.number = 15
  with pytest.raises(Interrupted, match=r'step \d was saved'):
    maker(4, stopped).make(0)


class Late(Request):
  """A request that a signal makes right after the first look at it."""

  def __init__(self):
    self.looks = 0

  def __getattribute__(self, name):
    if name != 'number':
      return super().__getattribute__(name)
    self.looks += 1
    return 0 if self.looks == 1 else 15


def test_a_signal_between_two_looks_does_not_lose_the_step(maker, tmp_path):
  with pytest.raises(Interrupted) as stop:
    maker(4, Late()).make(0)
  (step,) = re.findall(r'step (\d) was saved', str(stop.value))
  assert (tmp_path / 'checkpoints' / step).exists()


def test_a_version_with_another_rate_does_not_go_on_in_silence(maker, tmp_path):
  stop_at_once(maker)
  begun = read_results(tmp_path)
  rate = begun.plan['optimizer']['learning_rate']
  moved = {**begun.plan['optimizer'], 'learning_rate': 2 * rate}
  plan = {**begun.plan, 'optimizer': moved}
  write_results(tmp_path, dataclasses.replace(begun, plan=plan))
  told = rf'\(learning_rate: {2 * rate} -> {rate}\): go on with that'
  with pytest.raises(InputError, match=told):
    maker(4).make(0)
  # A field that the earlier version lacks is no change.
  fields = {k: v for k, v in begun.plan['optimizer'].items() if k != 'shares'}
  plan = {**begun.plan, 'optimizer': fields}
  write_results(tmp_path, dataclasses.replace(begun, plan=plan))
  maker(4).make(0)
  assert read_results(tmp_path).condense_seconds is not None


def test_a_set_that_no_version_began_is_made_as_this_one_recommends(
  maker, tmp_path
):
  stop_at_once(maker)
  begun = read_results(tmp_path)
  moved = {**begun.plan['optimizer'], 'learning_rate': 7.0}
  plan = {**begun.plan, 'optimizer': moved}
  write_results(tmp_path, dataclasses.replace(begun, plan=plan))
  shutil.rmtree(tmp_path / 'checkpoints')
  maker(4).make(0)
  assert read_results(tmp_path).plan == begun.plan


def test_compile_seconds_add_up_over_all_processes(maker, tmp_path):
  stop_at_once(maker)
  before = read_results(tmp_path).condensing['0']
  assert before.compile_seconds is not None
  assert before.compile_seconds > 0
  assert before.condense_seconds is None
  # As if it had been slow, so that it is seen in the sum.
  slow = dataclasses.replace(before, compile_seconds=1000.0)
  write_results(tmp_path, read_results(tmp_path).with_condensing('0', slow))
  # Another way to fit into memory is another program, which is compiled.
  maker(2).make(0)
  after = read_results(tmp_path)
  assert len(after.resumed_from) == 1
  assert after.compile_seconds is not None
  assert 1000 < after.compile_seconds < 1600
  assert after.condense_seconds is not None
  assert after.condense_seconds > 0
  maker(2).make(0)
  assert read_results(tmp_path).condensing == after.condensing


def test_a_run_that_goes_on_elsewhere_names_each_device(tmp_path):
  def worked(device):
    results = ResultsFile(tmp_path, {'device': device})
    results.keep(results.now.with_evaluating(1.0))
    return read_results(tmp_path).device

  assert worked('CPU, 2 cores') == 'CPU, 2 cores'
  assert worked('CPU, 2 cores') == 'CPU, 2 cores'
  for device in ('1 × A', '1 × A', 'CPU, 2 cores', '1 × A'):
    assert worked(device) == 'CPU, 2 cores, then 1 × A'
  # Without work of its own a start of the run changes nothing.
  ResultsFile(tmp_path, {'device': '1 × B'})
  assert read_results(tmp_path).device == 'CPU, 2 cores, then 1 × A'


def test_what_making_took_is_known_only_as_a_whole():
  results = Results(
    condensing={
      '0': Condensing(compile_seconds=2.0, condense_seconds=5.0),
      '1': Condensing(compile_seconds=2.0),
    },
    selecting_seconds={
      '0': {'random': 0.5, 'herding': 1.0, 'training': 8.0},
      '1': {'random': 0.25, 'herding': 1.0},
    },
  )
  for method, number, seconds in (
    ('dm', 0, 7.0),
    ('dm', 1, None),
    ('dm', 2, None),
    ('random', 0, 0.5),
    ('random', 1, 0.25),
    # With the training, which several methods share.
    ('herding', 0, 9.0),
    ('herding', 1, None),
    ('k_center', 0, None),
  ):
    assert making_seconds(results, method, number) == seconds
  with_pool = dataclasses.replace(results, pool_seconds=90.0)
  assert making_seconds(with_pool, 'dm', 0) == 97.0
  assert making_seconds(with_pool, 'random', 0) == 0.5
  # Its networks label what is drawn, too.
  taught = dataclasses.replace(with_pool, teachers=1)
  assert making_seconds(taught, 'random', 0) == 90.5
