"""Tables of what a plan holds: measured cells, and those that are not yet.

What is measured comes from the plan's records alone, whatever device they are
of; what is planned, from the plan.
"""

from collections.abc import Iterable, Mapping, Sequence
import importlib
from pathlib import Path
import statistics
from typing import Any, NamedTuple, Self

from benchmarks.results_record import furthest
from dm_jax.config.sections import NetworkConfig, split_names
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
  plural,
  plus_minus,
)

NOT_MEASURED = 'not measured'
_NONE = '–'
# A set of a cell that took more than so many times as long as its quickest was
# made on another machine, or beside other work: a mean would hide that.
_FAR_APART = 1.2
_PAPER = 'Paper: at its whole budget, of 5 sets × 20 networks. '
_SECONDS = (
  'Pool: once for all sets of the data. Condensing: of one set, without'
  ' compiling.'
)


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
    """Reads a plan's records, one for each device, see `furthest`.

    Args:
      name: of the plan.
      folder: of all records.
    """
    module = importlib.import_module(f'dm_jax.configs.results.{name}')
    records = [
      read_json(path) for path in sorted(folder.glob(f'{module.RECORD}_*.json'))
    ]
    return cls._joined(
      module, [record for record in records if record.get('plan') == name]
    )

  @classmethod
  def of(cls, module: Any, record: Mapping[str, Any]) -> Self:
    """Returns a plan with a single record.

    Args:
      module: of configs/results/.
      record: see `results_record.make_record`.
    """
    return cls._joined(module, [record])

  @classmethod
  def _joined(cls, module: Any, records: Sequence[Mapping[str, Any]]) -> Self:
    cells, commands = (
      furthest(module, what, [e for r in records for e in r.get(what, ())])
      for what in ('cells', 'commands')
    )
    return cls(module, cells, commands)

  def settings_of(self, name: str) -> dict[str, Any]:
    """Returns a cell's settings: measured, or as they are planned."""
    if name in self.cells:
      return self.cells[name]['settings']
    planned = self.module.CELLS[name]
    return planned.make_config(self.module.COMMON, planned.sets).to_dict()


def cells_table(plan: Plan, names: Sequence[str]) -> Table:
  """Returns a row for each cell and network that is trained on its set.

  Args:
    plan: with its records.
    names: of the cells, in order.
  """
  protocols = _protocols(plan, names)
  marks = marks_of(plan, names)
  rows = [
    row
    for name in names
    for row in _cell_rows(plan, name, protocols, marks.get(name, ''))
  ]
  alone = len(protocols) == 1
  columns = (
    *('Data', 'Images per class', 'Set', 'Steps', 'Network, epochs'),
    *('Accuracy' if alone else f'Accuracy, {p} protocol' for p in protocols),
    *('Paper', 'Bytes', 'Pool', 'Condensing'),
  )
  beside = any(plan.module.CELLS[name].beside for name in names)
  left_out = () if beside else (columns.index('Paper'),)
  return Table(
    'Accuracy on the test set, in %',
    _without(columns, left_out),
    [_without(row, left_out) for row in rows],
    _notes(plan, names, _PAPER * beside + _SECONDS),
  )


def _without(row: Sequence[str], places: Sequence[int]) -> tuple[str, ...]:
  return tuple(each for n, each in enumerate(row) if n not in places)


def _protocols(plan: Plan, names: Sequence[str]) -> list[str]:
  """Returns the protocols that any of the cells is judged by, in order."""
  asked = [
    split_names(plan.settings_of(name)['evaluate']['protocol'])
    for name in names
  ]
  return [*dict.fromkeys(name for each in asked for name in each)]


def _devices(measured: Iterable[Mapping[str, Any]]) -> list[str]:
  """Returns what cells or commands were measured on, in order."""
  return sorted({each['device'] for each in measured if each['device']})


def _on_device(measured: Mapping[str, Any] | None, several: bool) -> str:
  """Returns the device of a row, in a table that has several."""
  device = measured and measured['device']
  return f', on {device}' if several and device else ''


def marks_of(plan: Plan, names: Sequence[str]) -> dict[str, str]:
  """Returns what follows a cell's name in a table, by name; '' says nothing.

  The device, where the table has several, and how many networks judged it,
  where that is not usual in the table.

  Args:
    plan: with its records.
    names: of the cells.
  """
  cells = {name: plan.cells[name] for name in names if name in plan.cells}
  several, usual = len(_devices(cells.values())) > 1, _usual(cells.values())
  return {
    name: _on_device(cell, several)
    + f', {asked_of(cell)}' * (asked_of(cell) != usual)
    for name, cell in cells.items()
  }


