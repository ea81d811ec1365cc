"""The README says what is true."""

import json
import re
import subprocess
import sys

from benchmarks.results_table import make_table

RECORD = 'benchmarks/records/recipe_cpu.json'


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


def test_both_set_up_commands_are_there(root):
  lines = (root / 'README.md').read_text().splitlines()
  commands = [line for line in lines if line.startswith('pip install -e ')]
  assert len([c for c in commands if '&&' in c]) == 2


def test_the_recipe_s_figures_are_those_of_its_record(root):
  record = json.loads((root / RECORD).read_text())
  text = (root / 'README.md').read_text()
  table = make_table(record).as_markdown()
  rows = [line for line in table.splitlines() if line.startswith('|')]
  assert len(rows) > 2
  assert '\n'.join(rows) in text
