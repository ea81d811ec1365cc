from typing import Any

import pytest

from dm_jax.records.results import from_json
from dm_jax.report.continual import continual_table
from dm_jax.report.search import search_table
from dm_jax.words import method_order

SMALL = 'convnet:width=16:depth=1:norm=none'
LARGE = 'convnet:width=32:depth=3:norm=instance'


def row(order, step, method, accuracies):
  return {
    'order': order,
    'step': step,
    'method': method,
    'classes': 5 * (step + 1),
    'images': 50 * (step + 1),
    'images_per_class': 10,
    'bytes': 3200 * (step + 1),
    'accuracies': accuracies,
    'group_accuracies': [[a] * (step + 1) for a in accuracies],
  }


def method(mean, forgetting=(0.12, 0.013), seconds=3.2, size=15_680):
  return {
    'classes': [5, 10],
    'mean': mean,
    'std': [0.01, 0.02],
    'forgetting_mean': forgetting[0],
    'forgetting_std': forgetting[1],
    'seconds_per_class': seconds,
    'bytes_per_class': size,
  }


def rows(orders=3, networks=2, methods=('random', 'dm')):
  return [
    row(order, step, name, [0.9] * networks)
    for order in range(orders)
    for step in range(2)
    for name in methods
  ]


CONTINUAL: dict[str, Any] = {
  'steps': 2,
  'orders': 3,
  'budget_bytes': 0,
  'store': 'uint8',
  'rows': rows(),
  'methods': {
    'random': method([0.9, 0.704], (None, None), 0.012, 640),
    'dm': method([0.98, 0.912]),
  },
}


def agreement(groups, picked=LARGE, accuracy: float | None = 0.97):
  return {
    'groups': [
      {'share': share, 'networks': n, 'spearman': spearman, 'kendall': kendall}
      for share, n, spearman, kendall in groups
    ],
    'picked': picked,
    'picked_accuracy': accuracy,
    'best': SMALL,
    'best_accuracy': 0.981,
    'seconds': 130.0,
    'real_seconds': 400.0,
  }


SEARCH: dict[str, Any] = {
  'space': 'small',
  'networks': [SMALL, LARGE],
  'compile_seconds': 61.0,
  'agreement': {
    'early_stopping': agreement(
      [(1.0, 24, None, None), (0.05, 2, 1.0, 1.0)], SMALL, 0.981
    ),
    'dm': agreement(
      [
        (0.2, 5, -0.5, -0.4),
        (0.05, 2, None, None),
        (1.0, 24, 0.804, 0.596),
        (0.1, 3, -0.001, None),
      ]
    ),
  },
}


def continual(**changes):
  results = {'data': {'name': 'digits'}, 'method': 'dm'}
  return continual_table(
    from_json(results | {'continual': CONTINUAL | changes})
  )


def search(**changes):
  results = {'data': {'name': 'digits'}, 'method': 'dm'}
  return search_table(from_json(results | {'search': SEARCH | changes}))


def test_methods_stand_beside_each_other_step_below_step():
  table = continual()
  assert table is not None
  assert table.title == 'digits: accuracy on the classes seen, in %'
  assert table.columns == ('After', 'DM', 'random real')
  assert table.rows == (
    ('5 classes', '98.0 ± 1.0', '90.0 ± 1.0'),
    ('10 classes', '91.2 ± 2.0', '70.4 ± 2.0'),
    ('Forgetting', '12.0 ± 1.3', '–'),
    ('Time per class', '3.2 s', '12 ms'),
    ('Bytes per class', '15.7 kB', '640 bytes'),
  )


def test_notes_say_over_what_the_deviation_is_and_what_forgetting_is():
  table = continual()
  assert table is not None
  over, forgetting, memory = table.notes
  assert over == 'Mean ± deviation over 3 orders of the classes × 2 networks.'
  assert 'Chaudhry et al., ECCV 2018' in forgetting
  assert memory == 'The memory keeps images as uint8, without a limit in bytes.'


def test_the_note_names_the_budget():
  table = continual(budget_bytes=31_360)
  assert table is not None
  assert table.notes[-1] == (
    'The memory keeps images as uint8, in 31.4 kB at most.'
  )


def test_a_single_network_has_no_deviation():
  table = continual(rows=rows(orders=1, networks=1))
  assert table is not None
  assert table.rows[:3] == (
    ('5 classes', '98.0', '90.0'),
    ('10 classes', '91.2', '70.4'),
    ('Forgetting', '12.0', '–'),
  )
  assert table.notes[0] == '1 order of the classes × 1 network.'


