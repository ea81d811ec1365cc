"""Whose a workdir is: runs that may go on in one, and runs that may not."""

import errno
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.run import facts, make, run, team, workdir
from dm_jax.training.evaluate import NetworksDiverged


def snapshot(folder):
  """Returns every file's content and time, also of the hidden ones."""
  return {
    str(path.relative_to(folder)): (
      path.read_bytes() if path.is_file() else None,
      path.stat().st_mtime_ns,
    )
    for path in sorted(folder.rglob('*'))
  }


class Run:
  """A finished run: its data and workdir, to be run again with changes."""

  def __init__(self, root, make_config):
    self._make_config = make_config
    self.data = root / 'data.npz'
    self.workdir = root / 'workdir'

  def again(self, mode='condense', **changes):
    """Runs it again; returns what it said."""
    lines = []
    run.run(
      self._make_config(**{'data.dir': str(self.data)} | changes),
      mode=mode,
      folder=self.workdir,
      say=lines.append,
    )
    return lines

  def pixels(self):
    with np.load(self.workdir / 'synthetic.npz') as file:
      return file['images']

  def refused(self, **changes):
    """Runs it again; returns why that is refused, with nothing changed."""
    before = snapshot(self.workdir)
    with pytest.raises(InputError) as error:
      self.again(**changes)
    assert snapshot(self.workdir) == before
    message = str(error.value)
    assert '\n' not in message
    return message


@pytest.fixture(scope='module')
def original(tmp_path_factory, make_config, save_arrays):
  finished = Run(tmp_path_factory.mktemp('original'), make_config)
  save_arrays(finished.data)
  finished.again()
  return finished


@pytest.fixture
def finished(original, tmp_path, make_config):
  copy = Run(tmp_path, make_config)
  shutil.copytree(original.workdir, copy.workdir)
  shutil.copy(original.data, copy.data)
  return copy


@pytest.mark.parametrize(
  ('changes', 'differences'),
  [
    ({'seed': 1}, 'seed: 0 -> 1'),
    (
      {'network.width': 8, 'condense.init': 'noise', 'output.pictures': 0},
      "condense.init: 'real' -> 'noise'; network.width: 4 -> 8",
    ),
    ({'condense.steps': 6}, 'condense.steps: 4 -> 6'),
  ],
)
def test_another_config_is_refused_naming_the_fields(
  finished, changes, differences
):
  assert finished.refused(**changes) == (
    f'workdir {finished.workdir} belongs to another config ({differences}):'
    ' choose another with --workdir, or give the old settings to go on'
  )


def test_a_start_with_nothing_to_do_leaves_what_the_run_was_done_with(
  finished, monkeypatch
):
  machine = {'device': 'another', 'peak_bytes': 10**15}
  monkeypatch.setattr(run, 'describe_machine', lambda *_: machine)
  for module in (facts, make):
    monkeypatch.setattr(module, 'package_versions', lambda: {'jax': '99'})
  names = 'results.json', 'synthetic.npz'
  before = [(finished.workdir / name).read_bytes() for name in names]
  made_on = json.loads(before[0])['device']
  finished.again('condense')
  assert [(finished.workdir / name).read_bytes() for name in names] == before
  finished.again('run', **{'evaluate.baselines': 'none'})
  results = json.loads((finished.workdir / 'results.json').read_text())
  # The set was made there, and judged here.
  assert results['device'] == f'{made_on}, then another'
  assert results['versions'] == {'jax': '99'}
  assert (results['mode'], results['peak_bytes']) == ('run', 10**15)
  assert (finished.workdir / 'synthetic.npz').read_bytes() == before[1]


def test_the_plan_is_that_of_the_start_that_condensed(finished):
  file = finished.workdir / 'results.json'
  plan = json.loads(file.read_text())['plan']
  assert plan['placement'] == 'device'
  finished.again(
    'run', **{'evaluate.baselines': 'none', 'data.placement': 'host'}
  )
  results = json.loads(file.read_text())
  assert results['evaluations']
  assert results['plan'] == plan


def test_how_sets_are_judged_may_change_until_one_is(finished):
  pixels = finished.pixels()
  judged = {
    'evaluate.network.norm': 'batch',
    'evaluate.epochs': 1,
    'evaluate.networks': 1,
    'evaluate.baselines': 'none',
  }
  finished.again('run', **judged)
  np.testing.assert_array_equal(finished.pixels(), pixels)
  config = json.loads((finished.workdir / 'config.json').read_text())
  assert config['evaluate']['network']['norm'] == 'batch'
  message = finished.refused(**judged | {'evaluate.network.norm': 'layer'})
  assert "evaluate.network.norm: 'batch' -> 'layer'" in message


