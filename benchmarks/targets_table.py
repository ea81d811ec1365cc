"""What it saves to embed the real images once, from the record of settings.py.

The arrangements are the recipe's, with so many draws of targets that are made
once, or with real images drawn in every step.
"""

from collections.abc import Mapping
import statistics
from typing import Any

from benchmarks.planned_tables import NOT_MEASURED
from dm_jax.report.table import Table
from dm_jax.words import format_seconds, plus_minus

RECORD = 'targets_cifar10_width_32'
# By arrangement: in words, and the sizes that it is measured at.
KINDS = {
  'recipe_draws_1': ('made once, 1 draw', (10,)),
  'recipe_draws_4': ('made once, 4 draws', (1, 10, 50)),
  'recipe_draws_16': ('made once, 16 draws', (10,)),
  'recipe_fresh': ('real images in each step', (1, 10, 50)),
}
_CACHED, _FRESH = 'recipe_draws_4', 'recipe_fresh'
_SIZES = (1, 10, 50)
_FIRST = 10  # Images per class of the set that is made first.

# A measured arrangement, by size and name.
Figures = dict[tuple[int, str], Mapping[str, Any]]


def targets_table(record: Mapping[str, Any] | None) -> Table:
  """Returns a row for each size and kind of targets.

  Args:
    record: of `settings.py`; None where there is none yet.
  """
  figures = {
    (int(size), name): figure
    for size, by_name in (record or {'figures': {}})['figures'].items()
    for name, figure in by_name.items()
  }
  planned = [
    (size, says, name)
    for size in _SIZES
    for name, (says, sizes) in KINDS.items()
    if size in sizes
  ]
  return Table(
    'Targets made once',
    ('Images per class', 'Targets', 'Accuracy', 'Targets took', 'A set took'),
    [
      (str(size), says, *_row(figures.get((size, name))))
      for size, says, name in planned
    ],
    _notes(record, figures) if record else (),
  )


def _row(figure: Mapping[str, Any] | None) -> tuple[str, str, str]:
  if figure is None:
    return NOT_MEASURED, '–', '–'
  *_, last = figure['accuracies'].values()
  made = figure['seconds_ahead']['targets']
  return (
    plus_minus(statistics.mean(last), statistics.pstdev(last)),
    format_seconds(made) if figure['embedder']['targets'] == 'cached' else '–',
    format_seconds(_set_seconds(figure)),
  )


def _set_seconds(figure: Mapping[str, Any]) -> float:
  return max(figure['seconds'].values())


def _notes(record: Mapping[str, Any], figures: Figures) -> list[str]:
  networks = len([*next(iter(figures.values()))['accuracies'].values()][-1])
  notes = [
    f'In %, mean ± deviation over {networks} networks, on held-out images.'
    f' Targets took: those of {_FIRST} per class are made, the others read. A'
    f' set took: with compiling. {record["device"]}, jax'
    f' {record["versions"]["jax"]}.'
  ]
  needed = [(size, kind) for kind in (_CACHED, _FRESH) for size in _SIZES]
  if all(key in figures for key in needed):
    notes.append(_altogether(figures))
  return notes


def _altogether(figures: Figures) -> str:
  """Says what the first set takes and what five more, of each kind."""

  def seconds(kind: str) -> tuple[float, float]:
    of_size = {n: _set_seconds(figures[n, kind]) for n in _SIZES}
    first = of_size[_FIRST]
    return first, 2 * sum(of_size.values()) - first

  (first, others), (fresh, fresh_others) = seconds(_CACHED), seconds(_FRESH)
  first += figures[_FIRST, _CACHED]['seconds_ahead']['targets']
  return (
    f'The first set, of {_FIRST} per class, takes {format_seconds(first)} with'
    f' targets that are made once, {format_seconds(fresh)} without. Five more'
    ' (the other sizes, and all three of a second set, taken to last as long)'
    f' take {format_seconds(others)} and {format_seconds(fresh_others)}.'
  )
