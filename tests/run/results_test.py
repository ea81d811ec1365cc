"""The command that runs the cells of a plan, and tabulates their record."""

import importlib
import json
import statistics

import pytest

from benchmarks.commit import commit
from benchmarks.planned_tables import Plan, cells_table
from benchmarks.portable import portable_command, portable_settings
from benchmarks.results_record import Found, make_record, read_found
from dm_jax.run.config import RunConfig

CELLS = 'cifar10_1_tiles', 'cifar10_1_random'
SETTINGS = (
  'data.name=npz',
  'network.width=4',
  'network.depth=1',
  'sets=1',
  'evaluate.networks=2',
  'evaluate.epochs=1',
  'evaluate.augment=none',
)


def read_plan(name):
  return importlib.import_module(f'dm_jax.configs.results.{name}')


@pytest.fixture
def command(results_script, twelve_of_each, tmp_path):
  """A function of flags that runs cells of the plan recipe in a folder."""

  def command(*flags):
    return results_script(
      '--plan=recipe',
      f'--workdir={tmp_path / "results"}',
      *(f'--config.{setting}' for setting in SETTINGS),
      f'--config.data.dir={twelve_of_each}',
      *flags,
    )

  return command


def test_a_table_shows_what_the_record_holds(command, tmp_path):
  done = command(f'--cells={",".join(CELLS)}')
  assert done.returncode == 0, done.stderr
  assert f'left: {CELLS[0]}, not known yet' in done.stdout.splitlines()
  record = json.loads((tmp_path / 'results' / 'recipe_cpu.json').read_text())
  assert [cell['name'] for cell in record['cells']] == [*CELLS]
  table = (tmp_path / 'results' / 'recipe_cpu.md').read_text()
  for cell in record['cells']:
    (found,) = cell['evaluations']
    (accuracies,) = found['accuracies']
    mean, spread = statistics.fmean(accuracies), statistics.pstdev(accuracies)
    (row,) = (
      line for line in table.splitlines() if f'| {cell["says"]} |' in line
    )
    assert f'| {100 * mean:.1f} ± {100 * spread:.1f} |' in row
    assert '--config.network.width=4' in cell['command']
    assert '--config.data.dir=' in cell['command']
    assert cell['settings']['network']['width'] == 4
    assert cell['commits'] == [commit()]
    assert len(cell['data_digest']) == 64
  # Who reads the record need not know where the runs lay.
  assert str(tmp_path) not in json.dumps(record)
  again = command(f'--cells={",".join(CELLS)}')
  assert f'finished: {", ".join(CELLS)}' in again.stdout
  assert (tmp_path / 'results' / 'recipe_cpu.md').read_text() == table


def test_a_cell_that_is_none_is_refused_in_one_line(command):
  done = command('--cells=cifar10_1_tile')
  assert done.returncode == 1
  assert "unknown cell 'cifar10_1_tile'" in done.stderr.splitlines()[-1]


def test_another_plan_s_record_is_refused_before_anything_is_run(
  command, tmp_path
):
  record = tmp_path / 'results_cpu.json'
  record.write_text('{"plan": "cpu", "cells": []}')
  done = command(f'--cells={CELLS[0]}', f'--record={record}')
  assert done.returncode == 1
  assert 'the record is of the plan cpu' in done.stderr.splitlines()[-1]
  assert not (tmp_path / 'results').exists()


def test_a_cell_judges_the_set_of_another_by_other_networks(command, tmp_path):
  small = ('steps=1', 'batch_real=4', 'decoded_at_once=0')
  flags = [f'--config.condense.{setting}' for setting in small]
  done = command('--cells=cifar10_10_dm', '--mode=condense', *flags)
  assert done.returncode == 0, done.stderr
  assert done.stdout.endswith('has been judged yet\n')
  done = command(
    '--cells=cifar10_10_dm_across', *flags, '--config.evaluate.pool=mlp,convnet'
  )
  assert done.returncode == 0, done.stderr
  record = json.loads((tmp_path / 'results' / 'recipe_cpu.json').read_text())
  (cell,) = record['cells']
  assert cell['method'] == 'dm'
  kinds = [e['network'].split(':')[0] for e in cell['evaluations']]
  assert kinds == ['mlp', 'convnet']
  assert not (tmp_path / 'results/cifar10_10_dm_across/synthetic.npz').exists()


