"""The plans of configs/results/, and how long what is left of them takes."""

import ast
import dataclasses
import importlib
import re

import pytest

from benchmarks.estimate import (
  UNKNOWN,
  Left,
  foretell,
  left_of,
  pools_of,
  rates,
  work_of,
)
from benchmarks.results_record import (
  Found,
  check_device,
  device_slug,
  is_as_planned,
  make_record,
)
from dm_jax.configs.results.planned import (
  Planned,
  epochs_covering,
  epochs_within,
)
from dm_jax.data.statistics import PUBLISHED
from dm_jax.errors import InputError
from dm_jax.files import read_json
from dm_jax.report import paper
from dm_jax.run.config import RunConfig

PLANS = 'recipe', 'cpu', 'gpu', 'applications'


def read(name):
  return importlib.import_module(f'dm_jax.configs.results.{name}')


@pytest.mark.parametrize('name', PLANS)
def test_every_cell_of_a_plan_is_a_run(name, tmp_path):
  plan = read(name)
  for cell, planned in plan.CELLS.items():
    made = planned.make_config(
      plan.COMMON, planned.sets, planned.read_from(tmp_path)
    )
    wanted = {**plan.COMMON, **planned.sets}
    assert made.method == wanted.get('method', 'dm'), cell
    assert made.network.width == wanted.get(
      'network.width', 32 if planned.config == 'digits' else 128
    )
    assert (made.data.name == 'folder') == bool(planned.images)
    if planned.images:  # Others than there are stop the run.
      assert made.data.statistics in PUBLISHED
    assert planned.judges in ('', *plan.CELLS)


def test_cells_of_different_plans_lie_in_different_folders():
  names = [
    name for plan in map(read, PLANS) for name in (*plan.CELLS, *plan.COMMANDS)
  ]
  assert len(names) == len(set(names))


def test_cells_with_different_trainings_share_no_pool():
  pools = {}
  for plan in map(read, PLANS):
    for cell in plan.CELLS.values():
      config = cell.make_config(plan.COMMON, cell.sets)
      if config.embedder.name != 'random':
        made = config.network, config.embedder.networks, config.pretrain
        made = *made, config.data.validation
        assert pools.setdefault(cell.pool_place, made) == made


def test_the_paper_s_own_figures_stand_beside_dm():
  cells = read('cpu').CELLS
  assert cells['cifar10_10_dm_5000'].beside == (48.9, 0.6)
  assert cells['cifar10_1_dm_5000'].beside == (26.0, 0.8)
  assert cells['cifar10_50_dm_5000'].beside == (63.0, 0.4)
  assert read('gpu').CELLS['tiny_imagenet_10_dm_20000'].beside is None
  assert paper.find('cifar10', 'dm', 10) == (48.9, 0.6)


def test_networks_take_as_many_steps_on_tiles_at_the_most():
  # 1001 steps on 100 images, 4 an epoch on 900: 250 of them, one more is run.
  assert epochs_within(1000, 100, 900) == 249
  assert epochs_within(1000, 10, 10) == 1000
  # 1001 · 4 steps on 1000 images, 36 an epoch on 9000.
  assert epochs_within(1000, 1000, 9000) == 110


def test_networks_take_as_many_steps_on_whole_images_at_least():
  # 25 epochs of 4 steps on 900 images, one of them on 100.
  assert epochs_covering(24, 900, 100) == 99
  # 11 · 71 steps on 18000 images, 8 an epoch on 2000: 97.6 of them.
  assert epochs_covering(10, 18000, 2000) == 97


@pytest.mark.parametrize('name', ['SEARCH_MNIST', 'CONTINUAL_TINY'])
def test_an_application_differs_by_its_recipe_alone(name):
  plan = read('applications')
  paper_s, recipe_s = (
    cell.make_config(plan.COMMON, cell.sets)
    for cell in getattr(plan, name).values()
  )
  assert paper_s.condense.storage == 'plain'
  assert recipe_s.condense.storage == 'tiles'
  assert recipe_s.pretrain.epochs == 4  # The recipe's own.
  for section in ('data', 'network', 'continual', 'search', 'sets', 'seed'):
    assert getattr(paper_s, section) == getattr(recipe_s, section)
  judged = [dataclasses.asdict(c.evaluate) for c in (paper_s, recipe_s)]
  different = {k for k in judged[0] if judged[0][k] != judged[1][k]}
  assert different == {'epochs', 'baselines'}


