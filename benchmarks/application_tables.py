"""What sets are used for, from records: several runs side by side.

Each run compares its own set with others of its storage. Here the runs of one
application, which differ in how their sets are made, become one, whose methods
have names that tell them apart: then the library's tables and figures show it.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING, Any

from benchmarks.planned_tables import NOT_MEASURED, Plan
from dm_jax.records.applications import Continual, Search
from dm_jax.records.json_values import decode
from dm_jax.records.results import Results
from dm_jax.report.continual import continual_figure, continual_table
from dm_jax.report.search import search_figure, search_table
from dm_jax.report.table import Table

if TYPE_CHECKING:
  from matplotlib.figure import Figure

Cells = Iterable[Mapping[str, Any]]
Rename = Callable[[str], str]
# Where a run's record holds what was found with an application.
_KINDS = 'continual', 'search'


def is_application(cell: Mapping[str, Any]) -> bool:
  """Says whether a cell of a record is of an application."""
  return any(kind in cell for kind in _KINDS)


def application_tables(cells: Cells) -> list[Table]:
  """Returns a table for each config of the cells that are applications."""
  applied = [cell for cell in cells if is_application(cell)]
  by_config = itertools.groupby(applied, lambda cell: cell['config'])
  tables = [application_table([*group]) for _, group in by_config]
  return [table for table in tables if table is not None]


def application_table(cells: Cells) -> Table | None:
  """Returns the table of one application, the runs' methods side by side.

  Args:
    cells: of records, of one config; None is returned if none is complete.
  """
  results = merged(cells)
  return continual_table(results) or search_table(results)


def application_figure(cells: Cells) -> 'Figure | None':
  """Returns the figure beside `application_table`."""
  results = merged(cells)
  return continual_figure(results) or search_figure(results)


def planned_table(plan: Plan, names: Iterable[str]) -> Table:
  """Returns the table of a plan's cells, or one that says what is missing.

  Args:
    plan: with its records.
    names: of the cells.
  """
  says = {name: plan.module.CELLS[name].says for name in names}
  found = [plan.cells[name] for name in says if name in plan.cells]
  table = application_table(found)
  if table is None:
    return Table('', [*says.values()], [[NOT_MEASURED] * len(says)])
  missing = [each for name, each in says.items() if name not in plan.cells]
  devices = dict.fromkeys(cell['device'] for cell in found)
  return dataclasses.replace(
    table,
    notes=(
      *table.notes,
      f'{"; ".join(devices)}.',
      *(f'{each.capitalize()}: {NOT_MEASURED}.' for each in missing),
    ),
  )


def merged(cells: Cells) -> Results:
  """Returns the results of several runs as those of one.

  Args:
    cells: of records, of one config; the first one's method is the own one,
      and its whole set that of all.
  """
  own: str | None = None
  streams: list[Continual] = []
  searches: list[Search] = []
  for cell in cells:
    rename = functools.partial(_told_apart, cell)
    own = own or rename(cell['method'])
    if 'continual' in cell:
      stream = decode(Continual, cell['continual'])
      streams.append(_rename_stream(stream, rename))
    if 'search' in cell:
      search = decode(Search, cell['search'])
      searches.append(_rename_search(search, rename))
  return Results(
    method=own,
    continual=_join_streams(streams) if streams else None,
    search=_join_searches(searches) if searches else None,
  )


def _told_apart(cell: Mapping[str, Any], method: str) -> str:
  """Returns a method's name, or one that says how its images are stored."""
  tiled = cell['settings']['condense'].get('storage', 'plain') != 'plain'
  if not tiled:
    return method
  return {
    cell['method']: cell['says'],
    'random': 'random real, stored alike',
    'early_stopping': 'early stopping, as long as these',
  }.get(method, method)


def _rename_stream(found: Continual, rename: Rename) -> Continual:
  return dataclasses.replace(
    found,
    rows=tuple(
      dataclasses.replace(row, method=rename(row.method)) for row in found.rows
    ),
    methods={rename(name): each for name, each in found.methods.items()},
  )


def _join_streams(found: list[Continual]) -> Continual:
  return dataclasses.replace(
    found[0],
    rows=tuple(itertools.chain.from_iterable(each.rows for each in found)),
    methods={name: s for each in found for name, s in each.methods.items()},
  )


def _rename_search(found: Search, rename: Rename) -> Search:
  return dataclasses.replace(
    found,
    sets={rename(name): each for name, each in found.sets.items()},
    agreement={rename(name): each for name, each in found.agreement.items()},
  )


def _join_searches(found: list[Search]) -> Search:
  return dataclasses.replace(
    found[0],
    sets={name: s for each in found for name, s in each.sets.items()},
    agreement={n: a for each in found for n, a in each.agreement.items()},
    compile_seconds=sum(each.compile_seconds for each in found),
  )
