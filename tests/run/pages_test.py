"""Pages and tables that are made of plans and their records."""

import json

import pytest

from benchmarks.pages import FIGURES, PLANNED, fill
from benchmarks.planned_tables import (
  NOT_MEASURED,
  Plan,
  baselines_table,
  cells_table,
  commands_table,
  pool_seconds,
)
from benchmarks.targets_table import targets_table
from benchmarks.time_to_accuracy import curves_of, curves_table
from dm_jax.errors import InputError
from dm_jax.run.config import RunConfig


def measured(name, accuracies, pool='same', **changes):
  """A cell of a record, of one evaluation of each method by the ConvNet."""
  settings = RunConfig.from_dict(
    {
      'condense': {'steps': 5000, 'images_per_class': 10},
      'evaluate': {'networks': 2, 'epochs': 1000, 'pool': pool},
    }
  ).to_dict()
  return {
    'name': name,
    'config': 'cifar10',
    'method': 'dm',
    'images_per_class': 10,
    'device': 'CPU, 2 cores',
    'condense_seconds': {'0': 120.0},
    'pool_seconds': None,
    'validation': [],
    'evaluations': [
      {
        'method': method,
        'network': 'convnet',
        'protocol': 'dm',
        'images_per_class': 10,
        'accuracies': [values],
        'bytes': 307200,
      }
      for method, values in accuracies.items()
    ],
    'settings': settings,
    **changes,
  }


@pytest.fixture
def records(tmp_path):
  """A function that writes records, and returns their folder."""
  folder = tmp_path / 'benchmarks/records'
  folder.mkdir(parents=True)

  def write(**by_name):
    for name, record in by_name.items():
      (folder / f'{name}.json').write_text(json.dumps(record))
    return folder

  return write


def rows(table):
  return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_a_cell_stands_beside_the_paper_measured_or_not(records):
  name = 'cifar10_10_dm_5000'
  cell = measured(name, {'dm': [0.48, 0.50]})
  folder = records(results_cpu={'plan': 'cpu', 'cells': [cell]})
  plan = Plan.read('cpu', folder)
  first, second = rows(cells_table(plan, [name, 'cifar10_50_dm_5000']))
  assert first['Accuracy'] == '49.0 ± 1.0'
  assert first['Paper'] == '48.9 ± 0.6'
  assert first['Condensing'] == '2 min 0 s'
  assert second['Accuracy'] == NOT_MEASURED
  assert second['Paper'] == '63.0 ± 0.4'
  assert second['Images per class'] == '50'


def test_a_network_that_is_still_to_judge_keeps_its_row(records):
  name = 'cifar10_10_dm_5000'
  cell = measured(name, {'dm': [0.48, 0.50]}, pool='same,vgg11')
  plan = Plan.read('cpu', records(results_cpu={'plan': 'cpu', 'cells': [cell]}))
  accuracies = [row['Accuracy'] for row in rows(cells_table(plan, [name]))]
  assert accuracies == ['49.0 ± 1.0', NOT_MEASURED]


def test_a_finished_cell_is_shown_whatever_its_device_is_called(records):
  done = measured('cifar10_10_dm_5000', {'dm': [0.5, 0.6]}, device='1 × B')
  begun = measured('cifar10_10_dm_5000', {'dm': [0.4]}, device='1 × A')
  folder = records(
    results_a={'plan': 'cpu', 'cells': [begun]},
    results_b={'plan': 'cpu', 'cells': [done]},
  )
  plan = Plan.read('cpu', folder)
  assert plan.cells == {'cifar10_10_dm_5000': done}


def test_a_trial_hides_no_cell_that_is_as_planned(records):
  name = 'cifar10_10_random_real'
  module = Plan.read('cpu', records()).module
  planned = module.CELLS[name]
  as_planned = planned.make_config(module.COMMON, planned.sets).to_dict()
  own = measured(name, {'random': [0.5]}, settings=as_planned)
  trial = measured(name, {'random': [0.4, 0.4]})
  for cells in ([own, trial], [trial, own]):
    plan = Plan.of(module, {'cells': cells})
    assert plan.cells == {name: own}


def test_rows_of_several_devices_name_theirs(records):
  names = 'cifar10_10_dm_5000', 'cifar10_1_dm_5000'
  cells = [
    measured(name, {'dm': [0.5]}, device=device)
    for name, device in zip(names, ('1 × A', '1 × B'), strict=True)
  ]
  plan = Plan.read('cpu', records(results_a={'plan': 'cpu', 'cells': cells}))
  table = cells_table(plan, names)
  assert [row['Set'] for row in rows(table)] == [
    'DM, on 1 × A',
    'DM, on 1 × B',
  ]
  (alone,) = rows(cells_table(plan, names[:1]))
  assert alone['Set'] == 'DM'


