"""Runs that several processes share, each of them a subprocess."""

import collections
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from dm_jax import job, processes
from dm_jax.config import RunConfig
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.types import InputError

STEPS = 300
QUIET = (
  '--config.output.pictures=0',
  '--config.network.width=8',
  '--config.condense.augment=crop',
)
CONDENSE = (*QUIET, '--mode=condense', f'--config.condense.steps={STEPS}')
EVALUATED = (
  *QUIET,
  '--config.evaluate.augment=none',
  '--config.evaluate.epochs=5',
  '--config.evaluate.baselines=random',
)
BATCH_NORM = (*QUIET, '--mode=condense', '--config.network.norm=batch')


class Launcher:
  """Starts runs; whatever still runs at the end is killed."""

  def __init__(self, root, environment):
    self._root, self._environment = root, environment
    self._started = []

  def start(self, workdir, *arguments, count, devices=2):
    """Starts `count` processes of one run; arguments may differ by process."""
    with socket.socket() as free:
      free.bind(('localhost', 0))
      address = f'localhost:{free.getsockname()[1]}'
    together = ('--distributed', f'--coordinator={address}')
    flags = [
      [*together, f'--processes={count}', f'--process={number}']
      for number in range(count)
    ]
    return [
      self._start(workdir, devices, *arguments, *(own if count > 1 else ()))
      for own in flags
    ]

  def _start(self, workdir, devices, *arguments):
    count = f'--xla_force_host_platform_device_count={devices}'
    process = subprocess.Popen(
      [
        *(sys.executable, 'launch.py', '--config=configs/smoke.py:ipc=2'),
        *(f'--workdir={workdir}', *arguments),
      ],
      cwd=self._root,
      env={**self._environment, 'XLA_FLAGS': count},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    self._started.append(process)
    return process

  def run(self, *arguments, **options):
    """Starts a run and waits until it has ended well."""
    return [finish(process) for process in self.start(*arguments, **options)]

  def close(self):
    for process in self._started:
      process.kill()
      process.communicate()


Finished = collections.namedtuple('Finished', 'code out err')


def end(process, timeout=60):
  """Waits for a process; returns its code and lines, but for the transport's.

  Gloo, which carries data between CPUs, tells of every connection.
  """
  streams = process.communicate(timeout=timeout)
  out, err = (
    [line for line in text.splitlines() if not line.startswith('[Gloo]')]
    for text in streams
  )
  return Finished(process.returncode, out, err)


def finish(process):
  ended = end(process, timeout=120)
  assert ended.code == 0, ended.err
  return ended


@pytest.fixture(scope='module')
def launcher(root, environment):
  launcher = Launcher(root, environment)
  yield launcher
  launcher.close()


def read_rows(workdir):
  text = (workdir / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def read_results(workdir):
  return json.loads((workdir / 'results.json').read_text())


def assert_same_set(workdir, expected, atol=1e-5):
  ours, theirs = (
    SyntheticSet.load(folder / 'synthetic.npz') for folder in (workdir, expected)
  )
  np.testing.assert_allclose(ours.images, theirs.images, atol=atol)
  np.testing.assert_array_equal(ours.labels, theirs.labels)


@pytest.fixture(scope='module')
def alone(launcher, tmp_path_factory):
  """The folder of a run of one process with one device, and its lines."""
  workdir = tmp_path_factory.mktemp('alone')
  (ended,) = launcher.run(workdir, *EVALUATED, count=1, devices=1)
  return workdir, ended


@pytest.fixture(scope='module')
def shared(launcher, tmp_path_factory):
  """The folder of the same run on two processes, and the lines of each."""
  workdir = tmp_path_factory.mktemp('shared')
  return workdir, launcher.run(workdir, *EVALUATED, count=2)


def test_two_processes_make_what_one_makes(alone, shared):
  assert_same_set(shared[0], alone[0])
  ours, theirs = (
    SyntheticSet.load(folder / 'baselines/random.npz')
    for folder in (shared[0], alone[0])
  )
  np.testing.assert_array_equal(ours.images, theirs.images)
  np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_two_processes_measure_what_one_measures(alone, shared):
  ours, theirs = read_results(shared[0]), read_results(alone[0])
  # Training is on the same images but for rounding: one of the 360 may change.
  assert ours['accuracies'] == pytest.approx(theirs['accuracies'], abs=2 / 360)
  name = 'baseline_random_accuracies'
  assert ours[name] == pytest.approx(theirs[name], abs=1e-9)
  losses = [[r['loss'] for r in read_rows(w)] for w, _ in (shared, alone)]
  assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_what_a_run_writes_is_written_once(alone, shared):
  names = [
    sorted(
      str(path.relative_to(workdir))
      for path in workdir.rglob('*')
      if not {'tensorboard', 'd'} & set(path.parts)
    )
    for workdir in (shared[0], alone[0])
  ]
  assert names[0] == names[1]
  assert not [path for path in shared[0].rglob('*tmp*')]
  assert [row['step'] for row in read_rows(shared[0])] == [5, 10, 15, 20]
  assert len(list((shared[0] / 'tensorboard').glob('*'))) <= 1


def test_only_the_lead_speaks(alone, shared):
  lead, other = shared[1]
  assert other.out == other.err == []
  told = [line for line in lead.out if not line.startswith('the real images')]
  expected = [
    line.replace(str(alone[0]), str(shared[0]))
    for line in alone[1].out
    if not line.startswith('the real images')
  ]
  assert told == expected


def test_batch_norm_spans_the_processes(launcher, tmp_path):
  """Its statistics are of all classes, half of which each process holds."""
  launcher.run(tmp_path / 'alone', *BATCH_NORM, count=1, devices=1)
  launcher.run(tmp_path / 'shared', *BATCH_NORM, count=2)
  assert_same_set(tmp_path / 'shared', tmp_path / 'alone')


def newest(workdir):
  """Returns the step of the newest whole checkpoint, 0 if there is none."""
  names = [path.name for path in (workdir / 'checkpoints').glob('*')]
  return max((int(name) for name in names if name.isdecimal()), default=0)


def wait_for_step(started, workdir, step):
  limit = time.monotonic() + 60
  while newest(workdir) < step:
    for process in started:
      assert process.poll() is None, process.communicate()
    assert time.monotonic() < limit, 'it never came'
    time.sleep(0.01)


@pytest.fixture(scope='module')
def straight(launcher, tmp_path_factory):
  """The folder of a run of one process that nothing disturbed."""
  workdir = tmp_path_factory.mktemp('straight')
  launcher.run(workdir, *CONDENSE, count=1, devices=1)
  return workdir


def start_and_disturb(launcher, workdir, *, count, number, sent):
  """Starts a run or goes on, sends a signal to a process, lets all end."""
  begun = newest(workdir)
  started = launcher.start(
    workdir, *CONDENSE, '--config.output.checkpoint_seconds=0', count=count
  )
  wait_for_step(started, workdir, begun + 5)
  started[number].send_signal(sent)
  ended = [end(process) for process in started]
  assert begun < newest(workdir) < STEPS, 'it ended too early'
  return ended


def assert_went_on_and_ended_like(workdir, ended, step, straight):
  assert f'resuming at step {step}' in ended.out
  assert_same_set(workdir, straight, atol=1e-4)
  steps = list(range(5, STEPS + 1, 5))
  assert [row['step'] for row in read_rows(workdir)] == steps


def test_a_stopped_run_goes_on_with_another_number_of_processes(
  launcher, straight, tmp_path
):
  # Two, of which the one that does not write gets the signal.
  ended = start_and_disturb(
    launcher, tmp_path, count=2, number=1, sent=signal.SIGTERM
  )
  step = newest(tmp_path)
  for process in ended:
    assert process.code == 128 + signal.SIGTERM
    assert f'stopped at step {step}, which was saved' in process.err[-1]
    assert 'Traceback' not in '\n'.join(process.err)
  # Then one, then three.
  (ended,) = start_and_disturb(
    launcher, tmp_path, count=1, number=0, sent=signal.SIGTERM
  )
  assert f'resuming at step {step}' in ended.out
  step = newest(tmp_path)
  ended = launcher.run(tmp_path, *CONDENSE, count=3, devices=1)
  assert_went_on_and_ended_like(tmp_path, ended[0], step, straight)


def test_a_process_that_is_killed_ends_the_others_and_the_run_goes_on(
  launcher, straight, tmp_path
):
  killed = -signal.SIGKILL
  lead, other = start_and_disturb(
    launcher, tmp_path, count=2, number=1, sent=signal.SIGKILL
  )
  assert other.code == killed
  assert lead.code not in (0, killed)
  told = [line for line in lead.err if line.startswith('error: ')]
  assert len(told) == 1, lead.err
  assert 'another process of this run has ended' in told[0]
  assert 'Traceback' not in '\n'.join(lead.err)
  lead, other = start_and_disturb(
    launcher, tmp_path, count=2, number=0, sent=signal.SIGKILL
  )
  assert lead.code == killed
  assert other.code not in (0, killed)
  assert re.search(
    'another process of this run has ended|coordination service|leader',
    '\n'.join(other.err),
  )
  step = newest(tmp_path)
  (ended,) = launcher.run(tmp_path, *CONDENSE, count=1, devices=1)
  assert_went_on_and_ended_like(tmp_path, ended, step, straight)
