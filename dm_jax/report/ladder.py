"""A recipe's rungs side by side: what each adds, reaches and costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
import importlib.resources
import itertools
import json
from pathlib import Path
import string
from typing import TYPE_CHECKING

from dm_jax.errors import InputError
from dm_jax.files import write_atomically
from dm_jax.records.evaluations import Case
from dm_jax.records.results import Results
from dm_jax.report.figures import over_seconds, save_figure
from dm_jax.report.html import figure_section, with_copies
from dm_jax.report.rungs import Rung, pool_seconds, to_record
from dm_jax.report.sizes import NOTE, shown_bytes
from dm_jax.report.table import Table, data_name, shown
from dm_jax.words import (
  format_seconds,
  method_name,
  network_name,
  network_under,
)

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_HELD_OUT = (
  'Accuracy on held-out training images, under the first protocol, of networks'
  ' trained on the images as they are after so many seconds of condensing; mean'
  ' over all sets. Compiling, the pool and the trainings are not counted. The'
  ' test set was not used.'
)


def ladder_table(rungs: Sequence[Rung]) -> Table:
  """Returns a row for each rung, below those of the first one's baselines.

  Args:
    rungs: at least one, in order.

  Raises:
    InputError: they are of several data sets or sizes.
  """
  results = rungs[0].results
  _check_alike(rungs)
  columns = [*itertools.product(results.pool, results.protocols)]
  several = len(results.protocols) > 1
  counts = [e.count for rung in rungs for e in rung.results.evaluations]
  usual = max(counts, key=counts.count, default='')
  rows = [
    (
      name,
      adds,
      shown(rung.epochs if method != 'whole' else None, '{:,}'.format),
      *(_cell(rung.results, method, column, usual) for column in columns),
      shown_bytes(rung.results, method, results.images_per_class),
      shown(rung.condense_seconds, format_seconds) if own else '–',
    )
    for name, adds, rung, method in _lines(rungs)
    for own in [method == rung.results.method]
  ]
  return Table(
    f'{data_name(results)}, {results.images_per_class} images per class:'
    ' accuracy on the test set, rung by rung',
    (
      'Rung',
      'Adds',
      'Epochs',
      *(
        network_under(*column) if several else network_name(column[0])
        for column in columns
      ),
      'Bytes',
      'Condensing',
    ),
    rows,
    (*_notes(rungs, usual), NOTE),
  )


def ladder_figure(rungs: Sequence[Rung]) -> Figure | None:
  """Draws accuracies on held-out images over seconds of condensing.

  Args:
    rungs: of which those with any are drawn, a line each.

  Returns:
    One axes, in %, with a legend above; None where there is nothing to draw.
  """
  curves = {rung.name.replace('_', ' '): rung.curve for rung in rungs}
  drawn = {name: curve for name, curve in curves.items() if curve}
  return over_seconds(drawn) if drawn else None


def write(rungs: Sequence[Rung], folder: Path) -> tuple[Table, list[Path]]:
  """Writes ladder.json, ladder.md, the figure, and a page of them.

  Args:
    rungs: in order.
    folder: where they are written.

  Returns:
    The table, and the files' paths.

  Raises:
    InputError: there are none, or they do not belong together.
  """
  if not rungs:
    raise InputError(f'{folder} has no rung yet: run some first')
  table, figure = ladder_table(rungs), ladder_figure(rungs)
  record = json.dumps(to_record(rungs), indent=1)
  texts = {'ladder.json': record, 'ladder.md': table.as_markdown()}
  drawn = [] if figure is None else [*save_figure(figure, folder, 'ladder')]
  texts['ladder.html'] = _page(table, drawn[:1])
  for name, text in texts.items():
    data = f'{text}\n'.encode()
    write_atomically(folder / name, lambda file, data=data: file.write(data))
  return table, [*(folder / name for name in texts), *drawn]


def _check_alike(rungs: Sequence[Rung]) -> None:
  """Raises InputError for rungs that have no place in one table."""

  def kind(rung: Rung) -> tuple:
    results = rung.results
    return (
      *(data_name(results), results.data.classes, results.data.image_shape),
      *(results.images_per_class, results.seed),
    )

  for rung in rungs[1:]:
    if kind(rung) != kind(rungs[0]):
      raise InputError(
        f'the rungs {rungs[0].name} and {rung.name} differ in data, images per'
        f' class or seed, {kind(rungs[0])} and {kind(rung)}: choose another'
        ' --workdir for one'
      )


def _lines(rungs: Sequence[Rung]) -> Iterator[tuple[str, str, Rung, str]]:
  """Yields name, what is added, rung and method of each row.

  The first rung with baselines gives the first rows; those of another one
  follow it.
  """
  baselines = {
    rung.name: dict.fromkeys(
      e.method
      for e in rung.results.evaluations
      if e.method != rung.results.method
    )
    for rung in rungs
  }
  first = next((rung for rung in rungs if baselines[rung.name]), None)
  if first is not None:
    for method in baselines[first.name]:
      yield method_name(method), _describe(method, first), first, method
  for rung in rungs:
    name = rung.name.replace('_', ' ')
    yield name, rung.adds, rung, rung.results.method or 'dm'
    for method in baselines[rung.name] if rung is not first else ():
      yield method_name(method), _describe(method, rung), rung, method


def _describe(method: str, rung: Rung) -> str:
  name = rung.name.replace('_', ' ')
  labels = ', labelled as there' if rung.results.teachers is not None else ''
  return {
    'random_full': f'as many real images as in {name}{labels}',
    'random': f'real images, stored as in {name}{labels}',
    'random_jpeg': f'as many bytes of real images as in {name}{labels}',
  }.get(method, f'as in {name}')


def _cell(
  results: Results, method: str, column: tuple[str, str], usual: str
) -> str:
  """Returns an accuracy, and of how many networks where that is unusual."""
  network, protocol = column
  size = None if method == 'whole' else results.images_per_class
  found = results.evaluation(Case(method, network, size, protocol))
  if found is None:
    return '–'
  return str(found) if found.count == usual else f'{found} ({found.count})'


def _notes(rungs: Sequence[Rung], usual: str) -> Iterator[str]:
  pool = pool_seconds(rungs)
  yield (
    'In %, mean ± deviation over all networks'
    f'{": " * bool(usual)}{usual}. A rung adds to the one above it, or to the'
    ' one that it names.'
  )
  apart = ''
  if pool is not None:
    apart = f' and the pool, which took {format_seconds(pool)} once for all'
  devices = dict.fromkeys(rung.results.device for rung in rungs)
  told = '; '.join(device for device in devices if device)
  on = f' {told}.' if told else ''
  yield f'Condensing: of one set, without compiling{apart}.{on}'


def _page(table: Table, drawn: Sequence[Path]) -> str:
  """Returns table and figure as a page like a run's report."""
  what = 'Accuracy over seconds of condensing, by rung'
  figures = ''.join(figure_section(path, what, _HELD_OUT) for path in drawn)
  template = importlib.resources.files('dm_jax.report') / 'template.html'
  return string.Template(template.read_text('utf-8')).substitute(
    title=escape(table.title),
    lede='What each ingredient of a recipe is worth.',
    body=f'<section>{with_copies(table)}</section>\n'
    f'<section><h2>On the way</h2>\n{figures}</section>'
    if drawn
    else with_copies(table),
  )