def test_a_row_that_fewer_networks_judged_says_so(records):
  names = 'cifar10_10_dm_5000', 'cifar10_1_dm_5000', 'cifar10_50_dm_5000'
  cells = [measured(name, {'dm': [0.5, 0.6]}) for name in names]
  cells[2]['settings']['evaluate']['networks'] = 3
  plan = Plan.read('cpu', records(results_a={'plan': 'cpu', 'cells': cells}))
  table = cells_table(plan, names)
  sets = [row['Set'] for row in rows(table)]
  assert sets == ['DM', 'DM', 'DM, 1 set of 3 networks']
  over = 'over 1 set of 2 networks where a row says nothing else, after'
  assert over in table.notes[0]
  assert 'nothing else' not in cells_table(plan, names[:2]).notes[0]


def test_seconds_of_one_device_stand_in_no_row_of_another(records):
  names = 'cifar10_10_recipe_short', 'cifar10_10_dm_jax_1000'
  validation = [
    {'set': 0, 'step': step, 'seconds': 5.0 * step, 'mean': 0.4}
    for step in (0, 1)
  ]
  cells = [
    measured(
      name,
      {'dm': [0.5, 0.6]},
      device=device,
      pool_seconds=pool,
      validation=validation,
    )
    for name, device, pool in zip(
      names, ('1 × A', 'CPU, 2 cores'), (12.0, 300.0), strict=True
    )
  ]
  plan = Plan.read('cpu', records(results_a={'plan': 'cpu', 'cells': cells}))
  on_a, on_cpu = [plan.module.CELLS[name].says for name in names]
  curves = curves_of(plan)
  assert f'{on_a}, on 1 × A' in curves
  assert f'{on_cpu}, on CPU, 2 cores' in curves
  # That there is one is no word of the other.
  assert (on_cpu, '–', NOT_MEASURED) not in curves_table(plan).rows


def test_a_pool_takes_what_it_took_on_the_device_of_the_row(records):
  names = 'cifar10_1_recipe', 'cifar10_10_recipe', 'cifar10_50_recipe'
  cells = [
    measured(name, {'dm': [0.5]}, device=device, pool_seconds=pool)
    for name, device, pool in zip(
      names,
      ('1 × A', 'CPU, 2 cores', 'CPU, 2 cores'),
      (12.0, 300.0, 0.1),
      strict=True,
    )
  ]
  folder = records(recipe_a={'plan': 'recipe', 'cells': cells})
  plan = Plan.read('recipe', folder)
  assert [pool_seconds(plan, name) for name in names] == [12.0, 300.0, 300.0]


def test_images_of_a_folder_are_told_from_the_lossless_ones(records):
  name = 'cifar10_10_dm_5000'
  module = Plan.read('cpu', records()).module
  (unknown,) = rows(cells_table(Plan.of(module, {}), [name]))
  assert unknown['Data'] == 'cifar10, JPEG'  # As it is planned.
  cell = measured(name, {'dm': [0.5]})
  (lossless,) = rows(cells_table(Plan.of(module, {'cells': [cell]}), [name]))
  assert lossless['Data'] == 'cifar10'
  cell['settings']['data']['name'] = 'folder'
  (folder,) = rows(cells_table(Plan.of(module, {'cells': [cell]}), [name]))
  assert folder['Data'] == 'cifar10, JPEG'


def test_a_run_took_its_pool_and_its_selections_as_well(records):
  cell = measured(
    'digits_10',
    {'dm': [0.9], 'random': [0.8]},
    compile_seconds=4.0,
    evaluate_seconds=50.0,
    pool_seconds=6.0,
    selecting_seconds={'0': {'herding': 20.0, 'training': 10.0}},
  )
  module = Plan.read('cpu', records()).module
  table = baselines_table(Plan.of(module, {'cells': [cell]}), ['digits_10'])
  # 120 + 4 + 50 + 6 + 20 + 10 s.
  assert {row['Took'] for row in rows(table)} == {'3 min 30 s'}


def test_protocols_stand_side_by_side(records):
  name = 'cifar10_10_dm_5000'
  cell = measured(name, {'dm': [0.48, 0.50]})
  cell['settings']['evaluate']['protocol'] = 'dm,idc'
  (other,) = (dict(e) for e in cell['evaluations'])
  cell['evaluations'].append(other | {'protocol': 'idc', 'accuracies': [[0.6]]})
  plan = Plan.read('cpu', records(results_cpu={'plan': 'cpu', 'cells': [cell]}))
  (row,) = rows(cells_table(plan, [name]))
  assert row['Accuracy, dm protocol'] == '49.0 ± 1.0'
  assert row['Accuracy, idc protocol'] == '60.0 (1 of 2)'


