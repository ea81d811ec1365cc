"""The command that runs the cells of a plan, and tabulates their record."""

import importlib
import json
import statistics
import subprocess
import sys

import pytest

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


@pytest.fixture
def command(root, environment, twelve_of_each, tmp_path):
  """A function of flags that runs results.py in a folder."""

  def command(*flags):
    return subprocess.run(
      [
        *(sys.executable, 'benchmarks/results.py', '--plan=recipe'),
        f'--workdir={tmp_path / "results"}',
        *(f'--config.{setting}' for setting in SETTINGS),
        f'--config.data.dir={twelve_of_each}',
        *flags,
      ],
      cwd=root,
      env=environment | {'PYTHONPATH': str(root)},
      capture_output=True,
      text=True,
      timeout=300,
    )

  return command


def test_a_table_shows_what_the_record_holds(command, tmp_path):
  done = command(f'--cells={",".join(CELLS)}')
  assert done.returncode == 0, done.stderr
  record = json.loads((tmp_path / 'results' / 'recipe.json').read_text())
  assert [cell['name'] for cell in record['cells']] == [*CELLS]
  table = (tmp_path / 'results' / 'recipe.md').read_text()
  for cell in record['cells']:
    (found,) = cell['evaluations']
    (accuracies,) = found['accuracies']
    mean, spread = statistics.fmean(accuracies), statistics.pstdev(accuracies)
    (row,) = (
      line for line in table.splitlines() if f'| {cell["says"]} |' in line
    )
    assert f'| {100 * mean:.1f} ± {100 * spread:.1f} |' in row
  # Who reads the record need not know where the runs lay.
  assert str(tmp_path) not in json.dumps(record)
  again = command(f'--cells={",".join(CELLS)}')
  assert f'finished: {", ".join(CELLS)}' in again.stdout
  assert (tmp_path / 'results' / 'recipe.md').read_text() == table


def test_a_cell_that_is_none_is_refused_in_one_line(command):
  done = command('--cells=cifar10_1_tile')
  assert done.returncode == 1
  assert "unknown cell 'cifar10_1_tile'" in done.stderr.splitlines()[-1]


def test_every_cell_of_the_plan_is_a_run():
  plan = importlib.import_module('configs.results.recipe')
  for cell in plan.CELLS.values():
    preset = importlib.import_module(f'configs.{cell.config}')
    config = preset.get_config(cell.argument)
    with config.ignore_type():
      config.update_from_flattened_dict({**plan.COMMON, **cell.sets})
    made = RunConfig.from_dict(config.to_dict())
    assert made.network.width == 32
    assert (made.method == 'random') == cell.sets.get('method', '').startswith(
      'random'
    )
