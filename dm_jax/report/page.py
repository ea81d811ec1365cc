"""A run's results for people: a page, report.html, and lines for a terminal.

The page is one file that loads nothing else: style and charts are inline,
pictures are embedded. The same inputs give the same bytes.
"""

import dataclasses
from html import escape
import importlib.resources
import itertools
import math
import os
from pathlib import Path
import string

from dm_jax.files import write_text
from dm_jax.records.metrics import read_metrics
from dm_jax.records.results import Results
from dm_jax.report import paper
from dm_jax.report.applications import (
  application_lines,
  application_sections,
  applied,
)
from dm_jax.report.charts import score_chart
from dm_jax.report.curves import loss_section, validation_section
from dm_jax.report.html import (
  chart_section,
  config_table,
  marked,
  run_tables,
  times,
  with_copies,
)
from dm_jax.report.inline import inline_svg
from dm_jax.report.pictures import grids
from dm_jax.report.scores import (
  Score,
  advice,
  evaluation_table,
  image_counts,
  label_note,
  origin,
  read_scores,
  sentence,
  warnings,
)
from dm_jax.report.sizes import JPEG, NOTE, stored_bytes
from dm_jax.report.table import Table, data_name
from dm_jax.types import Json
from dm_jax.words import format_bytes, format_seconds, settings_told

NOT_EVALUATED = (
  'No accuracies yet: no network has been trained on these images. The same '
  'command with --mode=run goes on to do that.'
)


def write_report(
  workdir: str | os.PathLike[str], results: Results, config: Json
) -> Path:
  """Writes report.html from what a run left in its workdir.

  Pictures are embedded as they are while they take less than 7 MB together;
  otherwise the large ones are embedded as JPEG, smaller if need be, as the page
  says. Of more than 200 classes they take 0.4 MB together: the page stays well
  under 1 MB. Of more than nine, nine are embedded, evenly spaced.

  Args:
    workdir: the run's folder; metrics.jsonl, images/*.png, and figures/*.svg of
      its application, are read from it if they are there.
    results: of the run. What is None or empty leaves its part of the page out.
    config: the resolved config, nested.

  Returns:
    The path of the page.

  Raises:
    InputError: if metrics.jsonl is broken other than at its end.
  """
  workdir = Path(workdir)
  notes = _method_notes(results, config)
  sections = [
    _section('Accuracy on the test set', _accuracy(results)),
    *itertools.starmap(
      _section, application_sections(results, workdir, notes).items()
    ),
    _facts(results),
    _section('Every set and network', _evaluations(results, notes)),
    _section(
      _images_title(results),
      grids(workdir / 'images', config, results.data.classes),
    ),
    _section('Loss', loss_section(read_metrics(workdir), results)),
    _section('Accuracy on validation images', validation_section(results)),
    _section('The run', run_tables(results)),
    _section('Configuration', config_table(config)),
  ]
  template = importlib.resources.files('dm_jax.report') / 'template.html'
  page = string.Template(template.read_text('utf-8')).substitute(
    title=escape(_title(results)),
    lede=escape(_lede(results)),
    body='\n'.join(filter(None, sections)),
  )
  path = workdir / 'report.html'
  write_text(path, page)
  return path


def summary_lines(results: Results) -> list[str]:
  """Returns the accuracies as aligned tables, and warnings below.

  The first has a line for each set on the first network, under the first
  protocol. The second follows where there are several networks, sizes or
  protocols, and has all of them. The tables of applications come last.

  Args:
    results: of a run.
  """
  table = evaluation_table(results)
  lines = _evaluation_lines(results, table) if table else []
  below = application_lines(results)
  # Tables stand apart from what is above them.
  between = [''] if below and lines and lines[-1] else []
  shown = [*lines, *between, *below]
  noted = table is not None and _is_several(results)  # By the table itself.
  notes = [] if noted else filter(None, [label_note(results)])
  return [*shown, *notes] if shown else [NOT_EVALUATED]


def _evaluation_lines(results: Results, table: Table) -> list[str]:
  """Returns what networks reached on the test set, and warnings."""
  lines = _score_lines(results)
  if _is_several(results):
    lines += ['', *table.as_text().splitlines(), '']
  elif any(score.bytes is not None for score in read_scores(results)):
    lines.append(NOTE)
  lines += [f'warning: {line}' for line in warnings(results)]
  return [*lines, *filter(None, [advice(results)])]


def _is_several(results: Results) -> bool:
  """Whether there are several networks, sizes or protocols."""
  several = results.pool, _sizes(results), results.protocols
  return max(map(len, several)) > 1


def _score_lines(results: Results) -> list[str]:
  scores = read_scores(results)
  names = [f'{score.name} ({score.detail})' for score in scores]
  wide = max(map(len, names), default=0)
  figures = max((len(str(score)) for score in scores), default=0)
  counts = max((len(score.count) for score in scores), default=0)
  return [
    f'{name:{wide}}  {score!s:{figures}} %   {score.count:{counts}}'
    f'   {"" if score.bytes is None else format_bytes(score.bytes)}'.rstrip()
    for name, score in zip(names, scores, strict=True)
  ]