def test_seconds_far_apart_have_no_mean(records):
  names = ['cifar10_10_dm', 'cifar10_50_dm']
  cells = [
    measured(name, {'dm': [0.5]}, condense_seconds=seconds)
    for name, seconds in zip(
      names, ({'0': 100.0, '1': 110.0}, {'0': 600.0, '1': 300.0}), strict=True
    )
  ]
  record = {'plan': 'recipe', 'cells': cells}
  plan = Plan.read('recipe', records(recipe_cpu=record))
  near, far = rows(cells_table(plan, names))
  assert near['Condensing'] == '1 min 45 s'
  assert far['Condensing'] == '5 min 0 s to 10 min 0 s'


def test_a_row_of_jpeg_says_how_many_files(records):
  name = 'cifar10_10_jpeg'
  cell = measured(name, {'random_jpeg': [0.5]}, method='random_jpeg')
  cell['jpeg_files'] = {'0': 1502, '1': 1504}
  plan = Plan.read(
    'recipe', records(recipe_cpu={'plan': 'recipe', 'cells': [cell]})
  )
  (row,) = rows(cells_table(plan, [name]))
  assert row['Set'].endswith('(1,503 files)')


def test_a_pool_takes_what_it_took_who_trained_it(records):
  cells = [
    measured(name, {'dm': [0.5]}, pool_seconds=seconds)
    for name, seconds in (
      ('cifar10_1_recipe', 305.0),
      ('cifar10_10_recipe', 0.2),
      ('cifar10_10_recipe_timed', 120.0),  # Of another pool.
    )
  ]
  plan = Plan.read(
    'recipe', records(recipe_cpu={'plan': 'recipe', 'cells': cells})
  )
  found = [
    row['Pool'] for row in rows(cells_table(plan, [c['name'] for c in cells]))
  ]
  assert found == ['5 min 5 s', '5 min 5 s', '2 min 0 s']


def test_a_cell_that_the_plan_no_longer_has_is_left_out(records):
  cell = measured('cifar10_10_of_old', {'dm': [0.5]}, pool_seconds=9.0)
  plan = Plan.read(
    'recipe', records(recipe_cpu={'plan': 'recipe', 'cells': [cell]})
  )
  assert not plan.cells


def test_a_record_of_another_plan_gives_no_cell(records):
  cell = measured('cifar10_10_dm_5000', {'dm': [0.5]})
  folder = records(results_cpu={'plan': 'gpu', 'cells': [cell]})
  assert not Plan.read('cpu', folder).cells


def test_baselines_stand_beside_the_synthetic_set(records):
  cell = measured('short_b', {'dm': [0.40, 0.42], 'random': [0.31, 0.31]})
  cell |= {'evaluate_seconds': 50.0, 'compile_seconds': 10.0}
  folder = records(results_cpu={'plan': 'cpu', 'cells': [cell]})
  plan = Plan.read('cpu', folder)
  table = baselines_table(plan, ['short_b', 'short_c'])
  one, other = rows(table)
  assert (one['Synthetic'], one['Random real']) == ('41.0 ± 1.0', '31.0 ± 0.0')
  assert other['Synthetic'] == other['Random real'] == NOT_MEASURED
  assert one['Whole set'] == other['Whole set'] == '–'  # Not asked for.
  assert (one['Took'], other['Took']) == ('3 min 0 s', '–')  # 120 + 50 + 10 s.
  assert 'Whole set: 1 network.' in table.notes[0]


def test_commands_have_rows_before_they_have_run(records):
  command = {'name': 'check_twice', 'device': 'X', 'figures': {'passed': True}}
  record = {'plan': 'gpu', 'cells': [], 'commands': [command]}
  plan = Plan.read('gpu', records(gpu_x=record))
  table = commands_table(
    plan, 'check_', {'Result': lambda figures: str(figures['passed'])}
  )
  results = [row[1] for row in table.rows]
  assert results == [NOT_MEASURED, 'True', NOT_MEASURED, NOT_MEASURED]


TIMED = [
  measured(
    name,
    {'dm': [0.5]},
    pool_seconds=pool,
    validation=[
      {'set': number, 'step': step, 'seconds': 5.0 * step, 'mean': mean}
      for number in range(2)
      for step, mean in ((0, start), (2, end + 0.02 * number))
    ],
  )
  for name, pool, start, end in (
    ('cifar10_10_dm_timed', None, 0.3, 0.4),
    ('cifar10_10_recipe_timed', 100.0, 0.42, 0.5),
  )
]


