"""What all drawings by matplotlib share: style, files, inline SVG.

Nothing here opens a window or changes a setting of matplotlib's, and importing
this module does not load it. Equal figures give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import io
import os
from pathlib import Path
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from dm_jax.files import write_atomically

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure


# Okabe and Ito's, which colour-blind people can tell apart; no yellow, which is
# faint on white. Markers tell them apart in print.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#000000')
MARKERS = ('o', 's', '^', 'D', 'v', 'P')

# Inches; shown 800 pixels wide, text of 10 points is as large as a page's.
WIDTH, HEIGHT = 8.0, 4.5
PIXELS_PER_INCH = 200
LEGEND_COLUMNS = 5
_STYLE = {
  'font.size': 10,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.grid': True,
  'axes.axisbelow': True,
  'axes.titlesize': 10,
  'grid.alpha': 0.3,
  'legend.frameon': False,
  # Letters as shapes look alike wherever the file is opened.
  'svg.fonttype': 'path',
  # Ids in an SVG are random otherwise.
  'svg.hashsalt': 'dm_jax',
}
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
_CHART_STYLE = {
  'font.size': 9,
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
# A date, or the version of what drew it, would change the bytes.
_NO_ORIGIN = {'Date': None, 'Creator': None}


def save_figure(
  figure: Figure, folder: str | os.PathLike[str], name: str
) -> tuple[Path, Path]:
  """Writes a figure as name.svg and name.png, whole or not at all.

  Args:
    figure: equal figures give equal bytes with one version of matplotlib.
    folder: made if it is missing.
    name: without an ending.

  Returns:
    The paths of both, the SVG first.

  Raises:
    OSError: if they cannot be written.
  """
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  paths = folder / f'{name}.svg', folder / f'{name}.png'
  metadata = {'svg': _NO_ORIGIN, 'png': {'Software': None}}
  with style():
    for path in paths:
      kind = path.suffix[1:]
      options: dict[str, Any] = {
        'format': kind,
        'metadata': metadata[kind],
        'dpi': PIXELS_PER_INCH,
      }
      write_atomically(path, lambda file, o=options: figure.savefig(file, **o))
  return paths


def inline_svg(figure: Figure, name: str, title: str, description: str) -> str:
  """Returns a figure as an <svg> that is part of the page.

  Its text has the page's font, and colours of `THEME` follow the page's theme.

  Args:
    figure: made in `chart_style`; nothing in it is clipped.
    name: its ids start or are made with it; figures of a page differ in it.
    title: what is drawn, for those who do not see it.
    description: what can be read from it.
  """
  file = io.BytesIO()
  with _settings(_CHART_STYLE, {'svg.hashsalt': name}):
    figure.savefig(file, format='svg', metadata=_NO_ORIGIN)
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
      value = re.sub(r' ?font-family:[^;]*;?', '', value)
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


def style() -> contextlib.AbstractContextManager[None]:
  """Sets the style of files of figures, for a `with`."""
  return _settings(_STYLE)


def chart_style() -> contextlib.AbstractContextManager[None]:
  """Sets the style of figures that become part of a page, for a `with`."""
  return _settings(_CHART_STYLE)


@contextlib.contextmanager
def _settings(*settings: dict[str, Any]) -> Iterator[None]:
  """Sets these above the defaults, whatever a person has, for a `with`."""
  import matplotlib.style

  with matplotlib.style.context(['default', *settings]):
    yield


def within_percent(axes: Axes) -> None:
  """Keeps the vertical axis within 0 to 100 %, even if a band goes beyond."""
  low, high = axes.get_ylim()
  axes.set_ylim(max(low, 0), min(high, 100))
  axes.locator_params(axis='y', steps=[1, 2, 5, 10])


def legend_above(figure: Figure) -> None:
  """Explains every kind of mark once, where it hides nothing."""
  marks = {}
  for axes in figure.axes:
    handles, labels = axes.get_legend_handles_labels()
    marks |= dict(zip(labels, handles, strict=True))
  figure.legend(
    [*marks.values()],
    [*marks],
    loc='outside upper center',
    ncols=min(len(marks), LEGEND_COLUMNS),
  )


def settle(figure: Figure) -> None:
  """Places everything once: each drawing would move it by a hair otherwise."""
  figure.draw_without_rendering()
  figure.set_layout_engine('none')