def cell(steps=100, networks=4, epochs=9, **changes):
  """A cell of a record: 20 s for two sets, 40 s for networks of 10 epochs."""
  settings = RunConfig().to_dict()
  settings['sets'] = 2
  settings['condense'] |= {'steps': steps}
  settings['evaluate'] |= {
    'networks': networks,
    'epochs': epochs,
    'baselines': 'none',
  }
  accuracies = [[0.5] * networks] * 2
  return {
    'config': 'cifar10',
    'method': 'dm',
    'device': 'CPU, 2 cores',
    'condense_seconds': {'0': 8.0, '1': 12.0},
    'pool_seconds': None,
    'evaluate_seconds': 40.0,
    'evaluations': [
      {'method': 'dm', 'network': 'convnet', 'accuracies': accuracies}
    ],
    'settings': settings,
    **changes,
  }


def work(known, mode='run'):
  return work_of(known['config'], known['settings'], 'dm_jax', mode)


def test_time_left_follows_from_cells_of_the_same_kind():
  known = rates([cell()])
  # Twice the steps: 40 s. Half the networks, twenty epochs each: 40 s.
  planned = cell(steps=200, networks=2, epochs=19)
  lines = foretell(
    [Left('a', work(planned)), Left('b', work(cell()))],
    known,
    devices=['CPU, 2 cores'],
  )
  assert lines == [
    'left: a, about 1 min 20 s',
    'left: b, about 1 min 0 s',
    'left in all: about 2 min 20 s (by what took its time on CPU, 2 cores)',
  ]


def test_what_is_of_another_kind_is_not_known_yet():
  known, wider = rates([cell()]), cell()
  wider['settings']['network'] = {**wider['settings']['network'], 'width': 64}
  lines = foretell(
    [Left('wide', work(wider)), Left('known', work(cell()))], known, devices=()
  )
  assert lines[0] == f'left: wide, {UNKNOWN}'
  assert lines[2].startswith(
    f'left in all: about 1 min 0 s, and 1 cell {UNKNOWN}'
  )
  assert foretell([Left('wide', work(wider))], {}) == [f'left: wide, {UNKNOWN}']


def test_what_is_done_of_a_cell_is_not_left():
  half = cell(condense_seconds={'0': 10.0, '1': None}, evaluations=[])
  half |= {'evaluate_seconds': None}
  lines = foretell([Left('half', left_of(work(half), half))], rates([cell()]))
  # One set of two, 10 s, and all networks, 40 s.
  assert lines[0] == 'left: half, about 50 s'
  condensing = left_of(work(half, 'condense'), half)
  assert foretell([Left('half', condensing)], rates([cell()]))[0].endswith(
    'about 10 s'
  )


def test_judging_on_the_way_takes_what_judging_takes():
  # Three times, at 0, 50 and 100 steps, two networks of each of two sets.
  half = cell()
  half['settings']['evaluate'] |= {
    'validation_every': 50,
    'validation_networks': 2,
  }
  known = rates([cell()])  # Eight networks of ten epochs in 40 s.
  lines = foretell([Left('all', work(half))], known)
  assert lines[0] == 'left: all, about 2 min 0 s'
  half['validation'] = [{'accuracies': [0.5, 0.5]}] * 4
  lines = foretell([Left('two', left_of(work(half), half))], known)
  assert lines[0] == 'left: two, about 20 s'


def test_a_cell_that_judges_the_set_of_another_makes_none():
  only = work(with_pool(0.0), 'evaluate')
  lines = foretell([Left('across', only)], rates([cell()]))
  assert lines[0] == 'left: across, about 40 s'


def test_a_pool_without_the_held_out_images_is_another():
  timed = with_pool(50.0)
  timed['settings']['data'] |= {'validation': 0.1}
  assert pools_of([timed]).isdisjoint(pools_of([with_pool(50.0)]))


def with_pool(seconds):
  made = cell(pool_seconds=seconds)
  made['settings']['embedder'] |= {'name': 'trajectory'}
  return made


def test_a_pool_is_trained_once():
  # The second cell has read what the first one trained.
  known = rates([with_pool(0.1), with_pool(100.0)])
  left = [Left('a', work(with_pool(0.0))), Left('b', work(with_pool(0.0)))]
  assert [line.split('about ')[1] for line in foretell(left, known)[:2]] == [
    '2 min 40 s',
    '1 min 0 s',
  ]
  # One that was stopped half-way has seconds, and nothing that followed it.
  begun = {**with_pool(30.0), 'condense_seconds': {}, 'evaluations': []}
  assert pools_of([begun]) == set()
  there = pools_of([with_pool(100.0)])
  assert foretell(left[:1], known, there)[0] == 'left: a, about 1 min 0 s'


