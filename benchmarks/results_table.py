"""The record of a plan's cells, and the table that is made of it alone."""

from collections.abc import Sequence
from pathlib import Path
import statistics
from typing import Any

from dm_jax.files import read_json
from dm_jax.report.rungs import Rung, run_record
from dm_jax.report.table import Table, data_name, shown
from dm_jax.words import format_bytes, format_seconds, plus_minus


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
      *(f'Accuracy, {protocol} protocol' for protocol in protocols),
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
  values = [value for each in by_set for value in each]
  return plus_minus(statistics.fmean(values), statistics.pstdev(values))
