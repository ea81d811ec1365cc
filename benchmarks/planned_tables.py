"""Tables of what a plan holds: measured cells, and those that are not yet.

What is measured comes from the plan's records alone, whatever device they are
of; what is planned, from the plan.
"""

from collections.abc import Iterable, Mapping, Sequence
import importlib
from pathlib import Path
import statistics
from typing import Any, NamedTuple, Self

from benchmarks.results_record import accuracy_of, asked_of, evaluation_of
from dm_jax.config.sections import NetworkConfig
from dm_jax.configs.results.planned import Planned
from dm_jax.files import read_json
from dm_jax.networks.labels import label, parse_pool
from dm_jax.report.table import Table, shown
from dm_jax.run.config import RunConfig
from dm_jax.words import (
  format_bytes,
  format_seconds,
  method_name,
  network_name,
  plus_minus,
)

NOT_MEASURED = 'not measured'
_NONE = '–'


class Plan(NamedTuple):
  """A plan and its records.

  Attributes:
    module: of configs/results/.
    cells: measured, by name, as records hold them.
    commands: the same of commands.
  """

  module: Any
  cells: Mapping[str, dict[str, Any]]
  commands: Mapping[str, dict[str, Any]]

  @classmethod
  def read(cls, name: str, folder: Path) -> Self:
    """Reads a plan's records, one for each device; the first one's cells hold.

    Args:
      name: of the plan.
      folder: of all records.
    """
    module = importlib.import_module(f'dm_jax.configs.results.{name}')
    records = [
      read_json(path) for path in sorted(folder.glob(f'{module.RECORD}_*.json'))
    ]
    # Of the last first, so that the first one's stay.
    own = [record for record in records if record.get('plan') == name][::-1]
    return cls(
      module,
      {cell['name']: cell for record in own for cell in record['cells']},
      {
        each['name']: each
        for record in own
        for each in record.get('commands', ())
      },
    )

  def settings_of(self, name: str) -> dict[str, Any]:
    """Returns a cell's settings: measured, or as they are planned."""
    if name in self.cells:
      return self.cells[name]['settings']
    planned = self.module.CELLS[name]
    return planned.make_config(self.module.COMMON, planned.sets).to_dict()


def cells_table(title: str, plan: Plan, names: Sequence[str]) -> Table:
  """Returns a row for each cell and network that is trained on its set.

  Args:
    title: of the table.
    plan: with its records.
    names: of the cells, in order.
  """
  planned = {name: plan.module.CELLS[name] for name in names}
  beside = any(cell.beside for cell in planned.values())
  rows = [
    row if beside else (*row[:6], *row[7:])
    for name, cell in planned.items()
    for row in _cell_rows(plan, name, cell)
  ]
  columns = (
    'Data',
    'Images per class',
    'Set',
    'Steps',
    'Network, epochs',
    'Accuracy',
    'Paper',
    'Bytes',
    'Pool',
    'Condensing',
  )
  return Table(
    title,
    columns if beside else (*columns[:6], *columns[7:]),
    rows,
    _notes(plan, names, beside),
  )


def _cell_rows(
  plan: Plan, name: str, planned: Planned
) -> Iterable[tuple[str, ...]]:
  settings, cell = plan.settings_of(name), plan.cells.get(name)
  size = settings['condense']['images_per_class']
  made = settings['method'] == 'dm'
  start = (
    planned.config,
    str(cell['images_per_class'] if cell else size),
    planned.says,
    f'{settings["condense"]["steps"]:,}' if made else _NONE,
  )
  paper = shown(planned.beside, lambda figure: _printed(*figure))
  epochs = f'{settings["evaluate"]["epochs"]:,} epochs'
  for network in _networks(settings, cell):
    judged = f'{network_name(network)}, {epochs}'
    if cell is None:
      yield (*start, judged, NOT_MEASURED, paper, _NONE, _NONE, _NONE)
      continue
    found = evaluation_of(cell, network)
    seconds = [s for s in cell['condense_seconds'].values() if s is not None]
    yield (
      *start,
      judged,
      accuracy_of(cell, found) if found else NOT_MEASURED,
      paper,
      shown(found and found['bytes'], format_bytes),
      shown(_pool_seconds(plan, cell), format_seconds),
      shown(statistics.fmean(seconds) if seconds else None, format_seconds),
    )