def _sizes(results: Results) -> list[int]:
  """Returns the images per class of the run's nested sets, ascending."""
  return [*results.sizes] or [*filter(None, [results.images_per_class])]


def _title(results: Results) -> str:
  name, sizes = data_name(results), _sizes(results)
  if results.method == 'whole':
    return f'{name}, whole set'
  if not sizes:
    return name
  images = 'image' if sizes == [1] else 'images'
  return f'{name}, {_series(sizes)} {images} per class'


def _series(sizes: list[int]) -> str:
  """Returns e.g. 1, 10 and 50."""
  *most, last = [f'{size:,}' for size in sizes]
  return f'{", ".join(most)} and {last}' if most else last


def _images_title(results: Results) -> str:
  made = results.method in ('dm', None)
  return 'The synthetic images' if made else 'The images'


def _lede(results: Results) -> str:
  *smaller, largest = _sizes(results) or [0]
  parts = [origin(results)]
  if smaller and results.method != 'whole':
    parts.append(f'Smaller sets take the first {_series(smaller)} per class.')
  found = sentence(results).replace(' %', '\N{NO-BREAK SPACE}%')
  if smaller and found:
    found = f'At {largest} per class, {found[0].lower()}{found[1:]}'
  parts += filter(None, [found, label_note(results)])
  return ' '.join(parts)


def _section(title: str, body: str) -> str:
  return f'<section><h2>{title}</h2>\n{body}\n</section>' if body else ''


def _accuracy(results: Results) -> str:
  scores = _charted(results)
  if not scores and applied(results):
    return ''
  if not scores:
    return f'<p>{marked(NOT_EVALUATED)}</p>'
  classes, tested = results.data.classes, results.data.test_images
  notes = ['A dot is one network, trained from scratch and tested once.']
  if any(score.deviation for score in scores):
    notes.append('Bar and whisker are the mean and one standard deviation.')
  if classes:
    notes.append('The dashed line is chance.')
  if tested:
    notes.append(f'{tested:,} test images.')
  chart = inline_svg(
    score_chart(scores, 1 / classes if classes else None),
    'scores',
    'Accuracy on the test set',
    '; '.join(f'{s.name}, {s.detail}: {s} %' for s in scores),
  )
  return _warning(results) + chart_section(chart, notes)


def _charted(results: Results) -> list[Score]:
  """Returns the scores under each protocol, which is named if not alone."""
  if len(results.protocols) == 1:
    return read_scores(results)
  return [
    dataclasses.replace(score, detail=f'{score.detail}, {protocol}')
    for protocol in results.protocols
    for score in read_scores(results, protocol)
  ]


def _warning(results: Results) -> str:
  lines = [*warnings(results), *filter(None, [advice(results)])]
  if not lines:
    return ''
  text = escape('\n'.join(lines)).replace(' %', '&nbsp;%')
  text = text.replace('\n', '<br>')
  return f'<p class="warning"><b>Warning.</b> {text}</p>\n'


def _method_notes(results: Results, config: Json) -> list[str]:
  """Tells a set that the tables name DM, and the paper would not."""
  changed = paper.otherwise(config)
  if results.method != 'dm' or results.only_judged or not changed:
    return []
  return [f"DM here is not the paper's: {settings_told(changed)}."]


def _evaluations(results: Results, notes: list[str]) -> str:
  """Returns the table of all that was evaluated, and copies to paste."""
  table = evaluation_table(results)
  return with_copies(table.with_notes(notes)) if table else ''


def _facts(results: Results) -> str:
  counts = image_counts(results)
  shape = results.data.image_shape
  facts = []
  if counts and results.method != 'whole':
    real, few = counts
    digits = ',.0f' if real / few >= 100 else '.3g'
    fewer = f'{real / few:{digits}} times fewer'
    facts.append(('Images', f'{real:,} → {few:,}', fewer))
    if shape:
      real, own = counts[0] * math.prod(shape), results.method or 'dm'
      few = stored_bytes(results, own, results.images_per_class) or 0
      sizes = map(format_bytes, (real, few))
      kept = 'JPEG, from ' * (own == JPEG) + 'one byte per value'
      facts.append(('Size', ' → '.join(sizes), kept))
  spent = times(results)
  if spent:
    last, seconds = [*spent.items()][-1]
    name = 'Time' if last == 'total' else f'Time, {last}'
    facts.append((name, format_seconds(seconds), results.device or ''))
  if results.peak_bytes is not None:
    facts.append(('Peak memory', format_bytes(results.peak_bytes), ''))
  items = [
    f'<div><dt>{name}</dt><dd>{escape(value)}<small>{escape(note)}</small>'
    '</dd></div>'
    for name, value, note in facts
  ]
  return f'<dl class="facts">{"".join(items)}</dl>' if items else ''
