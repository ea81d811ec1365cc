"""A table of strings, as text, Markdown, LaTeX and HTML."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
from html import escape
import re
import textwrap
from typing import Any, Self

from dm_jax.records.results import Results

_MISSING = '–'
# Headings of text are wrapped to their column, but not narrower than this.
_HEADING = 12
_WIDTH = 80
_MARKDOWN = re.compile(r'([\\|*_<`\[\]])')
_LATEX = str.maketrans(
  {
    **{c: f'\\{c}' for c in '&%$#_{}'},
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    "'": r'\textquotesingle{}',
    '±': r'$\pm$',
    '×': r'$\times$',
  }
)


@dataclasses.dataclass(frozen=True)
class Table:
  """What is shown, in words; each form escapes it as it needs.

  Attributes:
    title: what the table shows.
    columns: headings.
    rows: as many cells each as there are columns.
    notes: sentences below the table.
  """

  title: str
  columns: Sequence[str]
  rows: Sequence[Sequence[str]]
  notes: Sequence[str] = ()

  def with_notes(self, notes: Iterable[str]) -> Self:
    """Returns the table with further sentences below its own."""
    return dataclasses.replace(self, notes=(*self.notes, *notes))

  def as_text(self) -> str:
    """Returns aligned lines, without a line break at the end."""
    columns = list(zip(self.columns, *self.rows, strict=True))
    wide = [max(map(len, cells)) for _, *cells in columns]
    headings = [
      textwrap.wrap(heading, max(width, _HEADING), break_long_words=False)
      or ['']
      for heading, width in zip(self.columns, wide, strict=True)
    ]
    wide = [
      max(width, *map(len, heading))
      for width, heading in zip(wide, headings, strict=True)
    ]
    high = max(map(len, headings))
    # Wrapped headings stand on the rule.
    headings = [[''] * (high - len(heading)) + heading for heading in headings]
    lines = [
      *zip(*headings, strict=True),
      ['-' * width for width in wide],
      *self.rows,
    ]
    return '\n'.join(
      [
        self.title,
        '',
        *(_aligned(line, wide) for line in lines),
        *_paragraphs(self.notes),
      ]
    )

  def as_markdown(self) -> str:
    """Returns a table in GitHub's Markdown, title above and notes below."""
    lines = [self.columns, ['---'] * len(self.columns), *self.rows]
    table = '\n'.join(f'| {" | ".join(map(_markdown, row))} |' for row in lines)
    blocks = [
      f'**{_markdown(self.title)}**',
      table,
      *map(_markdown, self.notes),
    ]
    return '\n\n'.join(blocks)

  def as_latex(self) -> str:
    """Returns a table environment; it needs the package booktabs."""
    head, *rows = [
      f'{" & ".join(map(_latex, row))} \\\\'
      for row in (self.columns, *self.rows)
    ]
    return '\n'.join(
      [
        r'\begin{table}',
        r'\centering',
        rf'\caption{{{_latex(self.title)}}}',
        rf'\begin{{tabular}}{{{"l" * len(self.columns)}}}',
        r'\toprule',
        head,
        r'\midrule',
        *rows,
        r'\bottomrule',
        r'\end{tabular}',
        *(rf'\par{{\footnotesize {_latex(note)}\par}}' for note in self.notes),
        r'\end{table}',
      ]
    )

  def as_html(self) -> str:
    """Returns the table in a box that scrolls sideways, notes below.

    The title is left to the page; `template.html` holds the style.
    """
    head = _html_row(self.columns, 'th')
    body = ''.join(_html_row(row, 'td') for row in self.rows)
    notes = ''.join(f'<p class="note">{escape(n)}</p>\n' for n in self.notes)
    return (
      f'<div class="scroll"><table class="scores"><thead>{head}</thead>\n'
      f'<tbody>{body}</tbody></table></div>\n{notes}'
    )


def to_rows(
  names: Iterable[str], columns: Sequence[Mapping[str, str]]
) -> tuple[tuple[str, ...], ...]:
  """Returns the rows of a table whose columns know their cells by name.

  Args:
    names: of the rows, which start with them.
    columns: for each, cells by the name of the row; others are dashes.
  """
  return tuple(
    (name, *(column.get(name, _MISSING) for column in columns))
    for name in names
  )


def data_name(results: Results) -> str:
  """Returns the name of the run's images, for a title."""
  return results.data.place or results.data.name or 'Images'


def shown(value: Any, show: Callable[[Any], str]) -> str:
  """Returns a cell: a value as `show` has it, or a dash for None."""
  return _MISSING if value is None else show(value)


def _aligned(cells: Iterable[str], wide: Iterable[int]) -> str:
  padded = (f'{cell:{width}}' for cell, width in zip(cells, wide, strict=True))
  return '  '.join(padded).rstrip()


def _paragraphs(notes: Iterable[str]) -> list[str]:
  """Returns the notes' lines, each note after an empty one."""
  return [
    line
    for note in notes
    for line in (
      '',
      *textwrap.wrap(
        note, _WIDTH, break_long_words=False, break_on_hyphens=False
      ),
    )
  ]


def _markdown(text: str) -> str:
  return _MARKDOWN.sub(r'\\\1', text)


def _latex(text: str) -> str:
  # Two hyphens would be set as one dash, which ruins a --flag.
  hyphens = re.sub('-(?=-)', '-{}', text.translate(_LATEX))
  return hyphens.replace('–', '--')


def _html_row(cells: Iterable[str], tag: str) -> str:
  return f'<tr>{"".join(f"<{tag}>{escape(c)}</{tag}>" for c in cells)}</tr>\n'
