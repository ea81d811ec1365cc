"""Figures as parts of a page: SVG in the page's colours and fonts."""

from __future__ import annotations

import contextlib
import io
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from dm_jax.report.figures import NO_ORIGIN, style

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_SIDES = ('left', 'right', 'top', 'bottom')
# The page's colours by the names that its style gives them, on white paper.
THEME = {
  'paper': '#faf9f7',
  'ink': '#262624',
  'soft': '#6d6a64',
  'line': '#dedad2',
  'track': '#efece6',
  'accent': '#23618f',
  'rest': '#b9b3a7',
  'line1': '#b4560f',
  'line2': '#2f7d5b',
  'line3': '#7d4a9c',
}
_CHART_STYLE: dict[str, Any] = {
  'font.size': 9,
  # Measured in; the page shows its own.
  'font.sans-serif': ['DejaVu Sans'],
  'text.color': THEME['ink'],
  # A $ is a $, and a formula would be no text.
  'text.parse_math': False,
  'axes.axisbelow': True,
  'axes.grid': True,
  'axes.grid.axis': 'y',
  'axes.labelcolor': THEME['soft'],
  **{f'axes.spines.{side}': False for side in _SIDES},
  'axes.titlecolor': THEME['soft'],
  'axes.titlelocation': 'left',
  'axes.titlesize': 9,
  'grid.color': THEME['line'],
  'legend.frameon': False,
  'legend.labelcolor': THEME['soft'],
  'savefig.transparent': True,
  # As text, for which the page chooses the font.
  'svg.fonttype': 'none',
  'xtick.bottom': False,
  'xtick.labelcolor': THEME['soft'],
  'ytick.labelcolor': THEME['soft'],
  'ytick.left': False,
}


def chart_style() -> contextlib.AbstractContextManager[None]:
  """Draws in the style of a chart that becomes part of a page."""
  return style(_CHART_STYLE)


def inline_svg(figure: Figure, name: str, title: str, description: str) -> str:
  """Returns a figure as an <svg> that is part of the page.

  Its text has the page's font, and colours of `THEME` follow the page's theme.

  Args:
    figure: made in `chart_style`; nothing in it is clipped.
    name: of the chart, another for each of a page; its ids are made from it.
    title: what is drawn, for those who do not see it.
    description: what can be read from it.
  """
  file = io.BytesIO()
  with style(_CHART_STYLE | {'svg.hashsalt': name}):
    figure.savefig(file, format='svg', metadata=NO_ORIGIN)
  drawn = ElementTree.fromstring(file.getvalue())
  for part in drawn.iter():
    _tidy(part)
  for group in drawn.iter('g'):
    _share_style(group)
  svg = ElementTree.Element(
    'svg',
    {
      'class': 'chart',
      'viewBox': drawn.attrib['viewBox'],
      'role': 'img',
      'aria-labelledby': f'{name}-title {name}-desc',
    },
  )
  for tag, text in (('title', title), ('desc', description)):
    ElementTree.SubElement(svg, tag, {'id': f'{name}-{tag}'}).text = text
  # Not its <style>, which would hold for the whole page.
  svg.extend(drawn.findall('g'))
  return ElementTree.tostring(svg, encoding='unicode')


def _tidy(part: ElementTree.Element) -> None:
  """Leaves of an element what a page needs, in fewer letters."""
  # In HTML, names have no namespace.
  part.tag = part.tag.rpartition('}')[2]
  given = {key.rpartition('}')[2]: v for key, v in part.attrib.items()}
  part.attrib.clear()
  for key, value in given.items():
    # Groups have the same numbers in every figure; a page has no clip.
    if (key, part.tag) == ('id', 'g') or key == 'clip-path':
      continue
    # Most texts are not turned.
    if value.startswith('rotate(-0 '):
      continue
    value = re.sub(r'(\.\d\d)\d+', r'\1', ' '.join(value.split()))
    if key == 'style':
      for variable, colour in THEME.items():
        value = value.replace(colour, f'var(--{variable})')
    part.set(key, value)
  if not (part.text or '').strip():
    part.text = None
  part.tail = None


def _share_style(group: ElementTree.Element) -> None:
  """Says once what many dots look like."""
  dots = [*group.iter('use')]
  styles = {dot.get('style', '') for dot in dots}
  if len(dots) > 1 and len(styles) == 1 and dots == [*group]:
    group.set('style', styles.pop())
    for dot in dots:
      dot.attrib.pop('style')
