"""The rungs of a recipe, and the command that runs one after the other."""

import dataclasses
import json
import re
import subprocess
import sys

from ml_collections import ConfigDict
import pytest

from benchmarks import plan
from benchmarks.ladder import check_known
from benchmarks.plan import Cell, is_finished, run_cells
from dm_jax.config.fields import differences
from dm_jax.configs import cifar10, digits, ladder
from dm_jax.errors import Diverged, InputError
from dm_jax.run.config import RunConfig

RUNGS = [*ladder.RUNGS]


def read(argument):
  return RunConfig.from_dict(ladder.get_config(argument).to_dict())


def changed(old, new):
  lines = differences(old.settings(), new.settings())
  return {line.split(':')[0] for line in lines} - {'evaluate.baselines'}


@pytest.mark.parametrize('name', RUNGS[1:])
def test_a_rung_changes_what_it_says_alone(name):
  rung = ladder.RUNGS[name]
  fields = changed(read(f'rung={rung.on}'), read(f'rung={name}'))
  assert fields
  for field in fields:
    assert any(
      field == known or field.startswith(f'{known}.')
      for known in (*rung.takes, *rung.sets)
    ), field


@pytest.mark.parametrize(
  ('data', 'preset'), [('cifar10', cifar10), ('digits', digits)]
)
def test_the_ladder_leads_from_the_paper_to_the_recipe(data, preset):
  judged = {'sets', 'data.validation', 'condense.discrepancy'}
  for rung, recipe, rest in (
    ('dm', 'paper', {'condense.steps', 'condense.batch_real'}),
    ('cross_entropy', 'trajectory', {'condense.optimizer'}),
  ):
    made = preset.get_config(f'ipc=50:recipe={recipe}').to_dict()
    fields = changed(
      RunConfig.from_dict(made), read(f'rung={rung}:ipc=50:data={data}')
    )
    others = {f for f in fields if not f.startswith('evaluate.')}
    assert others <= judged | rest
  for name in RUNGS:
    assert read(f'rung={name}:ipc=50').condense.optimizer == 'sgd'
  assert read(f'rung=tiles:data={data}').evaluate.protocols == ('dm', 'idc')


@pytest.mark.parametrize('name', RUNGS)
def test_what_a_rung_leaves_open_can_be_set_by_a_flag(name):
  def types(config, prefix=''):
    for field in config:
      if isinstance(config[field], ConfigDict):
        yield from types(config[field], f'{prefix}{field}.')
      else:
        yield f'{prefix}{field}', config.get_type(field)

  rung = dict(types(ladder.get_config(f'rung={name}')))
  preset = dict(types(cifar10.get_config('recipe=trajectory')))
  left_open = {'embedder.dir', 'condense.learning_rate', 'condense.smoothing'}
  assert left_open <= preset.keys()
  for field in left_open:
    assert rung[field] is preset[field] is not type(None)


def test_labels_of_a_teacher_are_a_rung():
  config = ladder.get_config('rung=teacher')
  assert config.labels == 'teacher'
  assert ladder.get_config('rung=mmd').get('labels') != 'teacher'
  assert 'random' in config.evaluate.baselines


def test_evaluations_on_the_way_follow_the_steps():
  for steps, every in ((1000, 100), (250, 30), (4, 10)):
    config = ladder.get_config('rung=augment')
    config.update_from_flattened_dict({'condense.steps': steps})
    made = RunConfig.from_dict(config.to_dict())
    assert made.evaluate.validation_every == every


@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    ('rung=tile', 'did you mean tiles'),
    ('data=cifar', "unknown data 'cifar'"),
    ('steps=3', 'config argument'),
  ],
)
def test_what_is_no_rung_is_told_in_one_line(argument, message):
  with pytest.raises(InputError) as error:
    ladder.get_config(argument)
  assert message in str(error.value)
  assert '\n' not in str(error.value)


@pytest.fixture
def cells(make_config, save_arrays, tmp_path):
  """Two runs of seconds."""
  save_arrays(tmp_path / 'images.npz')
  common = {
    'data.dir': str(tmp_path / 'images.npz'),
    'method': 'random',
    'evaluate.baselines': 'none',
  }
  return [
    Cell(name, make_config(**common | changes), tmp_path / name)
    for name, changes in (('a', {}), ('b', {'seed': 1}))
  ]


