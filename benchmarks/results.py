"""Runs the cells of a plan one after the other, and tabulates them.

  python benchmarks/results.py --plan=recipe --workdir=runs/results \\
      --cells=cifar10_10_recipe,cifar10_10_dm \\
      --config.data.name=folder --config.data.dir=cifar10

The plans stand in configs/results/. Each cell has its own folder; what is
finished is skipped, and the same command goes on after a stop. Settings given
by flags hold for the cells of this call. Then, or by --what=table at any time,
all that the folders hold so far is written to --record, and from that alone the
table beside it.
"""

from collections.abc import Sequence
import importlib
from pathlib import Path
import shlex
import statistics
import sys
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from benchmarks.plan import Cell, run_cells
from configs import cifar10
from dm_jax.errors import InputError, choose
from dm_jax.files import read_json, write_atomically, write_json
from dm_jax.report.rungs import Rung, run_record
from dm_jax.report.table import Table, data_name, shown
from dm_jax.run.command import exit_in_one_line
from dm_jax.run.config import RunConfig
from dm_jax.words import format_bytes, format_seconds

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
  preset = importlib.import_module(f'configs.{planned.config}')
  config = preset.get_config(planned.argument)
  given = config_flags.get_override_values(flags.FLAGS['config'])
  settings = {
    'embedder.dir': str(folder / f'pool_{planned.config}'),
    **plan.COMMON,
    **planned.sets,
    **given,
  }
  with config.ignore_type():
    config.update_from_flattened_dict(settings)
  return Cell(name, RunConfig.from_dict(config.to_dict()), folder / name)


def make_record(plan: Any, name: str, folder: Path) -> dict[str, Any]:
  """Returns what the folders of a plan's cells hold that have been judged."""
  cells = []
  for cell, planned in plan.CELLS.items():
    rung = Rung.read(folder, cell, '')
    if rung is None or not rung.results.evaluations:
      continue
    results, settings = rung.results, read_json(folder / cell / 'config.json')
    of_cell = {
      'name': cell,
      'command': f'python benchmarks/results.py --plan={name} --cells={cell}',
      'config': planned.config,
      'says': planned.says,
      'data': data_name(results),
      'images_per_class': results.images_per_class,
      'method': results.method,
      'seed': results.seed,
      'versions': dict(results.versions),
      'settings': {
        section: settings[section] for section in ('condense', 'evaluate')
      },
    }
    # A cell's own command stands for the one that ran several.
    cells.append({**run_record(rung), **of_cell})
  return {'plan': name, 'cells': cells}


def make_table(record: dict[str, Any]) -> Table:
  """Returns a row for each cell of a record, its protocols side by side.

  Args:
    record: see `make_record`.
  """
  cells = record['cells']
  found = [each for cell in cells for each in cell['evaluations']]
  protocols = [*dict.fromkeys(each['protocol'] for each in found)]
  counts = {
    f'{len(each["accuracies"])} sets of {len(each["accuracies"][0])} networks'
    for each in found
  }
  devices = {cell['device'] for cell in cells}
  pools: dict[str, float] = {}  # Whoever came first has trained it.
  for cell in cells:
    if cell['pool_seconds'] is not None:
      of_data = pools.get(cell['config'], 0.0)
      pools[cell['config']] = max(of_data, cell['pool_seconds'])
  return Table(
    'Accuracy on the test set, in %',
    (
      *('Data', 'Images per class', 'Set', 'Pool', 'Steps', 'Condensing'),
      'Epochs',
      *protocols,
      'Bytes',
    ),
    [_row(cell, pools, protocols) for cell in cells],
    (
      f'Mean ± deviation over {"; ".join(sorted(counts))}, after the last epoch'
      ' of the last step. Pool: once for all sets of the data. Condensing: of'
      f' one set, without compiling. {"; ".join(sorted(devices))}.',
    ),
  )


def _row(
  cell: dict[str, Any], pools: dict[str, float], protocols: Sequence[str]
) -> tuple[str, ...]:
  settings, found = cell['settings'], cell['evaluations']
  seconds = [*cell['condense_seconds'].values()]
  uses_pool = cell['pool_seconds'] is not None
  by_protocol = {each['protocol']: each['accuracies'] for each in found}
  return (
    cell['config'],
    str(cell['images_per_class']),
    cell['says'],
    format_seconds(pools[cell['config']]) if uses_pool else '–',
    str(settings['condense']['steps']) if seconds else '–',
    format_seconds(statistics.fmean(seconds)) if seconds else '–',
    str(settings['evaluate']['epochs']),
    *(shown(by_protocol.get(protocol), _accuracy) for protocol in protocols),
    shown(found[0]['bytes'], format_bytes),
  )


def _accuracy(by_set: Sequence[Sequence[float]]) -> str:
  values = [100 * value for each in by_set for value in each]
  return f'{statistics.fmean(values):.1f} ± {statistics.pstdev(values):.1f}'


def main(_: list[str]) -> None:
  failed: list[str] = []
  with exit_in_one_line(InputError, OSError):
    plan = importlib.import_module(f'configs.results.{_PLAN.value}')
    folder = Path(_WORKDIR.value)
    if _WHAT.value == 'run':
      names = _CELLS.value or [*plan.CELLS]
      for name in names:
        choose('cell', name, plan.CELLS)
      cells = [make_cell(name, plan, folder) for name in names]
      command = shlex.join(['python', *sys.argv])
      failed = run_cells(cells, command, mode=_MODE.value)
    record = make_record(plan, _PLAN.value, folder)
    path = Path(_RECORD.value or folder / f'{_PLAN.value}.json')
    write_json(path, record)
    table = make_table(record)
    text = f'{table.as_markdown()}\n'.encode()
    write_atomically(path.with_suffix('.md'), lambda file: file.write(text))
    print(table.as_text())
    if failed:
      raise InputError('; '.join(failed))


def _parse(argv: list[str]) -> list[str]:
  with exit_in_one_line(Exception):
    return flags.FLAGS(argv)


if __name__ == '__main__':
  flags.FLAGS.verbosity = logging.WARNING  # Orbax tells of every file.
  app.run(main, flags_parser=_parse)
