"""Accuracy on held-out images over seconds of condensing, from records."""

from collections.abc import Mapping
import statistics
from typing import Any

from benchmarks.planned_tables import NOT_MEASURED, Plan
from dm_jax.report.table import Table
from dm_jax.words import format_seconds, percent

Curve = dict[float, float]  # Accuracy, in [0, 1], by seconds.

_WITH_POOL = '{}, with its pool'


def curves_of(plan: Plan) -> dict[str, Curve]:
  """Returns the curves of a plan's `TIMED` cells that have been measured.

  One that needs a pool is there twice: alone, and with the pool's seconds.
  """
  curves: dict[str, Curve] = {}
  for name in plan.module.TIMED:
    cell = plan.cells.get(name)
    curve = _curve(cell) if cell else {}
    if not cell or not curve:
      continue
    says = plan.module.CELLS[name].says
    curves[says] = curve
    if cell['pool_seconds'] is not None:
      curves[_WITH_POOL.format(says)] = {
        cell['pool_seconds'] + seconds: accuracy
        for seconds, accuracy in curve.items()
      }
  return curves


def _curve(cell: Mapping[str, Any]) -> Curve:
  """Returns a cell's means over its sets, by the mean seconds of each step."""
  steps: dict[int, list[tuple[float, float]]] = {}
  for row in cell['validation']:
    if row['seconds'] is not None:
      steps.setdefault(row['step'], []).append((row['seconds'], row['mean']))
  return {
    statistics.fmean(seconds for seconds, _ in points): statistics.fmean(
      accuracy for _, accuracy in points
    )
    for _, points in sorted(steps.items())
  }


def curves_table(title: str, plan: Plan) -> Table:
  """Returns a row for each point of each curve, and one where none is.

  Args:
    title: of the table.
    plan: with its records.
  """
  curves = curves_of(plan)
  rows = [
    (name, format_seconds(seconds) if seconds else '0 s', percent(accuracy))
    for name, curve in curves.items()
    for seconds, accuracy in curve.items()
  ]
  planned = [plan.module.CELLS[name].says for name in plan.module.TIMED]
  missing = [name for name in planned if name not in curves]
  rows += [(name, '–', NOT_MEASURED) for name in missing]
  return Table(title, ('Run', 'Seconds', 'Accuracy'), rows)
