"""Applications as cells of a plan: their runs, records and tables."""

import json

import pytest

from benchmarks.application_tables import (
  application_figure,
  application_table,
  planned_table,
)
from benchmarks.planned_tables import NOT_MEASURED, Plan

SMALL = {
  'data.name': 'npz',
  'network.width': 4,
  'network.depth': 1,
  'condense.images_per_class': 1,
  'condense.steps': 1,
  'condense.factor': 2,
  'embedder.networks': 1,
  'embedder.draws': 1,
  'pretrain.epochs': 1,
  'continual.steps': 3,
  'continual.orders': 1,
  'evaluate.networks': 1,
  'evaluate.epochs': 1,
}
RECIPE = 'recipe trajectory_short'


def test_a_stream_is_a_cell(results_script, twelve_of_each, tmp_path):
  def results():
    return results_script(
      *('--plan=applications', '--cells=continual_mnist_recipe'),
      f'--workdir={tmp_path}',
      *(f'--config.{name}={value}' for name, value in SMALL.items()),
      f'--config.data.dir={twelve_of_each}',
    )

  done = results()
  assert done.returncode == 0, done.stderr
  assert 'left: continual_mnist_recipe, not known yet' in done.stdout
  # Each group has trained its own networks.
  stages = tmp_path / 'continual_mnist_recipe' / 'order_0'
  assert len([*stages.glob('step_*/pool')]) == 3
  (cell,) = json.loads((tmp_path / 'applications_cpu.json').read_text())[
    'cells'
  ]
  table = application_table([cell])
  assert table is not None
  assert table.columns == ('After', RECIPE, 'random real, stored alike')
  last = cell['continual']['methods']['dm']['mean'][-1]
  assert table.rows[2][:2] == ('3 classes', f'{100 * last:.1f}')
  assert 'finished: continual_mnist_recipe' in results().stdout


def stream(name, says, storage, means):
  return {
    'name': name,
    'config': 'continual_mnist',
    'says': says,
    'method': 'dm',
    'device': 'CPU, 2 cores',
    'settings': {'condense': {'storage': storage}},
    'continual': {
      'steps': 2,
      'orders': 1,
      'methods': {
        method: {
          'classes': [5, 10],
          'mean': mean,
          'std': [0.01, 0.01],
        }
        for method, mean in means.items()
      },
    },
  }


STREAMS = (
  stream(
    'continual_mnist_dm',
    'DM',
    'plain',
    {'dm': [0.98, 0.93], 'random': [0.96, 0.90]},
  ),
  stream(
    'continual_mnist_recipe',
    RECIPE,
    'tiles',
    {'dm': [0.99, 0.95], 'random': [0.97, 0.91]},
  ),
)


def ranked(says, storage, spearman):
  outcome = {
    'groups': [{'share': 1.0, 'networks': 2, 'spearman': spearman}],
    'picked': 'mlp',
    'picked_accuracy': 0.9,
    'best_accuracy': 0.95,
  }
  return {
    'config': 'search_mnist',
    'says': says,
    'method': 'dm',
    'settings': {'condense': {'storage': storage}},
    'search': {
      'real': {'accuracies': {'mlp': [0.9], 'lenet': [0.95]}},
      'sets': {
        name: {'accuracies': {'mlp': [0.5], 'lenet': [0.4]}}
        for name in ('dm', 'early_stopping')
      },
      'agreement': {'dm': outcome, 'early_stopping': outcome},
      'compile_seconds': 60.0,
    },
  }


def test_runs_of_an_application_stand_side_by_side():
  table = application_table(STREAMS)
  assert table is not None
  assert table.columns == (
    *('After', 'DM', 'random real', 'random real, stored alike', RECIPE),
  )
  assert table.rows[1] == (
    *('10 classes', '93.0 ± 1.0', '90.0 ± 1.0', '91.0 ± 1.0', '95.0 ± 1.0'),
  )
  assert application_figure(STREAMS) is not None


def test_rankings_of_two_runs_stand_side_by_side():
  cells = [ranked('DM', 'plain', 0.5), ranked(RECIPE, 'tiles', 0.75)]
  table = application_table(cells)
  assert table is not None
  (row,) = [row for row in table.rows if row[0] == 'Correlation, all 2']
  found = dict(zip(table.columns, row, strict=True))
  assert found['DM'] == '0.50 / undefined'
  assert found[RECIPE] == '0.75 / undefined'
  assert found['early stopping, as long as these'] == '0.75 / undefined'
  assert any('2 min 0 s in all' in note for note in table.notes)
  assert application_figure(cells) is not None


@pytest.mark.parametrize('cells', [(), STREAMS[:1], STREAMS])
def test_what_a_plan_lacks_is_said(tmp_path, cells):
  record = {'plan': 'applications', 'cells': cells}
  (tmp_path / 'applications_cpu.json').write_text(json.dumps(record))
  plan = Plan.read('applications', tmp_path)
  table = planned_table(plan, [*plan.module.CONTINUAL_MNIST])
  text = table.as_text()
  assert (NOT_MEASURED in text) == (len(cells) < 2)
  assert ('93.0' in text) == bool(cells)