def _usual(cells: Iterable[Mapping[str, Any]]) -> str:
  """Returns what judges most cells; '' where there are none."""
  counts = [*map(asked_of, cells)]
  return max(counts, key=counts.count, default='')


def _cell_rows(
  plan: Plan, name: str, protocols: Sequence[str], mark: str
) -> Iterable[tuple[str, ...]]:
  planned, cell = plan.module.CELLS[name], plan.cells.get(name)
  settings = plan.settings_of(name)
  size = settings['condense']['images_per_class']
  made = settings['method'] == 'dm'
  for network in _networks(settings):
    found = [evaluation_of(cell, network, each) for each in protocols]
    stored = {each['bytes'] for each in found if each}
    yield (
      _data_of(planned, cell),
      str(cell['images_per_class'] if cell else size),
      planned.says + _files_of(cell) + mark,
      f'{settings["condense"]["steps"]:,}' if made else _NONE,
      f'{network_name(network)}, {settings["evaluate"]["epochs"]:,} epochs',
      *(accuracy_of(cell, each) for each in found),
      shown(planned.beside, lambda figure: _printed(*figure)),
      shown(next(iter(stored), None), format_bytes),
      shown(pool_seconds(plan, name), format_seconds),
      _condensing(cell),
    )


def _data_of(planned: Planned, cell: Mapping[str, Any] | None) -> str:
  """Returns the data's name, and whether its images are stored as JPEG."""
  lossless = cell is not None and cell['settings']['data']['name'] != 'folder'
  return planned.data + ', JPEG' * bool(planned.images and not lossless)


def _files_of(cell: Mapping[str, Any] | None) -> str:
  """Returns how many files a set of random JPEG is; '' for other sets."""
  counts = (cell or {}).get('jpeg_files', {}).values()
  return f' ({round(statistics.fmean(counts)):,} files)' if counts else ''


def _condensing(cell: Mapping[str, Any] | None) -> str:
  """Returns what a set took; from the quickest to the slowest if far apart."""
  spent = cell['condense_seconds'].values() if cell else ()
  seconds = [each for each in spent if each is not None]
  if not seconds:
    return _NONE
  least, most = min(seconds), max(seconds)
  if most <= _FAR_APART * least:
    return format_seconds(statistics.fmean(seconds))
  return f'{format_seconds(least)} to {format_seconds(most)}'


def _networks(settings: Mapping[str, Any]) -> list[str]:
  """Returns the labels of the networks that a cell's set is judged by."""
  config = RunConfig.from_dict(settings)
  pool = parse_pool(config.evaluate.pool, config.evaluation_network)
  return [label(network) for network in pool]


def evaluation_of(
  cell: Mapping[str, Any] | None, network: str, protocol: str
) -> dict[str, Any] | None:
  """Returns what networks reached on a cell's own, largest set.

  Args:
    cell: of a record; None has reached nothing.
    network: its label.
    protocol: under which they were trained.
  """
  wanted = cell and (
    *(cell['method'], network, protocol, cell['images_per_class']),
  )
  return next(
    (
      each
      for each in (cell['evaluations'] if cell else ())
      if wanted
      == (
        *(each['method'], each['network']),
        *(each['protocol'], each['images_per_class']),
      )
    ),
    None,
  )


def pool_seconds(plan: Plan, name: str) -> float | None:
  """Returns what a cell's pool took the one that trained it; others read it.

  On the same device, as a folder of another machine has a pool of its own.
  """
  cell = plan.cells.get(name)
  if cell is None or cell['pool_seconds'] is None:
    return None
  place = plan.module.CELLS[name].pool_place
  return max(
    other['pool_seconds']
    for name, other in plan.cells.items()
    if other['pool_seconds'] is not None
    and other['device'] == cell['device']
    and plan.module.CELLS[name].pool_place == place
  )


def asked_of(cell: Mapping[str, Any]) -> str:
  """Returns what judges a cell, e.g. 2 sets of 5 networks."""
  sets, evaluate = cell['settings']['sets'], cell['settings']['evaluate']
  networks = plural(evaluate['networks'], 'network')
  return f'{plural(sets, "set")} of {networks}'


def accuracy_of(
  cell: Mapping[str, Any] | None,
  found: Mapping[str, Any] | None,
  method: str = '',
) -> str:
  """Returns mean and deviation, and of how many where some are missing.

  Args:
    cell: of a record; None is not measured.
    found: one of its evaluations; None is not measured.
    method: whole, which is trained on by networks of its own number.
  """
  if cell is None or found is None:
    return NOT_MEASURED
  settings, by_set = cell['settings'], found['accuracies']
  values = [value for each in by_set for value in each]
  asked = settings['sets'] * settings['evaluate']['networks']
  if method == 'whole':
    asked = settings['evaluate']['whole_set_networks']
  # One network has none: ± 0.0 would look like certainty.
  deviation = statistics.pstdev(values) if len(values) > 1 else None
  accuracy = plus_minus(statistics.fmean(values), deviation)
  return accuracy + f' ({len(values)} of {asked})' * (len(values) < asked)