def test_what_is_finished_is_skipped_and_the_rest_is_done(cells, monkeypatch):
  first, second = cells
  said = []
  assert not is_finished(first)
  assert run_cells([first], 'command', said.append) == []
  assert is_finished(first)
  assert not is_finished(second)
  begun = []

  def note(config, **given):
    begun.append((config, given['folder']))

  monkeypatch.setattr(plan, 'run', note)
  said.clear()
  run_cells(cells, 'command', said.append)
  assert begun == [(second.config, second.folder)]
  assert said == ['finished: a', 'b; left: nothing more']
  # More networks are asked for.
  more = dataclasses.replace(first.config.evaluate, networks=2)
  other = dataclasses.replace(
    first, config=dataclasses.replace(first.config, evaluate=more)
  )
  with pytest.raises(InputError, match='another config .*networks: 1 -> 2'):
    is_finished(other)
  # Its last network was lost.
  file = first.folder / 'results.json'
  values = json.loads(file.read_text())
  values['evaluations'][0]['accuracies'] = [[]]
  file.write_text(json.dumps(values))
  assert not is_finished(first)


def test_a_run_that_diverges_does_not_end_the_others(cells, monkeypatch):
  def run(config, **given):
    if config.seed == 0:
      raise Diverged('the loss is no number', 3, None)

  monkeypatch.setattr(plan, 'run', run)
  said = []
  assert run_cells(cells, '', said.append) == ['a: the loss is no number']
  assert said[::2] == ['a; left: b', 'b; left: nothing more']


@pytest.fixture
def command(root, hurried, tmp_path):
  """A function of flags that runs the ladder in a folder; what it printed."""

  def command(*flags):
    return subprocess.run(
      [
        *(sys.executable, 'benchmarks/ladder.py', '--data=digits', '--ipc=1'),
        f'--workdir={tmp_path / "ladder"}',
        *(f'--config.{setting}' for setting in SETTINGS),
        *flags,
      ],
      cwd=root,
      env=hurried | {'PYTHONPATH': str(root)},
      capture_output=True,
      text=True,
      timeout=300,
    )

  return command


SETTINGS = (
  'sets=1',
  'network.width=4',
  'network.depth=1',
  'condense.steps=2',
  'condense.batch_real=4',
  'evaluate.validation_every=1',
  'evaluate.networks=1',
  'evaluate.epochs=1',
  'evaluate.protocol=dm',
  'evaluate.augment=none',
  'evaluate.baselines=none',
  'condense.augment=none',
  'pretrain.augment=none',
  'pretrain.epochs=1',
  'embedder.networks=1',
)


def test_the_command_runs_rungs_on_one_pool_and_tabulates(command, tmp_path):
  done = command('--rungs=tiles,snapshots')
  assert done.returncode == 0, done.stderr
  folder = tmp_path / 'ladder'
  network, targets = sorted((folder / 'pool').iterdir())
  assert network.name == 'network_000.npz'
  assert targets.name.startswith('targets_')
  assert not (folder / 'snapshots' / 'pool').exists()
  text = (folder / 'ladder.md').read_text()
  rows = re.findall(r'^\| ([\w ]+) \|', text, re.M)
  assert rows == [
    'Rung',
    'tiles',
    'snapshots',
  ]
  assert (folder / 'ladder.png').exists()
  before = text
  again = command('--rungs=tiles,snapshots')
  assert 'finished: tiles, snapshots' in again.stdout
  assert (folder / 'ladder.md').read_text() == before


def test_the_command_refuses_in_one_line(command):
  done = command('--rungs=tile')
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1].startswith("error: unknown rung 'tile'")
  done = command('--what=table')
  assert 'has no rung yet' in done.stderr.splitlines()[-1]


def test_a_record_loses_no_rung_of_another_folder(tmp_path):
  path = tmp_path / 'record.json'
  both = {'rungs': [{'name': 'dm'}, {'name': 'tiles'}]}
  check_known(path, both)  # There is none yet.
  path.write_text(json.dumps(both))
  check_known(path, both)
  with pytest.raises(InputError, match='has tiles, which this --workdir has'):
    check_known(path, {'rungs': both['rungs'][:1]})
