"""Accuracy on held-out images over seconds of condensing, from records."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.planned_tables import NOT_MEASURED, Plan, marks_of, pool_seconds
from dm_jax.report.rungs import mean_curve
from dm_jax.report.table import Table
from dm_jax.words import format_seconds, percent

Curve = dict[float, float]  # Accuracy, in [0, 1], by seconds.

_WITH_POOL = '{}, with its pool'


def curves_of(plan: Plan) -> dict[str, Curve]:
  """Returns the curves of a plan's `TIMED` cells that have been measured.

  One that needs a pool is there twice: alone, and with the pool's seconds.
  """
  curves: dict[str, Curve] = {}
  marks = marks_of(plan, plan.module.TIMED)
  for name in plan.module.TIMED:
    curve = _curve(plan, name)
    if not curve:
      continue
    says = plan.module.CELLS[name].says + marks.get(name, '')
    pool = pool_seconds(plan, name)
    curves[says] = curve
    if pool is not None:
      curves[_WITH_POOL.format(says)] = {
        pool + seconds: accuracy for seconds, accuracy in curve.items()
      }
  return curves


def _curve(plan: Plan, name: str) -> Curve:
  """Returns the curve of a cell, without its pool; empty if not measured."""
  cell = plan.cells.get(name)
  return mean_curve(_points(cell)) if cell else {}


def _points(cell: Mapping[str, Any]) -> Iterator[tuple[int, float, float]]:
  """Yields step, seconds and accuracy of what is known of a cell's sets."""
  for row in cell['validation']:
    if row['seconds'] is not None:
      yield row['step'], row['seconds'], row['mean']


def curves_table(plan: Plan) -> Table:
  """Returns a row for each point of each curve, and one where none is."""
  curves = curves_of(plan)
  rows = [
    (name, format_seconds(seconds) if seconds else '0 s', percent(accuracy))
    for name, curve in curves.items()
    for seconds, accuracy in curve.items()
  ]
  rows += [
    (plan.module.CELLS[name].says, '–', NOT_MEASURED)
    for name in plan.module.TIMED
    if not _curve(plan, name)
  ]
  return Table('Accuracy over seconds', ('Run', 'Seconds', 'Accuracy'), rows)