def test_a_record_keeps_what_was_run_in_other_folders(tmp_path):
  plan = read_plan('recipe')
  before = {'cells': [{'name': 'mnist_1_dm'}, {'name': 'cifar10_1_dm'}]}
  made = make_record(
    plan, 'recipe', read_found(plan, 'recipe', tmp_path), before
  )
  assert [cell['name'] for cell in made['cells']] == [
    'cifar10_1_dm',
    'mnist_1_dm',
  ]


@pytest.mark.parametrize(
  'size', ['cifar10_10', 'cifar10_50', 'tiny_imagenet_10']
)
def test_networks_take_at_least_as_many_steps_on_fewer_images(size):
  plan = read_plan('recipe')
  classes, per_class = 100 if 'tiny' in size else 10, int(size.split('_')[-1])

  def steps(kind, held):
    epochs = plan.CELLS[f'{size}_{kind}'].sets['evaluate.epochs']
    # The original counts from 0 to and with the last.
    return (epochs + 1) * -(-classes * per_class * held // 256)

  tiles = steps('recipe', 4 if per_class == 50 else 9)
  assert tiles <= steps('dm', 1) < 1.05 * tiles


def test_a_row_is_of_the_cell_s_own_set_and_says_what_is_missing():
  def found(method, *accuracies, network='convnet'):
    return {
      'method': method,
      'network': network,
      'protocol': 'dm',
      'images_per_class': 10,
      'accuracies': accuracies,
      'bytes': 307200,
    }

  evaluate = {'epochs': 5, 'networks': 2, 'pool': 'same,vgg11'}
  settings = RunConfig.from_dict({'sets': 2, 'evaluate': evaluate}).to_dict()
  cell = {
    'name': 'cifar10_10_dm',
    'config': 'cifar10',
    'says': 'recipe',
    'method': 'dm',
    'images_per_class': 10,
    'device': None,  # Of a run that was stopped.
    'condense_seconds': {'0': 3.0, '1': None},
    'pool_seconds': None,
    'evaluations': [
      found('dm', [0.5, 0.6], [0.7]),
      found('random', [0.1]),
      found('dm', [0.4, 0.4], [0.4, 0.4], network='vgg11'),
    ],
    'settings': settings,
  }
  plan = Plan.of(read_plan('recipe'), {'cells': [cell]})
  table = cells_table(plan, ['cifar10_10_dm'])
  rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
  found = [(row['Network, epochs'], row['Accuracy']) for row in rows]
  assert found == [
    ('ConvNet, 5 epochs', '60.0 ± 8.2 (3 of 4)'),
    ('VGG-11, 5 epochs', '40.0 ± 0.0'),
  ]
  assert {row['Bytes'] for row in rows} == {'307 kB'}
  assert '2 sets of 2 networks' in table.notes[0]


def test_a_cell_that_has_come_less_far_replaces_none(tmp_path):
  def cell(*accuracies):
    evaluation = {'accuracies': [list(accuracies)]}
    return {'name': 'mnist_1_dm', 'evaluations': [evaluation]}

  plan = read_plan('recipe')
  before = {'cells': [cell(0.5, 0.6)]}
  for new, kept in (([0.4], [0.5, 0.6]), ([0.4, 0.4], [0.4, 0.4])):
    made = make_record(plan, 'recipe', Found([cell(*new)], []), before)
    assert made['cells'] == [cell(*kept)]


def test_a_record_names_no_place_of_the_machine_that_made_it():
  command = portable_command(
    "python x.py --workdir=/home/me/runs --config.data.dir='/my data/cifar10'"
    ' --config.condense.steps=5'
  )
  assert command == (
    'python x.py --workdir=runs --config.data.dir=cifar10'
    ' --config.condense.steps=5'
  )
  apart = "python x.py --workdir /home/me/runs --folders '/a b/f' --plan=cpu"
  assert portable_command(apart) == (
    'python x.py --workdir=runs --folders=f --plan=cpu'
  )
  config = {
    'seed': 3,
    'data': {'dir': '/home/me/cifar10', 'cache': None},
    'output': {'pictures': 5},
    'inputs': {'data': 'ab12'},
  }
  settings = portable_settings(config)
  assert settings == {'seed': 3, 'data': {'dir': 'cifar10', 'cache': None}}
  assert config['data']['dir'] == '/home/me/cifar10'
