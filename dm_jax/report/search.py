"""Architecture search in a report: how rankings agree, and what is picked.

While a run goes on, parts of its results may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
from typing import TYPE_CHECKING

from dm_jax.records.applications import Search, SearchOutcome
from dm_jax.records.results import Results
from dm_jax.report.figures import COLOURS, WIDTH, legend_above, settle, style
from dm_jax.report.table import Table, data_name, shown, to_rows
from dm_jax.words import (
  format_seconds,
  method_name,
  method_order,
  network_name,
  percent,
)

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure


PICKED = '#d55e00'
PANELS_ACROSS = 3
MINUS = '\N{MINUS SIGN}'

# Dots of a panel beyond which they are drawn smaller.
MANY_DOTS = 100
_UNDEFINED = 'undefined'
_CORRELATIONS = (
  'Correlation: Spearman / Kendall, of the ranking by validation accuracy in'
  ' the search with the one by test accuracy after training on the whole set,'
  ' among all architectures and among the best of the search (how many);'
  ' undefined for fewer than two, or where all are equal.'
)
_PICKED_ROW, _TIME_ROW = 'Test accuracy of the picked, %', 'Time'
_TIMES = (
  'Time: to make the set, with the pool that it needs, and train every'
  ' architecture on it; of the whole set, to train every one on all images.'
)


def search_table(results: Results) -> Table | None:
  """Returns how well each method ranks architectures.

  Args:
    results: of a run.

  Returns:
    A column for each method, the run's own first, and one for the whole set;
    a row for each group of architectures, then for what is picked and the
    time. Notes name what is picked. None where no ranking can be compared yet.
  """
  found = results.search or Search()
  agreement = found.agreement
  if not agreement:
    return None
  names = method_order(agreement, results.method)
  groups = {group for name in names for group in _correlations(agreement[name])}
  # All architectures come before the best of them.
  ordered = sorted(groups, key=lambda group: (group[0] != 1, group))
  rows = [*(_group_name(*group) for group in ordered), _PICKED_ROW, _TIME_ROW]
  columns = [_search_cells(agreement[name]) for name in names]
  columns.append(_whole_cells(agreement[names[0]]))
  return Table(
    f'{data_name(results)}: rankings of architectures',
    ('Ranked by', *map(method_name, [*names, 'whole'])),
    to_rows(rows, columns),
    (_CORRELATIONS, *_picked(agreement, names), _TIMES + _compiling(found)),
  )


def search_figure(results: Results) -> Figure | None:
  """Draws how each set ranks architectures, the run's own method first.

  Args:
    results: of a run.

  Returns:
    As from `ranking_scatter`; None where no ranking can be compared yet.
  """
  rankings = read_rankings(results)
  return ranking_scatter(rankings) if rankings else None


@dataclasses.dataclass(frozen=True)
class Ranking:
  """How architectures do in the search, and when trained on everything.

  Attributes:
    name: of the method that searched.
    search: validation accuracy of each architecture in the search, in [0, 1].
    real: for each, test accuracy after training on the whole set, in [0, 1].
    picked: index of the one that the search picks; None marks none.
    spearman: correlation of both rankings, in [-1, 1]; None is undefined.
  """

  name: str
  search: Sequence[float]
  real: Sequence[float]
  picked: int | None = None
  spearman: float | None = None


def read_rankings(results: Results) -> list[Ranking]:
  """Returns what each method that can be compared ranks, the run's own first.

  Args:
    results: of a run. Of several networks of an architecture the
      mean accuracy counts.
  """
  found = results.search or Search()
  real = found.real.accuracies
  rankings = []
  for name in method_order(found.agreement, results.method):
    search = found.trainings(name).accuracies
    labels = [label for label in search if search[label] and real.get(label)]
    picked = found.agreement[name].picked
    if labels:
      rankings.append(
        Ranking(
          method_name(name),
          _means(search, labels),
          _means(real, labels),
          labels.index(picked) if picked in labels else None,
          _spearman(found.agreement[name]),
        )
      )
  return rankings


def ranking_scatter(rankings: Sequence[Ranking]) -> Figure:
  """Draws accuracy in the search against accuracy when trained on everything.

  Args:
    rankings: at least one, with a panel each, in this order.

  Returns:
    As many axes, with a dot for each architecture; their vertical axes are
    equal. Where one is picked, it is marked, and a legend says so.

  Raises:
    ValueError: if a ranking has not as many real accuracies as others.
  """
  from matplotlib.figure import Figure

  across = _panels_across(len(rankings))
  down = -(-len(rankings) // across)
  width = WIDTH if across > 1 else 0.6 * WIDTH
  with style():
    # Panels about as high as wide, with what stands above and below them.
    height = 0.9 + down * min(0.95 * width / across, 3.2)
    figure = Figure(figsize=(width, height), layout='constrained')
    first: Axes | None = None
    for number, ranking in enumerate(rankings):
      axes = figure.add_subplot(down, across, number + 1, sharey=first)
      _draw_ranking(axes, ranking)
      if first is None:
        first = axes
    figure.supxlabel('Validation accuracy in the search, %', fontsize=10)
    figure.supylabel('Test accuracy, whole set, %', fontsize=10)
    legend_above(figure)
    settle(figure)
  return figure


def _correlations(agreement: SearchOutcome) -> dict[tuple[float, int], str]:
  """Returns cells by the share of the architectures and their number."""
  return {
    (group.share, group.networks): _pair(group.spearman, group.kendall)
    for group in agreement.groups
  }


def _pair(spearman: float | None, kendall: float | None) -> str:
  if spearman is None and kendall is None:
    return _UNDEFINED
  return ' / '.join(
    _UNDEFINED if value is None else f'{value:z.2f}'
    for value in (spearman, kendall)
  )


def _group_name(share: float, networks: int) -> str:
  if share == 1:
    return f'Correlation, all {networks:,}'
  return f'Correlation, best {100 * share:g} % ({networks:,})'


def _search_cells(agreement: SearchOutcome) -> dict[str, str]:
  """Returns the cells of a method's column by the name of their row."""
  groups = _correlations(agreement).items()
  return {_group_name(*group): text for group, text in groups} | {
    _PICKED_ROW: shown(agreement.picked_accuracy, percent),
    _TIME_ROW: shown(agreement.seconds, format_seconds),
  }


