"""What a run's sets were used for, as HTML: a figure and a table for each."""

import base64
from html import escape
from pathlib import Path

from dm_jax.report.html import with_copies
from dm_jax.report.search import continual_table, search_table
from dm_jax.report.table import Table
from dm_jax.types import Json

_UNFINISHED = {
  'continual': 'No accuracies yet: not all classes have arrived.',
  'search': 'No rankings yet: not all architectures have been trained.',
}
_CURVES = 'Test accuracy by classes seen, a line for each method'
_CURVES_NOTE = 'Bands reach one standard deviation up and down.'
_SCATTER = 'Accuracy in the search against accuracy on the whole set'
_SCATTER_NOTE = 'A dot is one architecture.'


def continual_section(results: Json, workdir: Path) -> str:
  """Returns how accurate networks are as classes arrive, or ''.

  Args:
    results: as in results.json.
    workdir: figures/accuracy.svg is embedded if it is there.
  """
  if not results.get('continual'):
    return ''
  path = workdir / 'figures' / 'accuracy.svg'
  figure = _figure(path, _CURVES, _CURVES_NOTE)
  return figure + _table(continual_table(results), 'continual')


def search_section(results: Json, workdir: Path) -> str:
  """Returns how well sets rank architectures, or ''.

  Args:
    results: as in results.json.
    workdir: figures/ranking.svg is embedded if it is there.
  """
  if not results.get('search'):
    return ''
  path = workdir / 'figures' / 'ranking.svg'
  figure = _figure(path, _SCATTER, _SCATTER_NOTE)
  return figure + _table(search_table(results), 'search')


def application_lines(results: Json) -> list[str]:
  """Returns the applications' tables for a terminal, an empty line between.

  Args:
    results: as in results.json.

  Returns:
    A line saying so where a table cannot be made yet; nothing for a run
    without applications.
  """
  blocks = [
    _text(table, name)
    for name, table in (
      ('continual', continual_table(results)),
      ('search', search_table(results)),
    )
    if results.get(name)
  ]
  return '\n\n'.join(blocks).splitlines()


def has_application(results: Json) -> bool:
  """Returns whether the sets were made for more than evaluating them.

  Args:
    results: as in results.json.
  """
  return bool(results.get('continual') or results.get('search'))


def _table(table: Table | None, name: str) -> str:
  return with_copies(table) if table else f'<p>{_UNFINISHED[name]}</p>'


def _text(table: Table | None, name: str) -> str:
  return table.as_text() if table else _UNFINISHED[name]


def _figure(path: Path, what: str, note: str) -> str:
  """Returns a drawing as part of the page, '' where there is no file."""
  if not path.is_file():
    return ''
  # As a picture of its own, its ids and style cannot meet the page's.
  data = base64.b64encode(path.read_bytes()).decode()
  return (
    '<figure class="drawing"><div class="frame">'
    f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(what)}">'
    f'</div><figcaption>{escape(note)}</figcaption></figure>\n'
  )