@pytest.mark.parametrize(
  'changes',
  [
    {'output.checkpoint_seconds': 0.0},
    {'output.checkpoints_kept': 1},
    {'output.pictures': 0},
    {'condense.log_every': 1},
    {'condense.micro_batch': 2},
    {'condense.classes_at_once': 1},
    {'condense.rematerialise': True},
    {'data.placement': 'host'},
  ],
)
def test_what_changes_no_result_may_change(finished, changes):
  pixels = finished.pixels()
  finished.again(**changes)
  np.testing.assert_array_equal(finished.pixels(), pixels)
  config = json.loads((finished.workdir / 'config.json').read_text())
  ((name, value),) = changes.items()
  group, field = name.split('.')
  assert config[group][field] == value


def test_the_data_may_move(finished):
  moved = finished.data.rename(finished.data.with_name('moved.npz'))
  finished.again(**{'data.dir': str(moved)})


def test_decoded_images_may_be_kept(finished, tmp_path):
  finished.again(**{'data.cache': str(tmp_path / 'kept')})
  assert [*tmp_path.glob('kept/npz-*/train.npy')]


@pytest.mark.parametrize(
  'name', ['train_images', 'train_labels', 'test_images', 'test_labels']
)
def test_changed_data_are_refused(finished, arrays, save_arrays, name):
  save_arrays(finished.data, **{name: arrays[name][::-1]})
  message = finished.refused()
  changed = 'other data (the images or labels of the data changed: as many'
  assert f'{finished.workdir} belongs to {changed}' in message
  assert len(message) < 400


HOLD = """
import pathlib, sys, time
from dm_jax.files import read_json
from dm_jax.run import workdir
from dm_jax.run.config import RunConfig
path = pathlib.Path(sys.argv[1])
identity = read_json(path / 'config.json')
inputs = identity.pop('inputs')
with workdir.claim(path, RunConfig.from_dict(identity), inputs):
  print('held', flush=True)
  time.sleep(60)
"""