def _whole_cells(agreement: SearchOutcome) -> dict[str, str]:
  """Returns the column of the whole set, which rankings are compared with."""
  return {
    _PICKED_ROW: shown(agreement.best_accuracy, percent),
    _TIME_ROW: shown(agreement.real_seconds, format_seconds),
  }


def _picked(
  agreement: Mapping[str, SearchOutcome], names: Sequence[str]
) -> list[str]:
  """Returns a note for each method on what it picks, and one on the best."""
  picks = {
    f'Picked by {method_name(name)}': agreement[name].picked for name in names
  }
  picks['Best on the whole set'] = agreement[names[0]].best
  return [
    f'{what}: {network_name(label)}.'
    for what, label in picks.items()
    if label is not None
  ]


def _compiling(found: Search) -> str:
  if not found.compile_seconds:
    return ''
  took = format_seconds(found.compile_seconds)
  return (
    f' Not counted: compiling the trainings, which all share, {took} in all.'
  )


def _means(
  accuracies: Mapping[str, Sequence[float]], labels: Sequence[str]
) -> list[float]:
  return [sum(accuracies[label]) / len(accuracies[label]) for label in labels]


def _spearman(agreement: SearchOutcome) -> float | None:
  """Returns the correlation among all architectures; None is undefined."""
  return next(
    (group.spearman for group in agreement.groups if group.share == 1),
    None,
  )


def _draw_ranking(axes: Axes, ranking: Ranking) -> None:
  search = [100 * accuracy for accuracy in ranking.search]
  real = [100 * accuracy for accuracy in ranking.real]
  axes.scatter(
    search,
    real,
    s=12 if len(search) > MANY_DOTS else 26,
    color=COLOURS[0],
    alpha=0.65,
    linewidths=0,
    label='an architecture',
  )
  if ranking.picked is not None:
    axes.scatter(
      search[ranking.picked],
      real[ranking.picked],
      s=110,
      marker='D',
      facecolors='none',
      edgecolors=PICKED,
      linewidths=1.8,
      label='picked by the search',
      clip_on=False,
    )
  found = ranking.spearman
  shown = 'undefined' if found is None else f'{found:z.2f}'.replace('-', MINUS)
  axes.set_title(f'{ranking.name}\nSpearman {shown}')


def _panels_across(count: int) -> int:
  """Returns 2 for four panels, which would leave one alone otherwise."""
  return 2 if count == 4 else min(count, PANELS_ACROSS)
