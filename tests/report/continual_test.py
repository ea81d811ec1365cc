from typing import Any

import numpy as np
import pytest

from dm_jax.records.results import from_json
from dm_jax.report.continual import (
  Curve,
  accuracy_curves,
  continual_figure,
  continual_table,
  read_curves,
)

CURVES = (
  Curve('DM', (2, 4), (0.98, 0.9), (0.01, None)),
  Curve('random real', (2, 4), (0.97, 0.75)),
  Curve('herding', (2, 4), (0.96, 0.85), (0.05, 0.02)),
)


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


def continual(**changes):
  results = {'data': {'name': 'digits'}, 'method': 'dm'}
  return continual_table(
    from_json(results | {'continual': CONTINUAL | changes})
  )


@pytest.fixture(scope='module')
def drawn():
  return accuracy_curves(CURVES)


def words(figure):
  """Every text of the figure's axes, and those of its legend."""
  (legend,) = figure.legends
  return [text.get_text() for text in legend.get_texts()]


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
  assert continual_table(from_json({})) is None


def test_curves_have_names_and_the_own_method_first():
  results = from_json({'method': 'dm', 'continual': CONTINUAL})
  assert read_curves(results) == [
    Curve('DM', (5, 10), (0.98, 0.912), (0.01, 0.02)),
    Curve('random real', (5, 10), (0.9, 0.704), (0.01, 0.02)),
  ]


def test_each_method_has_a_line_of_percents_over_classes(drawn):
  (axes,) = drawn.axes
  assert [line.get_label() for line in axes.lines] == [
    'DM',
    'random real',
    'herding',
  ]
  assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [
    [2, 4]
  ] * 3
  heights = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
  assert heights == [[98, 90], [97, 75], [96, 85]]
  assert axes.get_xlabel() == 'Classes seen'
  assert '%' in axes.get_ylabel()


def test_lines_differ_in_colour_and_in_marker(drawn):
  (axes,) = drawn.axes
  assert len({line.get_color() for line in axes.lines}) == 3
  assert len({line.get_marker() for line in axes.lines}) == 3
  assert words(drawn) == ['DM', 'random real', 'herding']


def test_bands_reach_one_deviation_up_and_down(drawn):
  (axes,) = drawn.axes
  assert len(axes.collections) == 2
  corners = np.asarray(axes.collections[0].get_paths()[0].vertices)
  at_two = corners[corners[:, 0] == 2][:, 1]
  at_four = corners[corners[:, 0] == 4][:, 1]
  assert (at_two.min(), at_two.max()) == pytest.approx((97, 99))
  assert (at_four.min(), at_four.max()) == pytest.approx((90, 90))


def test_the_axis_ends_at_100_percent_where_a_band_does_not():
  (axes,) = accuracy_curves(CURVES[2:]).axes
  assert axes.get_ylim()[1] == 100
  band = np.asarray(axes.collections[0].get_paths()[0].vertices)
  assert band[:, 1].max() == pytest.approx(101)


@pytest.mark.parametrize(
  ('steps', 'ticks'),
  [(2, [5, 10]), (20, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100])],
)
def test_of_many_steps_every_other_one_is_labelled(steps, ticks):
  classes = [5 * step for step in range(1, steps + 1)]
  (axes,) = accuracy_curves([Curve('DM', classes, [0.5] * steps)]).axes
  assert sorted(axes.get_xticks()) == ticks


@pytest.mark.parametrize(
  'curve',
  [
    Curve('DM', (2, 4), (0.9,)),
    Curve('DM', (2, 4), (0.9, 0.8), (0.1,)),
  ],
)
def test_a_curve_of_other_lengths_is_refused(curve):
  with pytest.raises(ValueError, match='argument|dimension'):
    accuracy_curves([curve])


def test_without_a_complete_method_there_is_no_figure():
  assert continual_figure(from_json({'continual': {'methods': {}}})) is None
  assert continual_figure(from_json({})) is None
