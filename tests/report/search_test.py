from typing import Any

import numpy as np
import pytest

from dm_jax.records.results import from_json
from dm_jax.report.search import (
  Ranking,
  ranking_scatter,
  read_rankings,
  search_figure,
  search_table,
)

SMALL = 'convnet:width=16:depth=1:norm=none'
LARGE = 'convnet:width=32:depth=3:norm=instance'
RANKED: dict[str, Any] = {
  'real': {'accuracies': {'mlp': [0.9, 0.94], 'lenet': [0.8], 'vgg11': []}},
  'sets': {
    'random': {'accuracies': {'lenet': [0.5], 'mlp': [0.4], 'vgg11': [0.9]}},
    'dm': {'accuracies': {'mlp': [0.75, 0.25], 'lenet': [0.25], 'other': []}},
    'herding': {'accuracies': {'mlp': [0.3]}},
  },
  'agreement': {
    'random': {
      'groups': [{'share': 1.0, 'networks': 2, 'spearman': None}],
      'picked': 'lenet',
    },
    'dm': {
      'groups': [
        {'share': 0.05, 'networks': 1, 'spearman': None},
        {'share': 1.0, 'networks': 2, 'spearman': 0.5},
      ],
      'picked': 'mlp',
    },
  },
}
RANKINGS = (
  Ranking('DM', (0.2, 0.6, 0.4), (0.9, 0.98, 0.95), picked=1, spearman=-0.5),
  Ranking('random real', (0.3, 0.3, 0.3), (0.7, 0.98, 0.95)),
)


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


def search(**changes):
  results = {'data': {'name': 'digits'}, 'method': 'dm'}
  return search_table(from_json(results | {'search': SEARCH | changes}))


@pytest.fixture(scope='module')
def drawn():
  return ranking_scatter(RANKINGS)


def words(figure):
  """Every text of the figure's axes, and those of its legend."""
  (legend,) = figure.legends
  return [text.get_text() for text in legend.get_texts()]


def points(collection):
  return np.asarray(collection.get_offsets()).tolist()


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
  assert table.notes[4].endswith('which all share, 1 min 1 s in all.')


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


@pytest.mark.parametrize('found', [None, {}, {'networks': ['mlp']}])
def test_without_a_complete_method_there_is_no_table(found):
  assert search_table(from_json({'search': found})) is None
  assert search_table(from_json({})) is None


def test_rankings_pair_the_architectures_that_are_there():
  dm, random = read_rankings(from_json({'method': 'dm', 'search': RANKED}))
  assert dm == Ranking('DM', [0.5, 0.25], dm.real, 0, 0.5)
  assert dm.real == pytest.approx([0.92, 0.8])
  assert random == Ranking('random real', [0.5, 0.4], random.real, 0, None)
  assert random.real == pytest.approx([0.8, 0.92])


@pytest.mark.parametrize('name', ['real', 'sets', 'agreement'])
def test_without_a_part_there_is_no_ranking(name):
  assert read_rankings(from_json({'search': RANKED | {name: {}}})) == []
  rest = {key: value for key, value in RANKED.items() if key != name}
  assert read_rankings(from_json({'search': rest})) == []


def test_each_ranking_has_a_panel_with_a_dot_for_each_architecture(drawn):
  left, right = drawn.axes
  dots, picked = left.collections
  np.testing.assert_allclose(points(dots), [[20, 90], [60, 98], [40, 95]])
  np.testing.assert_allclose(points(picked), [[60, 98]])
  (dots,) = right.collections
  np.testing.assert_allclose(points(dots), [[30, 70], [30, 98], [30, 95]])
  assert left.get_ylim() == right.get_ylim()


def test_titles_have_the_correlation_or_say_that_there_is_none(drawn):
  assert [axes.get_title() for axes in drawn.axes] == [
    'DM\nSpearman −0.50',
    'random real\nSpearman undefined',
  ]
  assert words(drawn) == ['an architecture', 'picked by the search']
  assert words(ranking_scatter(RANKINGS[1:])) == ['an architecture']


@pytest.mark.parametrize(
  ('panels', 'rows', 'columns'), [(1, 1, 1), (3, 1, 3), (4, 2, 2), (5, 2, 3)]
)
def test_panels_stand_in_rows(panels, rows, columns):
  figure = ranking_scatter(RANKINGS[:1] * panels)
  assert len(figure.axes) == panels
  grid = figure.axes[0].get_subplotspec()
  assert grid is not None
  assert grid.get_geometry()[:2] == (rows, columns)


def test_a_ranking_of_other_lengths_is_refused():
  with pytest.raises(ValueError, match='size'):
    ranking_scatter([Ranking('DM', (0.2, 0.6), (0.9,))])


def test_without_a_complete_method_there_is_no_figure():
  assert search_figure(from_json({'search': {'networks': ['mlp']}})) is None
  assert search_figure(from_json({})) is None
