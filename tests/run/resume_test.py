"""Runs that are killed or stopped, in processes of their own, and go on."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dm_jax.synthetic_set import SyntheticSet

STEPS = 3000
RANDOM = 'train convnet:width=4:depth=1 on random, 2 per class'


@pytest.fixture(scope='module')
def start(root, environment):
  """A function that starts a run; whatever still runs at the end is killed."""
  processes = []

  def start(workdir, *arguments, mode='condense'):
    command = [
      *(sys.executable, 'launch.py', '--config=configs/smoke.py'),
      *(f'--workdir={workdir}', f'--mode={mode}'),
      *(f'--config.condense.steps={STEPS}', '--config.output.pictures=0'),
      *('--config.evaluate.networks=1', '--config.evaluate.epochs=2000'),
      '--config.evaluate.baselines=random',
      *arguments,
    ]
    process = subprocess.Popen(
      command,
      cwd=root,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    processes.append(process)
    return process

  yield start
  for process in processes:
    process.kill()
    process.communicate()


@pytest.fixture(scope='module')
def straight(start, tmp_path_factory):
  """The folder of a run that nothing disturbed."""
  workdir = tmp_path_factory.mktemp('straight')
  finish(start(workdir))
  return workdir


def finish(process):
  """Waits for a run to end well; returns what it said."""
  out, err = process.communicate(timeout=120)
  assert process.returncode == 0, err
  return out


def wait_until(process, condition):
  """Polls while the process runs."""
  limit = time.monotonic() + 60
  while not condition():
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < limit, 'it never came'
    time.sleep(0.001)


def kill(process):
  process.kill()
  process.communicate()
  assert process.returncode == -signal.SIGKILL


def resumed_at(out):
  """Returns the step that a run said it went on from."""
  (step,) = re.findall(r'^resuming at step (\d+)$', out, re.MULTILINE)
  return int(step)


def newest(workdir):
  """Returns the step of the newest whole checkpoint, 0 if there is none."""
  names = [path.name for path in (workdir / 'checkpoints').glob('*')]
  return max((int(name) for name in names if name.isdecimal()), default=0)


def stands_still_in_a_save(process, workdir):
  """Stops a process that is writing a checkpoint; returns whether it did."""

  def is_saving():
    return any((workdir / 'checkpoints').glob('*.orbax-checkpoint-tmp*'))

  if not is_saving():
    return False
  process.send_signal(signal.SIGSTOP)
  time.sleep(0.02)
  if is_saving():
    return True
  process.send_signal(signal.SIGCONT)  # It was too quick; the next one, then.
  return False


def read_rows(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def last_logged(workdir):
  """Returns the step of the last whole line of metrics."""
  path = workdir / 'metrics.jsonl'
  text = path.read_text() if path.exists() else ''
  steps = re.findall(r'"step": (\d+).*\n', text)
  return int(steps[-1]) if steps else 0


def assert_same_end(workdir, straight):
  ours, theirs = (w / 'synthetic.npz' for w in (workdir, straight))
  assert ours.read_bytes() == theirs.read_bytes()


def assert_same_metrics(workdir, straight):
  ours, theirs = read_rows(workdir), read_rows(straight)
  assert [r['step'] for r in ours] == [r['step'] for r in theirs]
  assert [r['steps'] for r in ours] == [r['steps'] for r in theirs]
  losses = [row['loss'] for row in theirs]
  assert [row['loss'] for row in ours] == pytest.approx(losses, rel=1e-6)


def test_a_straight_run_logs_each_interval_once(straight):
  rows = read_rows(straight)
  assert [row['step'] for row in rows] == list(range(5, STEPS + 1, 5))
  assert {row['steps'] for row in rows} == {5}


@pytest.fixture(scope='module')
def killed(start, straight, tmp_path_factory):
  """The folder of a run that was killed four times, and its last words."""
  workdir = tmp_path_factory.mktemp('killed')
  pause = random.Random(0).uniform(0.0, 0.3)
  moments = [
    # As soon as there is something to go on from.
    lambda process, begun: newest(workdir) > begun,
    lambda process, begun: last_logged(workdir) > begun + 50,
    lambda process, begun: newest(workdir) > begun and not time.sleep(pause),
    lambda process, begun: (
      newest(workdir) > begun and stands_still_in_a_save(process, workdir)
    ),
  ]
  steps = []
  for moment in moments:
    begun = newest(workdir)
    process = start(workdir, '--config.output.checkpoint_seconds=0')
    wait_until(process, lambda m=moment, p=process, b=begun: m(p, b))
    kill(process)
    steps.append(newest(workdir))
  assert steps == sorted(set(steps)), 'each went on from where the last was'
  assert steps[-1] < STEPS, 'it ended before it could be killed'
  out = finish(start(workdir))
  assert resumed_at(out) == steps[-1]
  return workdir, out


def test_a_run_killed_again_and_again_ends_like_a_straight_one(
  killed, straight
):
  assert_same_end(killed[0], straight)


def test_metrics_of_a_killed_run_read_like_those_of_a_straight_one(
  killed, straight
):
  ours, theirs = read_rows(killed[0]), read_rows(straight)
  assert [r['step'] for r in ours] == [r['step'] for r in theirs]
  assert [r['steps'] for r in ours] == [r['steps'] for r in theirs]
  losses = [row['loss'] for row in theirs]
  assert [row['loss'] for row in ours] == pytest.approx(losses, rel=1e-6)


def test_a_save_that_was_cut_off_is_reported_and_left_out(killed):
  workdir, out = killed
  assert out.count('a half-written checkpoint was left out: ') == 1
  assert not list((workdir / 'checkpoints').glob('*tmp*'))


def test_nothing_half_written_is_left_elsewhere(killed):
  left = [path.name for path in killed[0].rglob('*') if '.tmp' in path.name]
  assert left == []


@pytest.fixture(scope='module')
def stopped(start, tmp_path_factory):
  """A run that was stopped twice: its folder and the steps."""
  workdir = tmp_path_factory.mktemp('stopped')
  stops = []
  for number, code, options in (
    (signal.SIGTERM, 143, ()),
    # How often lines are written changes no result.
    (signal.SIGINT, 130, ('--config.condense.log_every=50',)),
  ):
    begun = newest(workdir)
    process = start(workdir, *options)
    wait_until(process, lambda b=begun: last_logged(workdir) > b + 200)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    step = newest(workdir)
    assert err.splitlines()[-1] == (
      f'stopped (condensing, step {step} was saved); the same command goes on'
    )
    assert 'Traceback' not in err
    assert begun < step < STEPS
    if stops:
      assert resumed_at(out) == stops[-1]
    stops.append(step)
  assert resumed_at(finish(start(workdir))) == stops[-1]
  return workdir, stops


def test_a_signal_saves_the_step_and_the_same_command_goes_on(
  stopped, straight
):
  assert_same_end(stopped[0], straight)


def test_results_name_every_step_that_a_run_went_on_from(stopped):
  workdir, stops = stopped
  results = json.loads((workdir / 'results.json').read_text())
  assert results['resumed_from'] == stops


def test_a_killed_run_goes_on_with_less_memory(start, straight, tmp_path):
  process = start(tmp_path, '--config.output.checkpoint_seconds=0')
  wait_until(process, lambda: newest(tmp_path) > 100)
  kill(process)
  begun = newest(tmp_path)
  assert begun < STEPS
  out = finish(
    start(
      tmp_path,
      '--config.condense.micro_batch=4',
      '--config.condense.classes_at_once=3',
      '--config.condense.rematerialise=True',
      '--config.data.placement=host',
    )
  )
  assert resumed_at(out) == begun
  # The note on the plan tells that they were taken.
  assert '3 classes at a time' in out
  ours, theirs = (
    SyntheticSet.load(folder / 'synthetic.npz')
    for folder in (tmp_path, straight)
  )
  assert ours.provenance == theirs.provenance
  apart = np.abs(np.asarray(ours.images) - np.asarray(theirs.images))
  # Where a sum in another order turns the sign of an activation, which of some
  # machines' sums do within 3,000 steps, that class's images go on elsewhere.
  by_class = np.array([apart[ours.class_of == n].max() for n in range(10)])
  assert np.sum(by_class > 1e-3) <= 1, by_class
  assert np.median(by_class) < 1e-5


def test_a_signal_while_evaluating_keeps_what_is_done(
  start, straight, tmp_path
):
  shutil.copytree(straight, tmp_path, dirs_exist_ok=True)
  process = start(tmp_path, mode='run')
  for line in process.stderr:
    if line.startswith(f'{RANDOM}: 1/'):
      break
  process.send_signal(signal.SIGTERM)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 143
  assert err.splitlines()[-1] == (
    f'stopped ({RANDOM}: 0 of 1 networks are kept); the same command goes on'
  )
  before = json.loads((tmp_path / 'results.json').read_text())
  assert 'accuracies' in before
  assert 'baseline_random_accuracies' not in before
  process = start(tmp_path, mode='run')
  _, err = process.communicate(timeout=60)
  assert process.returncode == 0
  assert RANDOM in err
  assert 'on dm' not in err
  after = json.loads((tmp_path / 'results.json').read_text())
  assert after['accuracies'] == before['accuracies']
  assert len(after['baseline_random_accuracies']) == 1
