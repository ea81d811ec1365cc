"""Runs that several processes share, each of them a subprocess."""

import collections
import concurrent.futures
import json
import re
import signal
import socket
import subprocess
import sys
import time

import flax.linen as nn
import jax
import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.networks.registry import register_network
from dm_jax.run import facts, processes
from dm_jax.run.config import RunConfig
from dm_jax.run.given import SetFile
from dm_jax.run.prepare import prepare
from dm_jax.selection.select import select_classes
from dm_jax.synthetic_set import SyntheticSet

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
  '--config.evaluate.baselines=random,random_full',
  '--config.condense.storage=tiles',
  '--config.condense.factor=2',
)
BATCH_NORM = (*QUIET, '--mode=condense', '--config.network.norm=batch')


class Launcher:
  """Starts runs; whatever still runs at the end is killed."""

  def __init__(self, root, environment):
    self._root, self._environment = root, environment
    self._started = []

  def start(self, workdir, *arguments, count, devices=2, own=None):
    """Starts the processes of one run; some with arguments of their `own`."""
    with socket.socket() as free:
      free.bind(('localhost', 0))
      address = f'localhost:{free.getsockname()[1]}'
    together = ('--distributed', f'--coordinator={address}')
    started = []
    for number in range(count):
      more = list((own or {}).get(number, ()))
      if count > 1:
        more += [*together, f'--processes={count}', f'--process={number}']
      started.append(self._start(workdir, devices, *arguments, *more))
    return started

  def _start(self, workdir, devices, *arguments):
    # Hurried, since only process 0 of several keeps what it compiled.
    flags = (
      self._environment['XLA_FLAGS'],
      f'--xla_force_host_platform_device_count={devices}',
    )
    process = subprocess.Popen(
      [
        *(sys.executable, 'launch.py', '--config=configs/smoke.py:ipc=2'),
        *(f'--workdir={workdir}', *arguments),
      ],
      cwd=self._root,
      env={**self._environment, 'XLA_FLAGS': ' '.join(flags)},
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
def launcher(root, hurried):
  launcher = Launcher(root, hurried)
  yield launcher
  launcher.close()


def read_rows(workdir):
  text = (workdir / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def read_results(workdir):
  return json.loads((workdir / 'results.json').read_text())


def assert_same_set(workdir, expected, atol=1e-5):
  ours, theirs = (
    SyntheticSet.load(folder / 'synthetic.npz')
    for folder in (workdir, expected)
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
  for method in ('random', 'random_full'):
    ours, theirs = (
      SyntheticSet.load(folder / 'baselines' / f'{method}.npz')
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
  assert not list(shared[0].rglob('*tmp*'))
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


def start_and_disturb(launcher, workdir, *, number, sent, **options):
  """Starts a run or goes on, sends a signal to a process, lets all end."""
  begun = newest(workdir)
  started = launcher.start(
    workdir, *CONDENSE, '--config.output.checkpoint_seconds=0', **options
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
    assert f'step {step} was saved' in process.err[-1]
    assert 'Traceback' not in '\n'.join(process.err)
  # Then one, then three.
  (ended,) = start_and_disturb(
    launcher, tmp_path, count=1, devices=1, number=0, sent=signal.SIGTERM
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


def test_a_process_with_other_settings_ends_all(launcher, tmp_path):
  started = launcher.start(
    tmp_path / 'run',
    *CONDENSE,
    count=2,
    own={1: ['--config.condense.micro_batch=3', '--config.seed=1']},
  )
  lead, other = map(end, started)
  assert other.code == 1
  assert other.err == [
    'error: process 1 has other settings than process 0 (condense.micro_batch:'
    ' 3 -> 0; seed: 1 -> 0): start all with the same'
  ]
  assert lead.code == 1
  (line,) = lead.err
  assert line.startswith('error: another process of this run has ended')
  assert not (tmp_path / 'run').exists()


def test_what_the_lead_refuses_ends_all(launcher, alone):
  """The workdir, which only the lead looks into, is of other settings."""
  before = {p: p.read_bytes() for p in alone[0].iterdir() if p.is_file()}
  started = launcher.start(alone[0], *CONDENSE, count=2)
  lead, other = map(end, started)
  assert lead.code == other.code == 1
  (line,) = lead.err
  assert 'belongs to another config' in line
  assert other.err == [
    line.replace('error: ', 'error: process 0 ended the run: ')
  ]
  assert before == {p: p.read_bytes() for p in before}


# The rest needs no process.


@pytest.fixture
def numbered(monkeypatch):
  """A function that lets this process believe that it is one of several."""

  def numbered(index, count):
    monkeypatch.setattr(processes, 'index', lambda: index)
    monkeypatch.setattr(processes, 'count', lambda: count)
    monkeypatch.setattr(processes, 'broadcast', lambda value: value)
    monkeypatch.setattr(processes, 'total', lambda sums: sums)

  return numbered


@pytest.mark.parametrize(('items', 'count'), [(10, 3), (10, 4), (2, 5), (0, 2)])
def test_shares_cover_everything_once_and_hardly_differ(numbered, items, count):
  covered, sizes = [], set()
  for index in range(count):
    numbered(index, count)
    low, high = processes.share(items)
    assert (low, high) == processes.share(items, index)
    covered += range(low, high)
    sizes.add(high - low)
  assert covered == list(range(items))
  assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
  'given',
  [
    {'coordinator': 'here:1'},
    {'processes': 2, 'process': 0},
    {'coordinator': 'here:1', 'processes': 2},
    {'process': 0},
  ],
)
def test_flags_that_go_together_are_asked_for_in_one_line(given):
  with pytest.raises(InputError, match='go together: give --coord') as error:
    processes.start(**given)
  assert '\n' not in str(error.value)


def test_a_process_must_be_one_of_the_processes():
  with pytest.raises(InputError, match='--process=2 must be below .*=2'):
    processes.start('localhost:1', 2, 2)


def free_port():
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return free.getsockname()[1]


def test_a_coordinator_that_does_not_answer_is_waited_for_some_time():
  assert processes.PATIENCE <= 60
  address = f'localhost:{free_port()}'
  started = time.monotonic()
  with pytest.raises(InputError, match=f'answers at {address}') as error:
    processes.start(address, 2, 1, patience=0.3)
  assert 0.3 <= time.monotonic() - started < 10
  assert '\n' not in str(error.value)


def test_a_coordinator_that_comes_later_is_found():
  port = free_port()

  def listen():
    time.sleep(0.2)
    with socket.create_server(('localhost', port)) as server:
      server.settimeout(30)
      server.accept()[0].close()

  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    listening = pool.submit(listen)
    processes.await_coordinator(f'localhost:{port}', pause=0.01)
    listening.result(timeout=30)


@pytest.mark.parametrize('address', ['localhost', ':1', 'localhost:http'])
def test_an_address_has_a_host_and_a_port(address):
  with pytest.raises(InputError, match='must be HOST:PORT, got'):
    processes.start(address, 2, 1)


def prepared(tmp_path, mode='run', given=None, **sections):
  config = {
    'data': {'name': 'digits'},
    'network': {'width': 4, 'depth': 1},
    'condense': {'images_per_class': 1},
  }
  for name, values in sections.items():
    section = config.get(name, {})
    config[name] = section | values if isinstance(values, dict) else values
  return prepare(
    RunConfig.from_dict(config), mode, tmp_path / 'run', given, '', print
  )


def test_more_processes_than_classes_are_refused(numbered, tmp_path):
  numbered(0, 11)
  with pytest.raises(InputError, match='11 processes are more than the 10'):
    prepared(tmp_path)
  numbered(0, 10)
  prepared(tmp_path)


@pytest.mark.parametrize(
  ('sections', 'named'),
  [
    ({'evaluate': {'baselines': 'random,whole'}}, 'evaluate.baselines whole '),
    ({'evaluate': {'baselines': 'herding'}}, 'evaluate.baselines herding '),
    ({'method': 'k_center'}, 'method k_center'),
    ({'embedder': {'name': 'pool'}}, 'embedder.name pool'),
    (
      {'evaluate': {'validation_every': 100}, 'data': {'validation': 0.1}},
      'evaluate.validation_every',
    ),
  ],
)
def test_what_needs_the_images_of_all_classes_is_refused(
  numbered, tmp_path, sections, named
):
  numbered(0, 2)
  with pytest.raises(InputError, match=f'^{named}.*run it in one pro') as error:
    prepared(tmp_path, **sections)
  assert '\n' not in str(error.value)


class Normalised(nn.Module):
  """A module of one's own that has batch norm."""

  @nn.compact
  def __call__(self, images, train):
    features = images.reshape(len(images), -1)
    features = nn.BatchNorm(use_running_average=not train)(features)
    return features, nn.Dense(10)(features)


def test_a_batch_norm_of_ones_own_is_refused(numbered, tmp_path):
  """It knows neither the other processes' classes nor their padding."""
  register_network('normalised', lambda *_: Normalised())
  given = {'name': 'normalised'}
  prepared(tmp_path, network=given)
  numbered(0, 2)
  message = 'network.name normalised needs .* run it in one process'
  with pytest.raises(InputError, match=message) as error:
    prepared(tmp_path, network=given)
  assert '\n' not in str(error.value)


def test_baselines_do_not_matter_to_condensing_alone(numbered, tmp_path):
  numbered(0, 2)
  selected = {'baselines': 'whole,herding'}
  prepared(tmp_path, mode='condense', evaluate=selected)


def test_how_a_set_was_made_does_not_matter_to_judging_it(numbered, tmp_path):
  train = prepared(tmp_path).split.train
  chosen = select_classes(train, 'random', 1, key=jax.random.key(0))
  chosen.save(tmp_path / 'synthetic.npz')
  given = SetFile.of(tmp_path / 'synthetic.npz')
  numbered(0, 2)
  recipe = {'embedder': {'name': 'trajectory'}, 'method': 'herding'}
  prepared(tmp_path, mode='evaluate', given=given, **recipe)


def test_held_out_images_are_counted_of_all_processes(numbered, tmp_path):
  def count():
    job = prepared(tmp_path, data={'validation': 0.1})
    return facts.facts(job)['data'].validation_images

  alone = count()
  assert alone > 100
  numbered(0, 2)
  assert count() == alone


@pytest.mark.parametrize(('index', 'count'), [(0, 2), (1, 2), (2, 3)])
def test_a_process_holds_its_classes_alone(numbered, tmp_path, index, count):
  whole = prepared(tmp_path).split.train
  numbered(index, count)
  train = prepared(tmp_path).split.train
  low, high = 10 * index // count, 10 * (index + 1) // count
  assert train.held == (low, high)
  np.testing.assert_array_equal(train.images[low:high], whole.images[low:high])
  np.testing.assert_array_equal(train.counts, whole.counts)


def test_processes_with_other_classes_are_told_so(monkeypatch):
  monkeypatch.setattr(
    processes, 'gather', lambda sums: [sums, np.zeros((12, 4), np.int64)]
  )
  message = r'different classes or shapes \(\(10, 4\) and \(12, 4\)\)'
  with pytest.raises(InputError, match=message):
    processes.total(np.zeros((10, 4), np.int64))
  np.testing.assert_array_equal(
    processes.total(np.ones((12, 4), np.int64)), np.ones((12, 4))
  )