def test_a_second_run_is_refused_while_the_first_is_alive(root, finished):
  first = subprocess.Popen(
    [sys.executable, '-c', HOLD, str(finished.workdir)],
    cwd=root,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    assert first.stdout is not None
    assert first.stdout.readline() == 'held\n'
    assert finished.refused() == (
      f'another run is in workdir {finished.workdir}: wait for it or choose'
      ' another with --workdir'
    )
  finally:
    first.kill()
    first.communicate()
  finished.again()  # The lock went with the process.


def test_a_folder_without_locks_is_claimed_all_the_same(
  tmp_path, make_config, monkeypatch, capsys
):
  def flock(file, how):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

  monkeypatch.setattr(fcntl, 'flock', flock)
  with workdir.claim(tmp_path, make_config(), {}):
    assert (tmp_path / 'config.json').exists()
  assert f'warning: {tmp_path} has no file locks' in capsys.readouterr().err


def test_half_written_files_are_removed_where_this_run_writes(
  tmp_path, make_config
):
  """The workdir may hold a person's files, and other runs that are alive."""
  done = subprocess.Popen([sys.executable, '-c', ''])
  done.wait()
  left = f'.a.{done.pid}.tmp'
  own = ['', 'images', 'set_1/baselines', 'order_0/step_1/images']
  others = ['docs', 'set_9', 'set_9/images']
  for folder in (*own, *others):
    (tmp_path / folder / left).mkdir(parents=True)
  (tmp_path / 'set_9' / '.lock').touch()  # A run of its own.
  with workdir.claim(tmp_path, make_config(), {}):
    pass
  found = {str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob(left)}
  assert found == {*others}


@pytest.mark.parametrize('below', ['', 'x', 'x/y'])
def test_a_workdir_that_is_a_file_is_refused(finished, below):
  file = finished.workdir.with_name('file')
  file.write_text('precious')
  finished.workdir = file / below if below else file
  with pytest.raises(InputError, match=rf'{file}.* is (not a folder|a file)'):
    finished.again()
  assert file.read_text() == 'precious'


@pytest.mark.skipif(not os.path.exists('/proc/self'), reason='no /proc here')
@pytest.mark.parametrize('workdir', ['/dev/null/run', '/proc/dm_jax/run'])
def test_a_workdir_that_cannot_be_written_is_refused(finished, workdir):
  finished.workdir = pathlib.Path(workdir)
  with pytest.raises(InputError, match=f'{workdir}.*choose another') as error:
    finished.again()
  assert '\n' not in str(error.value)


NO_JSON = [b'', b'{"seed": 0, "con', b'\xff\xfe']
NO_OBJECT = [b'[]', b'3', b'null']


@pytest.mark.parametrize(
  ('name', 'content'),
  [
    *(('config.json', content) for content in [*NO_JSON, *NO_OBJECT]),
    *(('results.json', content) for content in [*NO_JSON, *NO_OBJECT]),
  ],
)
def test_a_damaged_file_of_the_run_is_refused_by_name(finished, name, content):
  path = finished.workdir / name
  path.write_bytes(content)
  pixels = finished.pixels()
  with pytest.raises(InputError, match=f'{path} ') as error:
    finished.again()
  assert '\n' not in str(error.value)
  assert path.read_bytes() == content
  np.testing.assert_array_equal(finished.pixels(), pixels)


def test_a_config_file_that_lost_its_content_gives_the_folder_to_nobody(
  finished,
):
  (finished.workdir / 'config.json').write_text('{}')
  finished.refused()


def test_a_damaged_line_of_metrics_is_named(finished):
  path = finished.workdir / 'metrics.jsonl'
  lines = path.read_text().splitlines()
  path.write_text('\n'.join(['{"step": ', *lines[1:], '']))
  with pytest.raises(InputError, match=rf'{path}, line 1, is not a JSON'):
    finished.again()


@pytest.mark.parametrize(
  'name', ['synthetic.npz', 'results.json', 'metrics.jsonl', 'report.html']
)
def test_a_deleted_file_is_no_obstacle(original, finished, name):
  (finished.workdir / name).unlink()
  finished.again()
  np.testing.assert_array_equal(finished.pixels(), original.pixels())
  assert (finished.workdir / 'results.json').exists()
  assert (finished.workdir / 'report.html').exists()


@pytest.mark.parametrize('lost', [(), ('checkpoints',)])
def test_a_folder_that_lost_its_config_is_refused(finished, lost):
  for name in lost:
    shutil.rmtree(finished.workdir / name)
  (finished.workdir / 'config.json').unlink()
  assert 'but no config.json to tell whose' in finished.refused()


def test_a_set_that_lies_alone_in_a_workdir_can_be_judged_there(
  finished, tmp_path, make_config
):
  alone = tmp_path / 'alone'
  alone.mkdir()
  file = shutil.copy(finished.workdir / 'synthetic.npz', alone)
  config = make_config(**{'data.dir': str(finished.data)})
  found = run.run(config, mode='evaluate', folder=alone, synthetic=file)
  assert len(found['accuracies']) == 1


@pytest.mark.parametrize('lost', ['checkpoints', 'checkpoints/4'])
def test_a_set_that_is_made_stays_where_its_checkpoints_are_lost(
  finished, monkeypatch, lost
):
  finished.again('run', **{'evaluate.baselines': 'none'})
  before = snapshot(finished.workdir)
  shutil.rmtree(finished.workdir / lost)
  monkeypatch.delattr(team.Team, 'condense')
  monkeypatch.delattr(team.Team, 'begin')
  finished.again('run', **{'evaluate.baselines': 'none'})
  after = snapshot(finished.workdir)
  for name in ('synthetic.npz', 'metrics.jsonl'):
    assert after[name] == before[name]
  assert after['results.json'][0] == before['results.json'][0]
  # Nor is it where nothing is known of it any more.
  (finished.workdir / 'results.json').unlink()
  finished.again('run', **{'evaluate.baselines': 'none'})
  assert snapshot(finished.workdir)['synthetic.npz'] == before['synthetic.npz']


def test_a_damaged_set_without_checkpoints_may_be_removed(finished):
  shutil.rmtree(finished.workdir / 'checkpoints')
  path = finished.workdir / 'synthetic.npz'
  made = path.read_bytes()
  path.write_bytes(made[:100])
  with pytest.raises(InputError, match='is left: move it elsewhere to'):
    finished.again('condense')
  path.unlink()
  finished.again('condense')
  assert path.read_bytes() == made


def test_networks_that_diverge_are_counted_over_all_groups(finished):
  judged = {
    'evaluate.learning_rate': 1e30,
    'evaluate.networks': 2 * jax.device_count(),  # Two groups.
    'evaluate.epochs': 1,
    'evaluate.baselines': 'none',
  }
  with pytest.warns(NetworksDiverged) as told:
    finished.again('run', **judged)
  first, last = [str(warning.message) for warning in told]
  count = jax.device_count()
  assert f'{count} of {count} networks diverged' in first
  assert f'{2 * count} of {2 * count} networks diverged' in last


@pytest.mark.parametrize(
  ('config_file', 'folder'),
  [
    ('configs/cifar100.py', 'runs/cifar100'),
    ('configs/cifar100.py:ipc=10', 'runs/cifar100_ipc=10'),
    ('/a/b/mine.v2.py:ipc=1,10', 'runs/mine.v2_ipc=1-10'),
    ('mine.py:accuracy=30-40', 'runs/mine_accuracy=30-40'),
    ('mine.py:dir=../a b', 'runs/mine_dir=..-a-b'),
  ],
)
def test_a_workdir_is_named_as_the_config(config_file, folder):
  assert str(workdir.default_folder(config_file)) == folder
