"""Runs the cells of a plan one after the other, and tabulates them.

  python benchmarks/results.py --plan=recipe --workdir=runs/results \\
      --cells=cifar10_10_recipe,cifar10_10_dm \\
      --config.data.name=folder --config.data.dir=cifar10

The plans stand in configs/results/. Each cell has its own folder; what is
finished is skipped, and the same command goes on after a stop. Settings given
by flags hold for the cells of this call. Then, or by --what=table at any time,
all that the folders hold so far is written to --record, and from that alone the
table beside it. Cells that --record holds and the folders do not stay in it.
"""

import importlib
from pathlib import Path
import shlex
import sys
from typing import Any

from absl import flags
from ml_collections import config_flags

from benchmarks.plan import Cell, run_cells
from benchmarks.results_table import make_record, make_table
from benchmarks.start import start
from dm_jax.configs import cifar10
from dm_jax.errors import InputError, choose
from dm_jax.files import full_path, read_json, write_atomically, write_json
from dm_jax.run.command import exit_in_one_line

PLANS = ('recipe',)

_PLAN = flags.DEFINE_enum('plan', PLANS[0], PLANS, 'Of configs/results/.')
_WORKDIR = flags.DEFINE_string('workdir', 'runs/results', 'The folder of all.')
_CELLS = flags.DEFINE_list(
  'cells', [], 'Those to run; all where none is named.'
)
_MODE = flags.DEFINE_enum(
  'mode', 'run', ('run', 'condense'), 'condense: the sets alone, for now.'
)
_WHAT = flags.DEFINE_enum(
  'what', 'run', ('run', 'table'), 'table: writes what there is so far.'
)
_RECORD = flags.DEFINE_string(
  'record', '', 'JSON file to write; by default in the workdir.'
)
_CONFIG = config_flags.DEFINE_config_dict(
  'config',
  cifar10.get_config('recipe=trajectory_short'),
  'Settings of the cells of this call.',
)


def make_cell(name: str, plan: Any, folder: Path) -> Cell:
  """Returns the run of a cell, with the settings that flags give.

  Args:
    name: of the cell.
    plan: the module of configs/results/.
    folder: of all cells; those of one data set share a pool there.

  Raises:
    InputError: one cannot be.
  """
  planned = plan.CELLS[name]
  pool = {'embedder.dir': str(folder / f'pool_{planned.config}')}
  given = config_flags.get_override_values(flags.FLAGS['config'])
  made = planned.make_config(pool, plan.COMMON, planned.sets, given)
  other = folder / planned.judges / 'synthetic.npz' if planned.judges else None
  return Cell(name, made, folder / name, other)


def write_table(plan: Any, folder: Path) -> None:
  """Writes the record of all cells that have been judged, and its table."""
  path = full_path(_RECORD.value or folder / f'{_PLAN.value}.json')
  record = make_record(plan, _PLAN.value, folder, read_json(path))
  if not record['cells']:
    print(f'no cell in {folder} has been judged yet')
    return
  write_json(path, record)
  table = make_table(record)
  text = f'{table.as_markdown()}\n'.encode()
  write_atomically(path.with_suffix('.md'), lambda file: file.write(text))
  print(table.as_text())


def main(_: list[str]) -> None:
  failed: list[str] = []
  with exit_in_one_line(InputError, OSError):
    plan = importlib.import_module(f'dm_jax.configs.results.{_PLAN.value}')
    folder = full_path(_WORKDIR.value, '--workdir')
    if _WHAT.value == 'run':
      names = _CELLS.value or [*plan.CELLS]
      for name in names:
        choose('cell', name, plan.CELLS)
      cells = [make_cell(name, plan, folder) for name in names]
      command = shlex.join(['python', *sys.argv])
      failed = run_cells(cells, command, mode=_MODE.value)
    write_table(plan, folder)
    if failed:
      raise InputError('; '.join(failed))


if __name__ == '__main__':
  start(main)
