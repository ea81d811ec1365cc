"""Accuracy on held-out images over seconds of condensing, from records."""

from collections.abc import Mapping, Sequence
import itertools
import shlex
import statistics
from typing import Any

from benchmarks.planned_tables import NOT_MEASURED, Plan
from dm_jax.report.table import Table
from dm_jax.words import format_seconds, percent

Curve = dict[float, float]  # Accuracy, in [0, 1], by seconds.

_NAMES = {'dm': 'DM', 'recipe': 'recipe trajectory_short'}
# Of the plan cpu, side by side on the same images.
CELLS = ('cifar10_10_dm_jax_1000', 'cifar10_10_torch_1000')
BESIDE = ('cifar10_10_dm_5000', 'cifar10_10_recipe_short')


def curves_of_runs(record: Mapping[str, Any]) -> dict[str, Curve]:
  """Returns the curves of a record of single runs, by name.

  The one that needs a pool is there twice: alone, and with the pool's seconds.
  """
  curves: dict[str, Curve] = {}
  for run in record.get('runs', ()):
    name = _name(run['command'])
    rows = run['validation']
    curves[name] = {row['seconds']: row['mean'] for row in rows}
    if 'embedder.dir' in run['command'] and name != _NAMES['dm']:
      pool = record['pool_seconds']
      curves[f'{name}, with its pool'] = {
        pool + row['seconds']: row['mean'] for row in rows
      }
  return curves


def _name(command: str) -> str:
  """Returns which run a command started, by its workdir."""
  flag = '--workdir='
  found = [p for p in shlex.split(command) if p.startswith(flag)]
  workdir = found[0].removeprefix(flag) if found else command
  return _NAMES.get(workdir, workdir)


def curves_of_cells(plan: Plan) -> dict[str, Curve]:
  """Returns the curves of those cells that have been measured."""
  curves: dict[str, Curve] = {}
  for name in (*CELLS, *BESIDE):
    cell = plan.cells.get(name)
    steps: dict[int, list[tuple[float, float]]] = {}
    for row in cell['validation'] if cell else ():
      if row['seconds'] is not None:
        steps.setdefault(row['step'], []).append((row['seconds'], row['mean']))
    if steps:
      curves[plan.module.CELLS[name].says] = {
        statistics.fmean(s for s, _ in points): statistics.fmean(
          mean for _, mean in points
        )
        for _, points in sorted(steps.items())
      }
  return curves


def curves_table(
  title: str, curves: Mapping[str, Curve], planned: Sequence[str] = ()
) -> Table:
  """Returns a row for each point of each curve.

  Args:
    title: of the table.
    curves: by name.
    planned: names that get a row in any case.
  """
  rows = [
    (name, format_seconds(seconds) if seconds else '0 s', percent(accuracy))
    for name, curve in curves.items()
    for seconds, accuracy in curve.items()
  ]
  missing = [name for name in planned if name not in curves]
  rows += [(name, '–', NOT_MEASURED) for name in missing]
  return Table(title, ('Run', 'Seconds', 'Accuracy'), rows)


def says(plan: Plan) -> list[str]:
  """Returns the names of the curves that the plan has."""
  cells = itertools.chain(CELLS, BESIDE)
  return [plan.module.CELLS[name].says for name in cells]
