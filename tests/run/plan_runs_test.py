"""Runs and scripts of a plan, one after the other: what stops which."""

import json
import sys

import pytest

from benchmarks import plan as plans
from benchmarks.plan import Cell, Script, has_run, run_cells
from dm_jax.errors import InputError
from dm_jax.files import read_json
from dm_jax.records.results import read_results


def script(folder, found, code=0):
  """A script that says what it found, and ends with a code."""
  program = (
    'import pathlib, sys\n'
    "path = sys.argv[-1].removeprefix('--record=')\n"
    f'pathlib.Path(path).write_text({json.dumps(found)!r})\n'
    f'sys.exit({code})\n'
  )
  return Script('check', ('-c', program), {}, folder)


@pytest.mark.parametrize(
  ('found', 'code', 'why'),
  [
    ({'passed': False}, 0, 'check: what it checks is not so'),
    ({'passed': True}, 3, 'check: ended with 3'),
    ({}, 0, 'check: ended with 0'),
  ],
)
def test_a_script_that_failed_is_told_and_tried_again(
  tmp_path, found, code, why
):
  failing = script(tmp_path, found, code)
  assert run_cells([], 'x', scripts=[failing]) == [why]
  assert not has_run(failing)
  mended = script(tmp_path, {'passed': True})
  assert run_cells([], 'x', scripts=[mended]) == []
  assert has_run(mended)


def test_what_a_script_left_before_it_failed_is_not_taken_for_new(tmp_path):
  (tmp_path / 'record.json').write_text('{"passed": true}')
  silent = Script('silent', ('-c', 'pass'), {}, tmp_path)
  assert run_cells([], 'x', scripts=[silent]) == ['silent: ended with 0']


def test_one_cell_that_cannot_be_leaves_the_others_to_run(
  make_config, twelve_of_each, tmp_path
):
  none = Cell('none', make_config(**{'data.dir': 'no.npz'}), tmp_path / 'none')
  good = Cell(
    'good', make_config(**{'data.dir': str(twelve_of_each)}), tmp_path / 'good'
  )
  (line,) = run_cells([none, good], 'x')
  assert line.startswith('none: ')
  assert 'no.npz' in line
  assert read_results(good.folder).evaluations
  said: list[str] = []
  assert run_cells([good], 'x', said.append) == []
  assert said == ['finished: good']


def test_a_folder_of_other_settings_leaves_the_others_to_run(
  make_config, twelve_of_each, tmp_path, monkeypatch
):
  def cell(name, **changes):
    data = {'data.dir': str(twelve_of_each)}
    return Cell(name, make_config(**data, **changes), tmp_path / name)

  monkeypatch.setattr(plans, 'commit', lambda: 'first')
  assert run_cells([cell('a')], 'x') == []
  monkeypatch.setattr(plans, 'commit', lambda: 'second')
  (line,) = run_cells([cell('a', **{'condense.steps': 3}), cell('b')], 'x')
  assert line.startswith('a: workdir ')
  assert 'belongs to another config (condense.steps: ' in line
  assert read_results(tmp_path / 'b').evaluations
  # What is refused was not run.
  for name, commit in (('a', 'first'), ('b', 'second')):
    known = read_json(tmp_path / name / plans.COMMITS)
    assert known == {'commits': [commit]}


def test_a_start_that_finds_all_made_leaves_the_commits_as_they_are(
  make_config, twelve_of_each, tmp_path, monkeypatch
):
  config = make_config(**{'data.dir': str(twelve_of_each)})
  cell = Cell('a', config, tmp_path / 'a')

  def commits_after(commit, mode):
    monkeypatch.setattr(plans, 'commit', lambda: commit)
    assert run_cells([cell], 'x', mode=mode) == []
    return read_json(cell.folder / plans.COMMITS)['commits']

  assert commits_after('first', 'condense') == ['first']
  assert commits_after('second', 'condense') == ['first']
  assert commits_after('third', 'run') == ['first', 'third']


def test_without_pytorch_nothing_is_begun(make_config, tmp_path, monkeypatch):
  cell = Cell('peer', make_config(), tmp_path / 'peer', program='torch')
  monkeypatch.setitem(sys.modules, 'torch', None)
  monkeypatch.setattr(plans.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(InputError, match=r'peer needs PyTorch: pip install'):
    run_cells([cell], 'x')
  assert not cell.folder.exists()