def _networks(
  settings: dict[str, Any], cell: dict[str, Any] | None
) -> list[str]:
  """Returns the labels of the networks that a cell's set is judged by."""
  if cell is not None:
    own = [e for e in cell['evaluations'] if e['method'] == cell['method']]
    return [*dict.fromkeys(e['network'] for e in own)]
  config = RunConfig.from_dict(settings)
  pool = parse_pool(config.evaluate.pool, config.evaluation_network)
  return [label(network) for network in pool]


def _pool_seconds(plan: Plan, cell: dict[str, Any]) -> float | None:
  """Returns what the pool took the cell that trained it; others read it."""
  if cell['pool_seconds'] is None:
    return None
  kind = plan.module.CELLS[cell['name']]
  same = [
    other['pool_seconds']
    for name, other in plan.cells.items()
    if other['pool_seconds'] is not None
    and (plan.module.CELLS[name].pool, plan.module.CELLS[name].config)
    == (kind.pool, kind.config)
  ]
  return max(same)


def _printed(accuracy: float, deviation: float | None) -> str:
  return plus_minus(
    accuracy / 100, None if deviation is None else deviation / 100
  )


def _notes(plan: Plan, names: Sequence[str], beside: bool) -> tuple[str, ...]:
  measured = [plan.cells[name] for name in names if name in plan.cells]
  if not measured:
    return ()
  asked = '; '.join(sorted({asked_of(cell) for cell in measured}))
  devices = '; '.join(sorted({c['device'] for c in measured if c['device']}))
  paper = ' Paper: at its whole budget, of 5 sets × 20 networks.' * beside
  return (
    f'In %, mean ± deviation over {asked}, after the last epoch of the last'
    f' step.{paper} Pool: once for all sets of the data. Condensing: of one'
    f' set, without compiling. {devices}.',
  )


def baselines_table(title: str, plan: Plan, names: Sequence[str]) -> Table:
  """Returns a row for each cell, size and network, its baselines beside it."""
  methods = ('random', 'herding', 'whole')
  rows = []
  for name in names:
    planned, settings = plan.module.CELLS[name], plan.settings_of(name)
    cell = plan.cells.get(name)
    sizes = settings['condense']['images_per_class']
    for size in sizes if isinstance(sizes, list | tuple) else (sizes,):
      for network in _networks(settings, cell):
        found = [
          _shown_accuracy(settings, cell, method, network, size)
          for method in (settings['method'], *methods)
        ]
        rows.append(
          (
            planned.says,
            planned.config,
            str(size),
            network_name(label(NetworkConfig(**settings['network']))),
            network_name(network),
            *found,
          )
        )
  return Table(
    title,
    (
      'Run',
      'Data',
      'Images per class',
      'Condensed with',
      'Evaluated on',
      'Synthetic',
      *(method_name(method).capitalize() for method in methods),
    ),
    rows,
    _notes(plan, names, beside=False),
  )


def _shown_accuracy(settings, cell, method, network, size) -> str:
  asked = settings['evaluate']['baselines'].split(',')
  if method not in (settings['method'], *asked):
    return _NONE
  if cell is None:
    return NOT_MEASURED
  found = next(
    (
      each
      for each in cell['evaluations']
      if (each['method'], each['network']) == (method, network)
      and each['images_per_class'] in (size, None)
    ),
    None,
  )
  return NOT_MEASURED if found is None else accuracy_of(cell, found, method)


def commands_table(
  title: str, plan: Plan, prefix: str, figures: Mapping[str, Any]
) -> Table:
  """Returns a row for each command of a plan.

  Args:
    title: of the table.
    plan: with its records.
    prefix: of the commands' names.
    figures: by heading, what makes a cell of the figures of a command.
  """
  rows = []
  for name, planned in plan.module.COMMANDS.items():
    if not name.startswith(prefix):
      continue
    measured = plan.commands.get(name)
    if measured is None:
      cells = [NOT_MEASURED] * len(figures)
    else:
      cells = [make(measured['figures']) for make in figures.values()]
    rows.append((planned.says, *cells))
  devices = {e['device'] for e in plan.commands.values() if e['device']}
  notes = (f'{"; ".join(sorted(devices))}.',) if devices else ()
  return Table(title, ('What', *figures), rows, notes)
