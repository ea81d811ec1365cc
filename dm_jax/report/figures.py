"""What figures share: their style, their files, what stands around their axes.

Nothing here opens a window or changes a setting of matplotlib's, and importing
this module does not load it. Equal figures give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
FILE_STYLE = {
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
# A date, or the version of what drew it, would change the bytes.
NO_ORIGIN = {'Date': None, 'Creator': None}


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
  metadata = {'svg': NO_ORIGIN, 'png': {'Software': None}}
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


@contextlib.contextmanager
def style(settings: Mapping[str, Any] = FILE_STYLE) -> Iterator[None]:
  """Draws and saves in one style, whatever a person's own settings are.

  Args:
    settings: of matplotlib, above its defaults.
  """
  import matplotlib.style

  with matplotlib.style.context(['default', dict(settings)]):
    yield


def over_seconds(curves: Mapping[str, Mapping[float, float]]) -> Figure:
  """Draws accuracies on held-out images over seconds of condensing.

  Args:
    curves: by name, for seconds, ascending, an accuracy in [0, 1]; at least
      one each.

  Returns:
    One axes, in %, a line for each name and a legend above.
  """
  from matplotlib.figure import Figure

  with style():
    figure = Figure(figsize=(WIDTH, HEIGHT), layout='constrained')
    axes = figure.add_subplot(
      xlabel='Seconds of condensing', ylabel='Accuracy on held-out images, %'
    )
    for number, (name, curve) in enumerate(curves.items()):
      turn, place = divmod(number, len(COLOURS))
      axes.plot(
        [*curve],
        [100 * accuracy for accuracy in curve.values()],
        color=COLOURS[place],
        marker=MARKERS[place],
        markersize=4,
        linestyle=('-', '--', ':')[turn % 3],
        label=name,
      )
    axes.set_xlim(left=0)
    legend_above(figure)
    settle(figure)
  return figure


def within_percent(axes: Axes) -> None:
  """Keeps the vertical axis within 0 to 100 %, even if a band goes beyond."""
  low, high = axes.get_ylim()
  axes.set_ylim(max(low, 0), min(high, 100))
  axes.locator_params(axis='y', steps=[1, 2, 5, 10])


def legend_above(figure: Figure) -> None:
  """Explains every kind of mark once, where it hides nothing.

  Names stand in as many columns as the figure is wide enough for.
  """
  marks = {}
  for axes in figure.axes:
    handles, labels = axes.get_legend_handles_labels()
    marks |= dict(zip(labels, handles, strict=True))
  for columns in range(min(len(marks), LEGEND_COLUMNS), 0, -1):
    legend = figure.legend(
      [*marks.values()], [*marks], loc='outside upper center', ncols=columns
    )
    if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
      return
    legend.remove()


def settle(figure: Figure) -> None:
  """Places everything once: each drawing would move it by a hair otherwise."""
  figure.draw_without_rendering()
  figure.set_layout_engine('none')
