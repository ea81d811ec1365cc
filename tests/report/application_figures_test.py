from typing import Any

import pytest

from dm_jax.records.results import from_json
from dm_jax.report.applications import save_figures
from dm_jax.report.continual import Curve, read_curves
from dm_jax.report.search import Ranking, read_rankings

CONTINUAL: dict[str, Any] = {
  'methods': {
    'random': {'classes': [5, 10], 'mean': [0.9, 0.7], 'std': [0.01, 0.02]},
    'dm': {'classes': [5, 10], 'mean': [0.98, 0.92], 'std': [0.01, 0.03]},
  },
}
SEARCH: dict[str, Any] = {
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
RESULTS = from_json({'method': 'dm', 'continual': CONTINUAL, 'search': SEARCH})


def test_curves_have_names_and_the_own_method_first():
  assert read_curves(RESULTS) == [
    Curve('DM', (5, 10), (0.98, 0.92), (0.01, 0.03)),
    Curve('random real', (5, 10), (0.9, 0.7), (0.01, 0.02)),
  ]


def test_rankings_pair_the_architectures_that_are_there():
  dm, random = read_rankings(RESULTS)
  assert dm == Ranking('DM', [0.5, 0.25], dm.real, 0, 0.5)
  assert dm.real == pytest.approx([0.92, 0.8])
  assert random == Ranking('random real', [0.5, 0.4], random.real, 0, None)
  assert random.real == pytest.approx([0.8, 0.92])


@pytest.mark.parametrize('name', ['real', 'sets', 'agreement'])
def test_without_a_part_there_is_no_ranking(name):
  assert read_rankings(from_json({'search': SEARCH | {name: {}}})) == []
  rest = {key: value for key, value in SEARCH.items() if key != name}
  assert read_rankings(from_json({'search': rest})) == []


def test_figures_are_saved_where_the_report_looks(tmp_path):
  folder = tmp_path / 'figures'
  assert save_figures(RESULTS, tmp_path) == [
    folder / 'accuracy.svg',
    folder / 'accuracy.png',
    folder / 'ranking.svg',
    folder / 'ranking.png',
  ]
  assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize(
  'results',
  [{}, {'continual': {'methods': {}}, 'search': {'networks': ['mlp']}}],
)
def test_nothing_is_written_where_nothing_is_complete(tmp_path, results):
  assert save_figures(from_json(results), tmp_path) == []
  assert list(tmp_path.iterdir()) == []