@pytest.mark.parametrize(
  'found',
  [
    rows(1, 2, ['dm']) + rows(2, 2, ['random']),
    rows(1, 2) + rows(1, 3),
    [],
  ],
)
def test_where_orders_or_networks_differ_none_are_counted(found):
  table = continual(rows=found)
  assert table is not None
  assert table.notes[0] == (
    'Mean ± deviation over all orders of the classes and all networks.'
  )


def test_a_step_that_a_method_does_not_have_is_a_dash():
  less = method([0.5]) | {'classes': [10], 'std': [0.01]}
  table = continual(methods=CONTINUAL['methods'] | {'random': less})
  assert table is not None
  assert [cells[2] for cells in table.rows[:2]] == ['–', '50.0 ± 1.0']


def test_one_class_is_not_classes():
  one = method([0.5]) | {'classes': [1], 'std': [0.01]}
  table = continual(methods={'dm': one})
  assert table is not None
  assert table.rows[0] == ('1 class', '50.0 ± 1.0')


@pytest.mark.parametrize('name', ['steps', 'orders', 'budget_bytes', 'store'])
def test_what_continual_runs_were_told_may_be_missing(name):
  rest = {key: value for key, value in CONTINUAL.items() if key != name}
  table = continual_table(from_json({'continual': rest}))
  assert table is not None
  assert table.rows[0] == ('5 classes', '98.0 ± 1.0', '90.0 ± 1.0')


@pytest.mark.parametrize(
  'name',
  [
    'forgetting_mean',
    'seconds_per_class',
    'bytes_per_class',
  ],
)
def test_a_cost_that_is_missing_is_a_dash(name):
  full = CONTINUAL['methods']['dm']
  rest = {key: value for key, value in full.items() if key != name}
  table, whole = continual(methods={'dm': rest}), continual()
  assert table is not None
  assert whole is not None
  changed = [
    cells
    for cells, before in zip(table.rows, whole.rows, strict=True)
    if cells[1] != before[1]
  ]
  assert [cells[1] for cells in changed] == ['–']


@pytest.mark.parametrize('found', [None, {}, {'methods': {}}, {'rows': rows()}])
def test_without_a_complete_method_there_is_no_table(found):
  assert continual_table(from_json({'continual': found})) is None
  assert search_table(from_json({'search': found})) is None
  assert continual_table(from_json({})) is None
  assert search_table(from_json({})) is None


def test_correlations_stand_above_what_is_picked():
  table = search()
  assert table is not None
  assert table.title == 'digits: rankings of architectures'
  assert table.columns == ('Ranked by', 'DM', 'early stopping', 'whole set')
  assert table.rows == (
    ('Correlation, all 24', '0.80 / 0.60', 'undefined', '–'),
    ('Correlation, best 5 % (2)', 'undefined', '1.00 / 1.00', '–'),
    ('Correlation, best 10 % (3)', '0.00 / undefined', '–', '–'),
    ('Correlation, best 20 % (5)', '-0.50 / -0.40', '–', '–'),
    ('Test accuracy of the picked, %', '97.0', '98.1', '98.1'),
    ('Time', '2 min 10 s', '2 min 10 s', '6 min 40 s'),
  )


def test_notes_name_the_picked_as_other_tables_do():
  table = search()
  assert table is not None
  assert table.notes[1:4] == (
    'Picked by DM: ConvNet, width 32, depth 3, instance norm.',
    'Picked by early stopping: ConvNet, width 16, depth 1, no norm.',
    'Best on the whole set: ConvNet, width 16, depth 1, no norm.',
  )
  assert table.notes[4].endswith('all sets share, 1 min 1 s in all.')


def test_parts_of_an_agreement_may_be_missing():
  table = search(agreement={'dm': {}}, compile_seconds=None)
  assert table is not None
  assert table.rows == (
    ('Test accuracy of the picked, %', '–', '–'),
    ('Time', '–', '–'),
  )
  assert len(table.notes) == 2
  assert 'Compiling' not in table.notes[1]


def test_a_time_that_is_not_known_is_a_dash():
  found = SEARCH['agreement']['dm'] | {'seconds': None}
  table = search(agreement={'dm': found})
  assert table is not None
  assert table.rows[-1] == ('Time', '–', '6 min 40 s')


def test_the_order_is_not_the_files():
  methods = ['whole', 'other', 'herding', 'early_stopping', 'dm', 'random']
  assert method_order(methods, 'herding') == [
    'herding',
    'dm',
    'random',
    'early_stopping',
    'whole',
    'other',
  ]
  assert method_order(reversed(methods), None)[0] == 'dm'
