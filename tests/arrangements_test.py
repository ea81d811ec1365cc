"""What a device should compute together, measured: the row for the table."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.arrangement_row import make_row, pick, show_row
from dm_jax.devices.arrangement import PLAIN, Arrangement, get_arrangement


def test_the_fastest_is_picked():
  assert pick('classes', {'1': 3.0, '5': 1.0, '10': 2.0}) == 5
  # Per network 3, 2.2 and 2, but the library folds none.
  seconds = {'1 mapped': 3.0, '5 vmapped': 11.0, '20 folded': 40.0}
  assert pick('networks', seconds) == 5
  assert pick('networks', seconds | {'1 mapped': 2.1}) == 1


def test_a_row_bounds_the_images_of_the_networks_that_were_fastest():
  before = Arrangement(networks=10, training_images=100)
  best = {'classes': 5, 'networks': 4}
  assert make_row(before, best, 50) == Arrangement(
    classes=5, networks=4, training_images=200
  )
  assert make_row(PLAIN, {'networks': 1}, 50) == PLAIN


@pytest.mark.parametrize('bound', [0, 80, 100])
def test_networks_that_were_slower_together_are_not_put_together(bound):
  before = Arrangement(networks=10, training_images=bound)
  row = make_row(before, {'networks': 1}, 50)
  assert row.networks == 10  # Of smaller batches.
  assert 0 < row.training_images < 2 * 50
  assert row.training_images == min(bound or 99, 99)


def test_a_row_is_what_the_table_holds():
  for platform in ('cpu', 'gpu', 'tpu'):
    row = show_row(platform, get_arrangement(platform))
    names = {'Arrangement': Arrangement}
    assert eval('{' + row + '}', names) == {platform: get_arrangement(platform)}
  assert show_row('x', PLAIN) == "'x': Arrangement(),"


def test_the_command_measures_and_prints_a_row(root, tmp_path):
  path = tmp_path / 'record.json'
  small = {'classes': 2, 'images_per_class': 1, 'width': 2, 'depth': 1}
  small |= {'side': 8, 'real': 4, 'batch_real': 2, 'networks': 2, 'seconds': 0}
  done = subprocess.run(
    [
      *(sys.executable, 'benchmarks/arrangements.py', f'--record={path}'),
      *(f'--{name}={value}' for name, value in small.items()),
    ],
    cwd=root,
    env={**os.environ, 'PYTHONPATH': str(root)},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  row = done.stdout.splitlines()[-1]
  record = json.loads(path.read_text())
  measured = record['row'] | {'real_images': (4, 64)}
  assert row == show_row('cpu', Arrangement(**measured))
  for choice in ('classes', 'synthetic_images', 'part'):
    seconds = record['seconds'][choice]
    assert seconds[str(measured[choice])] == min(seconds.values())
  assert {name: set(each) for name, each in record['seconds'].items()} == {
    'classes': {'1', '2'},
    'synthetic_images': {'1', '2'},
    'networks': {'1 mapped', '2 vmapped', '2 folded'},
    'part': {'0', '1'},
  }
  for each in record['seconds'].values():
    assert min(each.values()) > 0