def test_a_pool_s_seconds_come_before_its_curve(records):
  plan = Plan.read(
    'recipe', records(recipe_cpu={'plan': 'recipe', 'cells': TIMED})
  )
  assert curves_of(plan) == {
    'DM': {0.0: 0.3, 10.0: pytest.approx(0.41)},
    'recipe trajectory_short': {0.0: 0.42, 10.0: pytest.approx(0.51)},
    'recipe trajectory_short, with its pool': {
      100.0: 0.42,
      110.0: pytest.approx(0.51),
    },
  }


def test_a_curve_that_is_not_there_has_a_row(records):
  plan = Plan.read(
    'recipe', records(recipe_cpu={'plan': 'recipe', 'cells': TIMED[:1]})
  )
  assert curves_table(plan).rows == [
    ('DM', '0 s', '30.0'),
    ('DM', '10 s', '41.0'),
    ('recipe trajectory_short', '–', NOT_MEASURED),
  ]


def test_pages_without_records_say_so(records, tmp_path):
  records()
  blocks = (f'<!-- record: {name} -->\n<!-- end -->\n' for name in PLANNED)
  page = ''.join(blocks)
  filled = fill(page, tmp_path)
  for block in filled.split('<!-- end -->')[:-1]:
    assert NOT_MEASURED in block
  assert not any(shown.draw(tmp_path) for shown in FIGURES.values())


def test_cells_that_are_measured_stand_alone_where_a_page_asks(
  records, tmp_path
):
  cell = measured('cifar10_1_dm_5000', {'dm': [0.48, 0.50]})
  records(results_cpu={'plan': 'cpu', 'cells': [cell]})
  page = '<!-- record: {} -->\n<!-- end -->'
  alone = fill(page.format('paper_cells_measured'), tmp_path)
  assert NOT_MEASURED not in alone
  every = fill(page.format('paper_cells_cpu'), tmp_path)
  measured_rows = [line for line in every.splitlines() if '49.0 ± 1.0' in line]
  assert len(measured_rows) == 1
  # A heading, its rule and the row.
  assert [line for line in alone.splitlines() if line.startswith('|')][2:] == (
    measured_rows
  )
  assert NOT_MEASURED in every


def test_a_figure_is_shown_where_its_record_is(records, tmp_path):
  records(recipe_cpu={'plan': 'recipe', 'cells': TIMED})
  page = '<!-- record: figure_{} -->\n<!-- end -->'
  shown = fill(page.format('time_to_accuracy_cpu'), tmp_path)
  assert '](time_to_accuracy_cpu.png)' in shown
  missing = fill(page.format('time_to_accuracy_128'), tmp_path)
  assert f'\n{NOT_MEASURED}\n' in missing
  with pytest.raises(InputError, match='unknown figure'):
    fill(page.format('nothing'), tmp_path)


def figure(targets, *, made, taken):
  """What settings.py leaves of an arrangement."""
  return {
    'accuracies': {'300': [0.1, 0.1], '500': [0.5, 0.52]},
    'embedder': {'targets': targets},
    'seconds_ahead': {'pool': 100.0, 'targets': made},
    'seconds': {'300': 1.0, '500': taken},
  }


def test_targets_of_the_first_set_serve_five_more():
  def size(made, taken):
    return {
      'recipe_draws_4': figure('cached', made=made, taken=taken),
      'recipe_fresh': figure('fresh', made=0.0, taken=2 * taken),
    }

  figures = {
    '1': size(0.1, 10.0),
    '10': size(60.0, 30.0),
    '50': size(0.1, 20.0),
  }
  record = {'figures': figures, 'device': 'CPU', 'versions': {'jax': '0.10'}}
  table = targets_table(record)
  found = {(r['Images per class'], r['Targets']): r for r in rows(table)}
  ten = found['10', 'made once, 4 draws']
  assert ten['Accuracy'] == '51.0 ± 1.0'
  assert (ten['Targets took'], ten['A set took']) == ('1 min 0 s', '30 s')
  fresh = found['10', 'real images in each step']
  assert (fresh['Targets took'], fresh['A set took']) == ('–', '1 min 0 s')
  assert found['10', 'made once, 16 draws']['Accuracy'] == NOT_MEASURED
  # 30 + 60 against 60; then 2 × (10 + 30 + 20) - 30 = 90, against twice that.
  note = table.notes[-1]
  assert 'takes 1 min 30 s with targets' in note
  assert '1 min 0 s without' in note
  assert note.endswith('1 min 30 s and 3 min 0 s.')


def test_targets_without_a_record_are_not_measured():
  assert {row['Accuracy'] for row in rows(targets_table(None))} == {
    NOT_MEASURED
  }
