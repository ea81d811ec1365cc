"""What each ingredient of a recipe is worth: runs its rungs and tabulates.

  python benchmarks/ladder.py --workdir=runs/ladder --ipc=10
  python benchmarks/ladder.py --workdir=runs/ladder --what=table

The rungs stand in configs/ladder.py. Each has its own folder, all share the
pool of trained networks and what is compiled. What is finished is skipped, and
the same command goes on after a stop. Settings of all rungs can be changed:

  python benchmarks/ladder.py --workdir=runs/ladder --rungs=dm,tiles \\
      --config.network.width=32 --config.condense.steps=1000

In the end, or by --what=table at any time, there are ladder.json, ladder.md,
ladder.png, ladder.svg and ladder.html in the folder, made of the records alone.
--record=FILE is ladder.json without places on this machine, to be kept.
"""

import functools
from pathlib import Path
import shlex
import sys

from absl import flags
from ml_collections import config_flags

from benchmarks.plan import Cell, run_cells
from benchmarks.portable import portable_command
from benchmarks.start import start
from dm_jax.configs import ladder
from dm_jax.errors import InputError, choose
from dm_jax.files import full_path, read_json, write_json
from dm_jax.report.ladder import write
from dm_jax.report.rungs import Rung, to_record
from dm_jax.run.config import RunConfig

_WORKDIR = flags.DEFINE_string('workdir', 'runs/ladder', 'The folder of all.')
_IPC = flags.DEFINE_integer('ipc', 10, 'Stored images per class.')
_DATA = flags.DEFINE_string('data', ladder.DATA[0], 'As in configs/ladder.py.')
_RECIPE = flags.DEFINE_string('recipe', ladder.RECIPE, 'Whose settings.')
_RUNGS = flags.DEFINE_list('rungs', [*ladder.RUNGS], 'Those to run.')
_WHAT = flags.DEFINE_enum(
  'what', 'run', ('run', 'table'), 'table: writes what there is so far.'
)
_RECORD = flags.DEFINE_string('record', '', 'JSON file to write beside it.')
_CONFIG = config_flags.DEFINE_config_dict(
  'config', ladder.get_config(), 'Settings of all rungs.'
)


def make_cell(name: str, changes: dict) -> Cell:
  """Returns the run of a rung.

  Args:
    name: of the rung.
    changes: settings by dotted name.

  Raises:
    InputError: one cannot be.
  """
  folder = full_path(_WORKDIR.value, '--workdir')
  config = ladder.get_config(
    f'rung={name}:ipc={_IPC.value}:data={_DATA.value}:recipe={_RECIPE.value}'
  )
  config.embedder.dir = str(folder / 'pool')
  config.update_from_flattened_dict(changes)
  return Cell(name, RunConfig.from_dict(config.to_dict()), folder / name)


def write_table() -> None:
  """Writes the table of all rungs that have records."""
  folder = full_path(_WORKDIR.value, '--workdir')
  read = functools.partial(Rung.read, folder)
  rungs = [read(name, rung.adds) for name, rung in ladder.RUNGS.items()]
  rungs = [rung for rung in rungs if rung]
  table, paths = write(rungs, folder)
  print(table.as_text())
  if _RECORD.value:
    record = to_record(rungs)
    check_known(full_path(_RECORD.value, '--record'), record)
    for rung in record['rungs']:
      results = rung['results']
      results['command'] = portable_command(results['command'] or '')
    paths.append(full_path(_RECORD.value, '--record'))
    write_json(paths[-1], record)
  for path in paths:
    print(f'written: {path}')


def check_known(path: Path, record: dict) -> None:
  """Raises InputError if a record would lose rungs of another folder."""
  before, now = (
    {rung['name'] for rung in each.get('rungs', ())}
    for each in (read_json(path), record)
  )
  if before - now:
    raise InputError(
      f'--record={path} has {", ".join(sorted(before - now))}, which this'
      ' --workdir has not: run them there, too, or give another --record'
    )


def main(_: list[str]) -> None:
  failed: list[str] = []
  if _WHAT.value == 'run':
    names = _RUNGS.value or []
    for name in names:
      choose('rung', name, ladder.RUNGS)
    changes = config_flags.get_override_values(flags.FLAGS['config'])
    cells = [make_cell(name, changes) for name in names]
    failed = run_cells(cells, shlex.join(['python', *sys.argv]))
  write_table()
  if failed:
    raise InputError('; '.join(failed))


if __name__ == '__main__':
  start(main)