@pytest.mark.parametrize(
  ('device', 'slug'),
  [
    ('CPU, 2 cores', 'cpu'),
    ('1 × NVIDIA H100 80GB HBM3', 'nvidia_h100_80gb_hbm3'),
    ('8 × TPU v5 lite', '8_tpu_v5_lite'),
    (None, 'unknown'),
  ],
)
def test_a_record_is_named_by_its_device(device, slug):
  assert device_slug(device) == slug


def test_a_record_takes_the_figures_of_its_own_device_alone():
  record = {'cells': [{'device': 'CPU, 2 cores'}]}
  check_device(record, ['CPU, 16 cores', None])
  check_device({}, ['1 × NVIDIA L4'])
  for other in ('1 × NVIDIA L4', '8 × TPU v5 lite'):
    with pytest.raises(InputError, match='--record is of one device, not of'):
      check_device(record, [other])
  with pytest.raises(InputError, match='of cpu, nvidia_l4: give another one'):
    check_device({'commands': [{'device': '1 × NVIDIA L4'}]}, ['CPU, 2 cores'])


def test_what_two_devices_measured_lies_in_two_records():
  found = Found([{'device': 'CPU, 2 cores'}], [{'device': '1 × NVIDIA L4'}])
  apart = found.by_device()
  assert [*apart] == ['cpu', 'nvidia_l4']
  assert apart['cpu'] == Found(found.cells, [])
  assert apart['nvidia_l4'] == Found([], found.commands)


@pytest.mark.parametrize('name', PLANS)
def test_what_the_records_hold_was_run_as_planned(name, root):
  plan = read(name)
  for path in (root / 'benchmarks/records').glob(f'{plan.RECORD}_*.json'):
    cells = read_json(path)['cells']
    assert cells
    for cell in cells:
      assert is_as_planned(plan, cell), (path.name, cell['name'])


def test_settings_of_a_trial_are_not_as_planned():
  plan = read('cpu')
  planned = plan.CELLS['cifar10_10_dm_5000']

  def is_planned(**changes):
    config = planned.make_config(plan.COMMON, planned.sets, changes)
    settings = {'name': 'cifar10_10_dm_5000', 'settings': config.to_dict()}
    return is_as_planned(plan, settings)

  assert is_planned()
  # Where images, pools and caches lie, and how the work is cut, is no result.
  assert is_planned(**{'data.name': 'folder', 'data.dir': 'cifar10'})
  assert is_planned(**{'embedder.dir': 'pool', 'condense.micro_batch': 8})
  assert not is_planned(**{'condense.steps': 500})
  assert not is_planned(**{'data.validation': 0.2})
  # Of a version that had another field.
  gone = {'name': 'cifar10_10_dm_5000', 'settings': {'gone': 1}}
  assert not is_as_planned(plan, gone)


def test_a_record_of_another_plan_is_refused():
  with pytest.raises(InputError, match='of the plan cpu'):
    make_record(read('gpu'), 'gpu', Found([], []), {'plan': 'cpu'})


def _commands_of_the_page(root):
  """Yields letter, config, argument and settings of docs/results.md's runs."""
  text = (root / 'docs/results.md').read_text('utf-8')
  section = text.split('### At small budgets')[1].split('\n### ')[0]
  script = section.split('```sh\n')[2].split('```')[0].replace('\\\n', ' ')
  small = re.search(r'SMALL="(.*)"', script)
  assert small
  letter = ''
  for line in script.replace('$SMALL', small[1]).splitlines():
    if line.startswith('# '):
      letter = line[2]
    if line.startswith('python launch.py'):
      config = re.search(r'--config=configs/(\w+)\.py:?(\S*)', line)
      assert config
      settings = re.findall(r'--config\.(\S+?)=(\S+)', line)
      yield letter, config[1], config[2], dict(settings)


def test_the_commands_of_the_page_are_the_cells(root):
  plan = read('cpu')
  runs = {
    letter: Planned(letter, config, argument or 'ipc=10', settings)
    for letter, config, argument, settings in _commands_of_the_page(root)
  }
  runs['A'] = runs['A']._replace(argument='')
  for like, batch_norm in ('BD', 'CE'):  # As the page says in a comment.
    settings = {**runs[like].sets, 'network.norm': 'batch'}
    runs[batch_norm] = runs[like]._replace(sets=settings)
  assert sorted(runs) == [*'ABCDEFGH']
  for letter, typed in runs.items():
    cell = plan.CELLS[f'short_{letter.lower()}']
    settings = {name: _value(text) for name, text in typed.sets.items()}
    assert typed.make_config(settings) == cell.make_config(cell.sets), letter


def _value(text):
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text
