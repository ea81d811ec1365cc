"""Runs the cells of a plan one after the other, and tabulates them.

  python benchmarks/results.py --plan=recipe --workdir=runs/results \\
      --cells=cifar10_10_recipe,cifar10_10_dm \\
      --config.data.name=folder --config.data.dir=cifar10

The plans stand in configs/results/. Each cell has its own folder; what is
finished is skipped, and the same command goes on after a stop. Before it starts
it says what is left and how long that will take, as far as cells of the same
kind, in the folders or in --record, tell. Settings given by flags hold for the
cells of this call; --folders has the folders of images that cells name.

Then, or by --what=table at any time, all that the folders hold so far is
written, by default into --workdir as PLAN_DEVICE.json, that of the plan cpu as
results_DEVICE.json, or to --record, and from that alone the table beside it.
Cells that the record holds and the folders do not stay in it.
"""

from collections.abc import Sequence
import functools
import importlib
from pathlib import Path
import shlex
import sys
from typing import Any

from absl import flags
from ml_collections import config_flags

from benchmarks.application_tables import application_tables, is_application
from benchmarks.estimate import (
  Left,
  foretell,
  left_of,
  pools_of,
  rates,
  work_of,
)
from benchmarks.plan import Cell, Script, run_cells
from benchmarks.planned_tables import Plan, cells_table
from benchmarks.results_record import (
  check_device,
  check_plan,
  make_record,
  read_found,
)
from benchmarks.start import start
from dm_jax.configs import cifar10
from dm_jax.errors import InputError, choose
from dm_jax.files import full_path, read_json, write_json, write_text
from dm_jax.report.table import Table
from dm_jax.run.facts import describe_machine

PLANS = ('recipe', 'cpu', 'gpu', 'applications')

_PLAN = flags.DEFINE_enum('plan', PLANS[0], PLANS, 'Of configs/results/.')
_WORKDIR = flags.DEFINE_string('workdir', 'runs/results', 'The folder of all.')
_CELLS = flags.DEFINE_list(
  'cells', [], 'Cells and commands to run; all where none is named.'
)
_MODE = flags.DEFINE_enum(
  'mode', 'run', ('run', 'condense'), 'condense: the sets alone, for now.'
)
_WHAT = flags.DEFINE_enum(
  'what', 'run', ('run', 'table'), 'table: writes what there is so far.'
)
_RECORD = flags.DEFINE_string(
  'record', '', 'JSON file to write; by default in the workdir, by device.'
)
_FOLDERS = flags.DEFINE_string(
  'folders', '', 'Has folders of images: cifar10, tiny_imagenet_100_32x32.'
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
  given = config_flags.get_override_values(flags.FLAGS['config'])
  folders = full_path(_FOLDERS.value) if _FOLDERS.value else None
  if planned.only_in_folders and not (folders or given.get('data.dir')):
    raise InputError(
      f'{name} reads the folder {planned.images}, and its config names other'
      ' images: give --folders=DIR, which has it, or leave the cell out of'
      ' --cells'
    )
  config = planned.make_config(
    {'embedder.dir': str(folder / planned.pool_place)} if planned.pool else {},
    plan.COMMON,
    planned.sets,
    planned.read_from(folders),
    given,
  )
  other = folder / planned.judges / 'synthetic.npz' if planned.judges else None
  return Cell(name, config, folder / name, other, planned.program)


def make_script(name: str, plan: Any, folder: Path) -> Script:
  """Returns the script of a plan's command."""
  planned = plan.COMMANDS[name]
  return Script(name, planned.arguments, planned.environment, folder / name)


def run_plan(plan: Any, folder: Path) -> list[str]:
  """Runs the cells and commands that the flags name; returns what failed."""
  names = _CELLS.value or [*plan.COMMANDS, *plan.CELLS]
  for name in names:
    choose('cell', name, (*plan.COMMANDS, *plan.CELLS))
  cells = [
    make_cell(name, plan, folder) for name in names if name in plan.CELLS
  ]
  scripts = [
    make_script(name, plan, folder) for name in names if name in plan.COMMANDS
  ]
  return run_cells(
    cells,
    shlex.join(['python', *sys.argv]),
    mode=_MODE.value,
    scripts=scripts,
    foretell=functools.partial(foretell_cells, plan, folder),
  )


def foretell_cells(plan: Any, folder: Path, left: Sequence[Cell]) -> list[str]:
  """Returns lines of how long cells will take, see `estimate.foretell`."""
  begun = read_found(plan, _PLAN.value, folder).cells
  record = read_json(full_path(_RECORD.value)) if _RECORD.value else {}
  known = [*begun, *record.get('cells', ())]
  own = {cell['name']: cell for cell in begun}
  return foretell(
    [
      Left(
        cell.name,
        left_of(
          work_of(
            plan.CELLS[cell.name].config,
            cell.config.to_dict(),
            cell.program,
            'evaluate' if cell.synthetic else _MODE.value,
          ),
          own.get(cell.name),
        ),
      )
      for cell in left
    ],
    rates(known),
    pools_of(begun),
    {cell['device'] for cell in known if cell['device']},
  )


def write_tables(plan: Any, folder: Path) -> None:
  """Writes the records of all that has been judged, and their tables."""
  found = read_found(plan, _PLAN.value, folder)
  if _RECORD.value:
    check_device(read_json(full_path(_RECORD.value)), found.devices)
    by_path = {full_path(_RECORD.value): found}
  else:
    by_path = {
      folder / f'{plan.RECORD}_{device}.json': of_device
      for device, of_device in found.by_device().items()
    }
  records = {
    path: make_record(plan, _PLAN.value, each, read_json(path))
    for path, each in by_path.items()
  }
  for path, record in records.items():
    if record['cells'] or record.get('commands'):
      write_json(path, record)
    tables = make_tables(plan, record)
    if tables:
      pages = '\n\n'.join(table.as_markdown() for table in tables)
      write_text(path.with_suffix('.md'), f'{pages}\n')
      print('\n\n'.join(table.as_text() for table in tables))
  if not any(record['cells'] for record in records.values()):
    print(f'no cell in {folder} has been judged yet')


def make_tables(plan: Any, record: dict[str, Any]) -> list[Table]:
  """Returns the tables of a record: of its cells, and of applications."""
  known = Plan.of(plan, record)
  names = [name for name, c in known.cells.items() if not is_application(c)]
  tables = [cells_table(known, names)] if names else []
  return [*tables, *application_tables(known.cells.values())]


def main(_: list[str]) -> None:
  failed: list[str] = []
  plan = importlib.import_module(f'dm_jax.configs.results.{_PLAN.value}')
  folder = full_path(_WORKDIR.value, '--workdir')
  if _RECORD.value:  # Before hours are spent on what could not be written.
    record = read_json(full_path(_RECORD.value))
    check_plan(record, _PLAN.value)
    devices = read_found(plan, _PLAN.value, folder).devices
    if _WHAT.value == 'run' and not plan.COMMANDS:
      # Not beside commands: JAX would take the device's memory before them.
      devices.append(describe_machine()['device'])
    check_device(record, devices)
  try:
    if _WHAT.value == 'run':
      failed = run_plan(plan, folder)
  finally:  # What there is, also where it was stopped.
    write_tables(plan, folder)
  if failed:
    raise InputError('; '.join(failed))


if __name__ == '__main__':
  start(main)
