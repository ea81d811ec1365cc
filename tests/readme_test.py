"""The README says what is true."""

import importlib.util
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.pages import PAGES, fill
from dm_jax.configs import ladder
from dm_jax.errors import InputError
from dm_jax.files import read_json
from dm_jax.synthetic_set import SyntheticSet


def test_the_example_runs(root, environment):
  example = re.search(
    r'```python\n(.*?)```', (root / 'README.md').read_text(), re.S
  )
  assert example is not None
  # A process of its own: the example must not need what the tests set.
  done = subprocess.run(
    [sys.executable, '-W', 'error', '-c', example[1]],
    cwd=root,
    env=environment,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  accuracy = re.fullmatch(r'1500 -> 50: (\d+\.\d)%\n', done.stdout)
  assert accuracy is not None, done.stdout
  assert float(accuracy[1]) > 40  # Chance is 10 %.


def test_the_exchange_example_is_there(root):
  assert '--mode=export' in _exchange(root)
  assert "file['normalised']" in _exchange(root)


def _exchange(root):
  text = (root / 'README.md').read_text()
  return text.split('### Results in your tools')[1].split('\n## ')[0]


# Of an extra: where it is installed, it runs the example.
if importlib.util.find_spec('torch'):

  def test_the_exchange_example_runs(root, tmp_path):
    made = SyntheticSet.from_images(
      np.zeros((20, 8, 8, 1), np.float32),
      np.repeat(np.arange(10), 2),
      (0.3,),
      (0.4,),
      tuple('0123456789'),
    )
    made.export(tmp_path / 'digits.npz', 'npz')
    example = re.search(r'```python\n(.*?)```', _exchange(root), re.S)
    assert example is not None
    check = (
      'assert targets.dtype == torch.int64\n'
      'assert images.dtype == torch.float32\n'
      'assert images.shape == (20, 1, 8, 8)\n'
      'assert network[1].weight.grad is not None\n'
    )
    done = subprocess.run(
      [sys.executable, '-c', example[1] + check],
      cwd=tmp_path,
      capture_output=True,
      text=True,
      timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_both_set_up_commands_are_there(root):
  lines = (root / 'README.md').read_text().splitlines()
  commands = [line for line in lines if line.startswith('pip install -e ')]
  assert len([c for c in commands if '&&' in c]) == 2


@pytest.mark.parametrize('page', PAGES)
def test_the_figures_of_a_page_are_those_of_the_records(root, page):
  text = (root / page).read_text('utf-8')
  assert '<!-- record: ' in text
  assert fill(text, root) == text


def test_a_page_is_filled_from_the_record_that_it_names(root):
  page = 'Before.\n<!-- record: ladder_cpu -->\n| typed |\n<!-- end -->\nAfter.'
  filled = fill(page, root)
  assert '| typed |' not in filled
  assert filled.startswith('Before.\n<!-- record: ladder_cpu -->\n')
  assert filled.endswith('<!-- end -->\nAfter.')
  assert 'cross entropy' in filled
  assert fill(filled, root) == filled
  with pytest.raises(InputError, match='did you mean ladder_cpu'):
    fill(page.replace('ladder_cpu', 'ladder_gpu'), root)


def test_the_ladder_s_record_says_what_its_rungs_add(root):
  record = read_json(root / 'benchmarks/records/ladder_cpu.json')
  said = {rung['name']: rung['adds'] for rung in record['rungs']}
  assert said == {name: ladder.RUNGS[name].adds for name in said}
