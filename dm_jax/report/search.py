"""Tables of what sets were used for: continual learning, architecture search.

They are made of `results.json`; while a run goes on, parts may be missing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dm_jax.records.results import (
  METHOD_NAMES,
  method_name,
  network_name,
  percent,
  plural,
  plus_minus,
)
from dm_jax.report.table import Table
from dm_jax.types import Json
from dm_jax.words import format_bytes, format_seconds

_MISSING = '–'
_UNDEFINED = 'undefined'
# Rows below those of the steps.
_COSTS = ('Forgetting', 'Time per class', 'Bytes per class')
_FORGETTING = (
  'Forgetting (Chaudhry et al., ECCV 2018): for each earlier group of classes'
  ' the drop from its best earlier accuracy to the last one, averaged.'
)
_CORRELATIONS = (
  'Correlation: Spearman / Kendall, of the ranking by validation accuracy in'
  ' the search with the one by test accuracy after training on the whole set,'
  ' among all architectures and among the best of the search (how many);'
  ' undefined for fewer than two, or where all are equal.'
)
_PICKED_ROW, _TIME_ROW = 'Test accuracy of the picked, %', 'Time'
_TIMES = (
  'Time: to make the set and train every architecture on it; of the whole set,'
  ' to train every one on all images.'
)


def continual_table(results: Json) -> Table | None:
  """Returns how accurate each method is as classes arrive.

  Args:
    results: as in results.json.

  Returns:
    A column for each method, the run's own first, and a row for each step, then
    forgetting and costs; None where no method is complete yet.
  """
  found = results.get('continual') or {}
  methods = found.get('methods') or {}
  if not methods:
    return None
  names = method_order(methods, results.get('method'))
  counts = {name: _networks(found, name) for name in names}
  columns = [_continual_cells(methods[n], counts[n] == [1]) for n in names]
  # Steps in the order of their classes; what follows them stands last.
  seen = {n for name in names for n in methods[name]['classes']}
  rows = [*map(_classes, sorted(seen)), *_COSTS]
  return Table(
    f'{_data_name(results)}: accuracy on the classes seen, in %',
    ('After', *map(method_name, names)),
    _rows(rows, columns),
    (_over(counts.values()), _FORGETTING, _memory(found)),
  )


def search_table(results: Json) -> Table | None:
  """Returns how well each method ranks architectures.

  Args:
    results: as in results.json.

  Returns:
    A column for each method, the run's own first, and one for the whole set;
    a row for each group of architectures, then for what is picked and the
    time. Notes name what is picked. None where no ranking can be compared yet.
  """
  found = results.get('search') or {}
  agreement = found.get('agreement') or {}
  if not agreement:
    return None
  names = method_order(agreement, results.get('method'))
  groups = {group for name in names for group in _correlations(agreement[name])}
  # All architectures come before the best of them.
  ordered = sorted(groups, key=lambda group: (group[0] != 1, group))
  rows = [*(_group_name(*group) for group in ordered), _PICKED_ROW, _TIME_ROW]
  columns = [_search_cells(agreement[name]) for name in names]
  columns.append(_whole_cells(agreement[names[0]]))
  return Table(
    f'{_data_name(results)}: rankings of architectures',
    ('Ranked by', *map(method_name, [*names, 'whole'])),
    _rows(rows, columns),
    (_CORRELATIONS, *_picked(agreement, names), _TIMES + _compiling(found)),
  )


def method_order(methods: Iterable[str], own: str | None) -> list[str]:
  """Returns methods as tables and figures show them.

  Args:
    methods: in any order, as a file's is another than a running program's.
    own: the run's method, which comes first.
  """
  known = list(METHOD_NAMES)

  def place(method: str) -> tuple[bool, int, str]:
    rank = known.index(method) if method in known else len(known)
    return method != own, rank, method

  return sorted(methods, key=place)


def _continual_cells(method: Json, alone: bool) -> dict[str, str]:
  """Returns the cells of a method's column by the name of their row.

  Args:
    method: its entry of `methods`.
    alone: whether one network was trained: ± 0.0 would look like certainty.
  """

  def accuracy(mean: float, deviation: float | None) -> str:
    return plus_minus(mean, None if alone else deviation)

  steps = zip(method['classes'], method['mean'], method['std'], strict=True)
  cells = {_classes(n): accuracy(mean, std) for n, mean, std in steps}
  forgetting = _shown(
    method.get('forgetting_mean'),
    lambda mean: accuracy(mean, method.get('forgetting_std')),
  )
  seconds = _shown(method.get('seconds_per_class'), format_seconds)
  size = _shown(method.get('bytes_per_class'), format_bytes)
  return cells | dict(zip(_COSTS, (forgetting, seconds, size), strict=True))


def _networks(found: Json, method: str) -> list[int]:
  """Returns how many networks a method had in each order, in no order."""
  return [
    len(row['accuracies'])
    for row in found.get('rows') or ()
    if row['method'] == method and row['step'] == 0
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


def _memory(found: Json) -> str:
  store, budget = found.get('store'), found.get('budget_bytes')
  kept = (
    f'The memory keeps images as {store}' if store else 'The memory is kept'
  )
  if not budget:
    return f'{kept}, without a limit in bytes.'
  return f'{kept}, in {format_bytes(budget)} at most.'


def _correlations(agreement: Json) -> dict[tuple[float, int], str]:
  """Returns cells by the share of the architectures and their number."""
  return {
    (group['share'], group['networks']): _pair(
      group.get('spearman'), group.get('kendall')
    )
    for group in agreement.get('groups') or ()
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


def _search_cells(agreement: Json) -> dict[str, str]:
  """Returns the cells of a method's column by the name of their row."""
  groups = _correlations(agreement).items()
  return {_group_name(*group): text for group, text in groups} | {
    _PICKED_ROW: _shown(agreement.get('picked_accuracy'), percent),
    _TIME_ROW: _shown(agreement.get('seconds'), format_seconds),
  }


def _whole_cells(agreement: Json) -> dict[str, str]:
  """Returns the column of the whole set, which rankings are compared with."""
  return {
    _PICKED_ROW: _shown(agreement.get('best_accuracy'), percent),
    _TIME_ROW: _shown(agreement.get('real_seconds'), format_seconds),
  }


def _picked(agreement: Json, names: Sequence[str]) -> list[str]:
  """Returns a note for each method on what it picks, and one on the best."""
  picks = {
    f'Picked by {method_name(name)}': agreement[name].get('picked')
    for name in names
  }
  picks['Best on the whole set'] = agreement[names[0]].get('best')
  return [
    f'{what}: {network_name(label)}.'
    for what, label in picks.items()
    if label is not None
  ]


def _compiling(found: Json) -> str:
  seconds = found.get('compile_seconds')
  if not seconds:
    return ''
  took = format_seconds(seconds)
  return f' Not counted: compiling, which all sets share, {took} in all.'


def _rows(
  names: Iterable[str], columns: Sequence[Json]
) -> tuple[tuple[str, ...], ...]:
  """Returns rows of a table.

  Args:
    names: of the rows, which start with them.
    columns: for each, cells by the name of the row; others are dashes.
  """
  return tuple(
    (name, *(column.get(name, _MISSING) for column in columns))
    for name in names
  )


def _data_name(results: Json) -> str:
  return (results.get('data') or {}).get('name') or 'Images'


def _classes(count: int) -> str:
  return f'{count:,} {"class" if count == 1 else "classes"}'


def _shown(value: Any, show: Callable[[Any], str]) -> str:
  return _MISSING if value is None else show(value)
