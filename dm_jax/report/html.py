"""Parts of a report as HTML: how a run went, its config, tables and figures."""

import base64
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
import re
from typing import Any

from dm_jax.records.results import Data, Results
from dm_jax.report.table import Table
from dm_jax.types import Json
from dm_jax.words import format_bytes, format_seconds

# Of classes; the others are counted.
MAX_NAMES = 200


def run_tables(results: Results) -> str:
  """Returns run, time, versions and data as tables, classes and command below.

  Args:
    results: of a run; what is not known is left out.
  """
  data = results.data
  sections = {
    'Run': {
      'method': results.method,
      'mode': results.mode,
      'seed': results.seed,
      'sets': results.sets,
      'condensed with': results.condensing_network,
      'evaluated with': _each('{}', results.networks),
      'device': results.device,
      'resumed from step': _each('{:,}', results.resumed_from),
      'one step': _maybe(format_seconds, results.seconds_per_step),
      'speed': _maybe(_per_second, results.images_per_second),
      'peak memory': _maybe(format_bytes, results.peak_bytes),
    },
    'Time': {
      name: format_seconds(seconds) for name, seconds in times(results).items()
    },
    'Versions': results.versions,
    'Data': {
      'name': data.name,
      'training images': _maybe('{:,}'.format, data.train_images),
      'test images': _maybe('{:,}'.format, data.test_images),
      'image': _each('{}', data.image_shape, ' × '),
      'channel means': _each('{:.4f}', data.mean),
      'channel deviations': _each('{:.4f}', data.std),
      'classes': data.classes,
    },
  }
  tables = ''.join(
    f'<div class="table"><h3>{title}</h3>{rows}</div>\n'
    for title, values in sections.items()
    if (rows := _listed(values))
  )
  return (
    f'<div class="tables">{tables}</div>{_class_names(data)}{_command(results)}'
  )


def config_table(config: Json) -> str:
  """Returns the config with dotted names, one group per top-level name.

  Args:
    config: nested; None is shown as a dash.
  """
  groups: dict[str, dict[str, str]] = {}
  for name, value in config.items():
    group = name if isinstance(value, dict) else ''
    groups.setdefault(group, {}).update(_dotted(name, value))
  body = ''.join(
    f'<div class="group">{_listed(rows)}</div>' for rows in groups.values()
  )
  return f'<div class="config">{body}</div>' if body else ''


def with_copies(table: Table) -> str:
  """Returns a table, and folded below it copies to paste.

  Args:
    table: its title stands in the copies alone.
  """
  copies = (('Markdown', table.as_markdown()), ('LaTeX', table.as_latex()))
  folded = ''.join(
    f'<details><summary>{name}</summary><pre>{escape(text)}</pre></details>\n'
    for name, text in copies
  )
  return f'{table.as_html()}{folded}'


def times(results: Results) -> dict[str, float]:
  """Returns the seconds of each part of the run, and their sum last.

  The sum is the `total`, unless some of the run's work is not timed: evaluation
  on the way, and what each group of a stream of classes takes to select.
  """
  selecting = [
    seconds
    for spent in results.selecting_seconds.values()
    for seconds in spent.values()
  ]
  parts = {
    'pool': results.pool_seconds,
    'compile': results.compile_seconds,
    'condense': results.condense_seconds,
    'select': sum(selecting) if selecting else None,
    'evaluate': results.evaluate_seconds,
  }
  known = {name: s for name, s in parts.items() if s is not None}
  if not known:
    return {}
  is_whole = not results.validation and results.application != 'continual'
  return {**known, 'total' if is_whole else 'known parts': sum(known.values())}


def marked(text: str) -> str:
  """Returns `text` as HTML in which no line ends inside a --flag."""
  return ' '.join(
    f'<code>{escape(word)}</code>' if word.startswith('--') else escape(word)
    for word in text.split(' ')
  )


def figure_section(path: Path, what: str, note: str) -> str:
  """Returns a figure's file embedded in the page, '' where there is none.

  Args:
    path: of an SVG.
    what: it shows, for those who do not see it.
    note: its caption.
  """
  if not path.is_file():
    return ''
  # As a picture of its own, its ids and style cannot meet the page's.
  data = base64.b64encode(path.read_bytes()).decode()
  return (
    '<figure class="drawing"><div class="frame">'
    f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(what)}">'
    f'</div><figcaption>{escape(note)}</figcaption></figure>\n'
  )


def chart_section(svg: str, notes: Iterable[str]) -> str:
  """Returns a chart in a box that scrolls sideways, notes below."""
  return f'<div class="scroll">{svg}</div><p class="note">{" ".join(notes)}</p>'


def _listed(values: Json) -> str:
  """Returns a row for each value that is there, or ''."""
  items = [
    f'<div><dt>{escape(str(name))}</dt><dd>{_breakable(value)}</dd></div>'
    for name, value in values.items()
    if value not in (None, '')
  ]
  return f'<dl>{"".join(items)}</dl>' if items else ''


def _class_names(data: Data) -> str:
  names = [str(name) for name in data.class_names]
  if len(names) > MAX_NAMES:
    names = [*names[:MAX_NAMES], f'and {len(names) - MAX_NAMES:,} more']
  shown = escape(', '.join(names))
  return f'<h3>Classes</h3><p class="names">{shown}</p>' if names else ''


def _command(results: Results) -> str:
  command = results.command or ''
  return f'<h3>Command</h3><pre>{marked(command)}</pre>' if command else ''


def _maybe(show: Callable[[Any], str], value: Any) -> str | None:
  return None if value is None else show(value)


def _per_second(count: float) -> str:
  return f'{count:,.0f} images per second'


def _each(form: str, values: Iterable | None, between: str = ', ') -> str:
  return between.join(map(form.format, values or ()))


def _breakable(value: Any) -> str:
  """Returns HTML in which long names may end a line at _ and :."""
  return re.sub('([_:])', r'\1<wbr>', escape(str(value)))


def _dotted(name: str, value: Any) -> dict[str, str]:
  if isinstance(value, dict):
    return {
      dotted: text
      for key, inner in value.items()
      for dotted, text in _dotted(f'{name}.{key}', inner).items()
    }
  return {name: '–' if value is None else str(value)}
