"""Continual learning in a report: a table, and accuracies as curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
from typing import TYPE_CHECKING

from dm_jax.records.applications import Continual, StreamSummary
from dm_jax.records.results import Results
from dm_jax.report.figures import (
  COLOURS,
  HEIGHT,
  MARKERS,
  WIDTH,
  legend_above,
  settle,
  style,
  within_percent,
)
from dm_jax.report.table import Table, data_name, shown, to_rows
from dm_jax.words import (
  format_bytes,
  format_seconds,
  method_name,
  method_order,
  plural,
  plus_minus,
)

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure


# Tick labels; of more numbers of classes, some are left out.
MAX_TICKS = 10
# Rows below those of the steps.
_COSTS = ('Forgetting', 'Time per class', 'Bytes per class')
_FORGETTING = (
  'Forgetting (Chaudhry et al., ECCV 2018): for each earlier group of classes'
  ' the drop from its best earlier accuracy to the last one, averaged; its'
  ' deviation is over the orders.'
)


def continual_table(results: Results) -> Table | None:
  """Returns how accurate each method is as classes arrive.

  Args:
    results: of a run.

  Returns:
    A column for each method, the run's own first, and a row for each step, then
    forgetting and costs; None where no method is complete yet.
  """
  found = results.continual or Continual()
  methods = found.methods
  if not methods:
    return None
  names = method_order(methods, results.method)
  counts = {name: _networks(found, name) for name in names}
  columns = [_continual_cells(methods[n], counts[n] == [1]) for n in names]
  # Steps in the order of their classes; what follows them stands last.
  seen = {n for name in names for n in methods[name].classes}
  rows = [*map(_classes, sorted(seen)), *_COSTS]
  return Table(
    f'{data_name(results)}: accuracy on the classes seen, in %',
    ('After', *map(method_name, names)),
    to_rows(rows, columns),
    (_over(counts.values()), _FORGETTING, _memory(found)),
  )


def continual_figure(results: Results) -> Figure | None:
  """Draws accuracies as classes arrive, the run's own method first.

  Args:
    results: of a run.

  Returns:
    As from `accuracy_curves`; None where no method is complete yet.
  """
  curves = read_curves(results)
  return accuracy_curves(curves) if curves else None


@dataclasses.dataclass(frozen=True)
class Curve:
  """How accurate one method is as classes arrive.

  Attributes:
    name: of the method, as the legend has it.
    classes: seen at each step, ascending; at least one.
    mean: accuracy at each step, in [0, 1].
    deviation: of it, one for each step; None, or None at a step, draws none.
  """

  name: str
  classes: Sequence[int]
  mean: Sequence[float]
  deviation: Sequence[float | None] | None = None


def read_curves(results: Results) -> list[Curve]:
  """Returns accuracies as classes arrive, the run's own method first.

  Args:
    results: of a run.
  """
  methods = results.continual.methods if results.continual else {}
  return [
    Curve(method_name(name), found.classes, found.mean, found.std)
    for name in method_order(methods, results.method)
    for found in [methods[name]]
  ]


def accuracy_curves(curves: Sequence[Curve]) -> Figure:
  """Draws accuracy in % over classes seen, a line and a band for each method.

  Args:
    curves: at least one; colours and markers follow their order.

  Returns:
    One axes, a legend above. Bands reach one standard deviation up and down.

  Raises:
    ValueError: if a curve has not as many means, or deviations, as classes.
  """
  from matplotlib.figure import Figure

  with style():
    figure = Figure(figsize=(WIDTH, HEIGHT), layout='constrained')
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
      _draw_curve(axes, curve, number)
    seen = sorted({count for curve in curves for count in curve.classes})
    # Every so many of them, the last one always.
    every = -(-len(seen) // MAX_TICKS)
    axes.set_xticks(seen[::-1][::every])
    within_percent(axes)
    axes.set_xlabel('Classes seen')
    axes.set_ylabel('Test accuracy on the classes seen, %')
    legend_above(figure)
    settle(figure)
  return figure


def _continual_cells(method: StreamSummary, alone: bool) -> dict[str, str]:
  """Returns the cells of a method's column by the name of their row.

  Args:
    method: what it reached.
    alone: whether one network was trained: ± 0.0 would look like certainty.
  """

  def accuracy(mean: float, deviation: float | None) -> str:
    return plus_minus(mean, None if alone else deviation)

  steps = zip(method.classes, method.mean, method.std, strict=True)
  cells = {_classes(n): accuracy(mean, std) for n, mean, std in steps}
  forgetting = shown(
    method.forgetting_mean,
    lambda mean: accuracy(mean, method.forgetting_std),
  )
  seconds = shown(method.seconds_per_class, format_seconds)
  size = shown(method.bytes_per_class, format_bytes)
  return cells | dict(zip(_COSTS, (forgetting, seconds, size), strict=True))


def _networks(found: Continual, method: str) -> list[int]:
  """Returns how many networks a method had in each order, in no order."""
  return [
    len(row.accuracies)
    for row in found.rows
    if row.method == method and row.step == 0
  ]


def _over(counts: Iterable[Sequence[int]]) -> str:
  """Says what the cells are, and of how many orders and networks.

  Args:
    counts: for each method, networks in each order; empty if not known.
  """
  different = {tuple(each) for each in counts}
  each = different.pop() if len(different) == 1 else ()
  if len(set(each)) != 1:
    return 'Mean ± deviation over all orders of the classes and all networks.'
  over = f'{plural(len(each), "order")} of the classes × '
  over += plural(each[0], 'network')
  return f'{over}.' if each == (1,) else f'Mean ± deviation over {over}.'


def _memory(found: Continual) -> str:
  store, budget = found.store, found.budget_bytes
  kept = (
    f'The memory keeps images as {store}' if store else 'The memory is kept'
  )
  if not budget:
    return f'{kept}, without a limit in bytes.'
  return f'{kept}, in {format_bytes(budget)} at most.'


def _classes(count: int) -> str:
  return f'{count:,} {"class" if count == 1 else "classes"}'


def _draw_curve(axes: Axes, curve: Curve, number: int) -> None:
  colour = COLOURS[number % len(COLOURS)]
  means = [100 * mean for mean in curve.mean]
  axes.plot(
    curve.classes,
    means,
    color=colour,
    marker=MARKERS[number % len(MARKERS)],
    markersize=6,
    linewidth=1.8,
    label=curve.name,
    # Markers at 100 % are not cut in half.
    clip_on=False,
    zorder=3,
  )
  if curve.deviation is None:
    return
  spread = [100 * (deviation or 0) for deviation in curve.deviation]
  pairs = [*zip(means, spread, strict=True)]
  axes.fill_between(
    curve.classes,
    [mean - deviation for mean, deviation in pairs],
    [mean + deviation for mean, deviation in pairs],
    color=colour,
    alpha=0.18,
    linewidth=0,
  )