def _printed(accuracy: float, deviation: float | None) -> str:
  return plus_minus(
    accuracy / 100, None if deviation is None else deviation / 100
  )


def _notes(plan: Plan, names: Sequence[str], columns: str) -> tuple[str, ...]:
  """Returns what a table's figures are of; nothing where there are none.

  Args:
    plan: with its records.
    names: of the cells.
    columns: in words, what those of the table hold beside accuracies.
  """
  measured = [plan.cells[name] for name in names if name in plan.cells]
  if not measured:
    return ()
  several = len({*map(asked_of, measured)}) > 1
  otherwise = ' where a row says nothing else' * several
  return (
    f'In %, mean ± deviation over {_usual(measured)}{otherwise}, after the last'
    f' epoch of the last step. {columns} {"; ".join(_devices(measured))}.',
  )


def baselines_table(plan: Plan, names: Sequence[str]) -> Table:
  """Returns a row for each cell, size and network, its baselines beside it."""
  methods = ('random', 'herding', 'whole')
  rows, marks = [], marks_of(plan, names)
  for name in names:
    planned, settings = plan.module.CELLS[name], plan.settings_of(name)
    cell = plan.cells.get(name)
    took = shown(_seconds_of(cell), format_seconds)
    sizes = settings['condense']['images_per_class']
    for size in sizes if isinstance(sizes, list | tuple) else (sizes,):
      for network in _networks(settings):
        found = [
          _shown_accuracy(settings, cell, method, network, size)
          for method in (settings['method'], *methods)
        ]
        rows.append(
          (
            planned.says + marks.get(name, ''),
            _data_of(planned, cell),
            str(size),
            network_name(label(NetworkConfig(**settings['network']))),
            network_name(network),
            *found,
            took,
          )
        )
  return Table(
    'Accuracy on the test set, in %',
    (
      'Run',
      'Data',
      'Images per class',
      'Condensed with',
      'Evaluated on',
      'Synthetic',
      *(method_name(method).capitalize() for method in methods),
      'Took',
    ),
    rows,
    _notes(plan, names, _whole_and_took(plan, names)),
  )


def _whole_and_took(plan: Plan, names: Sequence[str]) -> str:
  judged = [plan.settings_of(name)['evaluate'] for name in names]
  networks = sorted({each['whole_set_networks'] for each in judged})
  said = ' or '.join(plural(each, 'network') for each in networks)
  return (
    f'Whole set: {said}. Took: the run of all its rows, with compiling, its'
    ' pool and selecting.'
  )


def _seconds_of(cell: Mapping[str, Any] | None) -> float | None:
  """Returns what all of a run took."""
  if cell is None:
    return None
  kinds = 'evaluate_seconds', 'compile_seconds', 'pool_seconds'
  spent = [cell[kind] for kind in kinds]
  spent += cell['condense_seconds'].values()
  # Records of before it was kept have none.
  for by_method in cell.get('selecting_seconds', {}).values():
    spent += by_method.values()
  return sum(each for each in spent if each is not None)


def _shown_accuracy(
  settings: Mapping[str, Any],
  cell: Mapping[str, Any] | None,
  method: str,
  network: str,
  size: int,
) -> str:
  asked = split_names(settings['evaluate']['baselines'])
  if method not in (settings['method'], *asked):
    return _NONE
  found = next(
    (
      each
      for each in (cell['evaluations'] if cell else ())
      if (each['method'], each['network']) == (method, network)
      and each['images_per_class'] in (size, None)
    ),
    None,
  )
  return accuracy_of(cell, found, method)


def commands_table(
  plan: Plan, prefix: str, figures: Mapping[str, Any]
) -> Table:
  """Returns a row for each command of a plan.

  Args:
    plan: with its records.
    prefix: of the commands' names.
    figures: by heading, what makes a cell of the figures of a command.
  """
  wanted = {
    name: planned
    for name, planned in plan.module.COMMANDS.items()
    if name.startswith(prefix)
  }
  devices = _devices(
    plan.commands[name] for name in wanted if name in plan.commands
  )
  rows = []
  for name, planned in wanted.items():
    measured = plan.commands.get(name)
    if measured is None:
      cells = [NOT_MEASURED] * len(figures)
    else:
      cells = [make(measured['figures']) for make in figures.values()]
    rows.append((planned.says + _on_device(measured, len(devices) > 1), *cells))
  notes = (f'{"; ".join(devices)}.',) if devices else ()
  return Table('What was measured', ('What', *figures), rows, notes)
