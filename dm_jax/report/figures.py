"""Figures for papers and READMEs: curves as classes arrive, rankings.

Nothing here opens a window or changes a setting of matplotlib's, and importing
this module does not load it. Saved files are the same bytes each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
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
PICKED = '#d55e00'
# Inches; shown 800 pixels wide, text of 10 points is as large as a page's.
WIDTH, HEIGHT = 8.0, 4.5
PIXELS_PER_INCH = 200
# Tick labels; of more numbers of classes, some are left out.
MAX_TICKS = 10
PANELS_ACROSS = 3
LEGEND_COLUMNS = 5
MINUS = '\N{MINUS SIGN}'
# Dots of a panel beyond which they are drawn smaller.
MANY_DOTS = 100
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
  # Names in an SVG are random otherwise.
  'svg.hashsalt': 'dm_jax',
}


@dataclasses.dataclass(frozen=True)
class Curve:
  """How accurate one method is as classes arrive.

  Attributes:
    name: of the method, as the legend has it.
    classes: seen at each step, ascending; at least one.
    mean: accuracy at each step, in [0, 1].
    deviation: of it, one for each step; None, or None at a step, draws none.
  """

  name: str
  classes: Sequence[int]
  mean: Sequence[float]
  deviation: Sequence[float | None] | None = None


@dataclasses.dataclass(frozen=True)
class Ranking:
  """How architectures do in the search, and when trained on everything.

  Attributes:
    name: of the method that searched.
    search: validation accuracy of each architecture in the search, in [0, 1].
    real: for each, test accuracy after training on the whole set, in [0, 1].
    picked: index of the one that the search picks; None marks none.
    spearman: correlation of both rankings, in [-1, 1]; None is undefined.
  """

  name: str
  search: Sequence[float]
  real: Sequence[float]
  picked: int | None = None
  spearman: float | None = None


def accuracy_curves(curves: Sequence[Curve]) -> Figure:
  """Draws accuracy in % over classes seen, a line and a band for each method.

  Args:
    curves: at least one; colours and markers follow their order.

  Returns:
    One axes, a legend above. Bands reach one standard deviation up and down.

  Raises:
    ValueError: if a curve has not as many means, or deviations, as classes.
  """
  from matplotlib.figure import Figure

  with _style():
    figure = Figure(figsize=(WIDTH, HEIGHT), layout='constrained')
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
      _draw_curve(axes, curve, number)
    seen = sorted({count for curve in curves for count in curve.classes})
    # Every so many of them, the last one always.
    every = -(-len(seen) // MAX_TICKS)
    axes.set_xticks(seen[::-1][::every])
    _within_percent(axes)
    axes.set_xlabel('Classes seen')
    axes.set_ylabel('Test accuracy on the classes seen, %')
    _legend_above(figure)
    _settle(figure)
  return figure


def ranking_scatter(rankings: Sequence[Ranking]) -> Figure:
  """Draws accuracy in the search against accuracy when trained on everything.

  Args:
    rankings: at least one, with a panel each, in this order.

  Returns:
    As many axes, with a dot for each architecture; their vertical axes are
    equal. Where one is picked, it is marked, and a legend says so.

  Raises:
    ValueError: if a ranking has not as many real accuracies as others.
  """
  from matplotlib.figure import Figure

  across = _panels_across(len(rankings))
  down = -(-len(rankings) // across)
  width = WIDTH if across > 1 else 0.6 * WIDTH
  with _style():
    # Panels about as high as wide, with what stands above and below them.
    height = 0.9 + down * min(0.95 * width / across, 3.2)
    figure = Figure(figsize=(width, height), layout='constrained')
    first: Axes | None = None
    for number, ranking in enumerate(rankings):
      axes = figure.add_subplot(down, across, number + 1, sharey=first)
      _draw_ranking(axes, ranking)
      if first is None:
        first = axes
    figure.supxlabel('Validation accuracy in the search, %', fontsize=10)
    figure.supylabel('Test accuracy, whole set, %', fontsize=10)
    _legend_above(figure)
    _settle(figure)
  return figure


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
  # A date, or the version of what drew it, would change the bytes.
  metadata = {'svg': {'Date': None, 'Creator': None}, 'png': {'Software': None}}
  with _style():
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
def _style() -> Iterator[None]:
  """The same style whatever a person's own settings are, for as long as it."""
  import matplotlib.style

  with matplotlib.style.context(['default', _STYLE]):
    yield


def _draw_curve(axes: Axes, curve: Curve, number: int) -> None:
  colour = COLOURS[number % len(COLOURS)]
  means = [100 * mean for mean in curve.mean]
  axes.plot(
    curve.classes,
    means,
    color=colour,
    marker=MARKERS[number % len(MARKERS)],
    markersize=6,
    linewidth=1.8,
    label=curve.name,
    # Markers at 100 % are not cut in half.
    clip_on=False,
    zorder=3,
  )
  if curve.deviation is None:
    return
  spread = [100 * (deviation or 0) for deviation in curve.deviation]
  pairs = [*zip(means, spread, strict=True)]
  axes.fill_between(
    curve.classes,
    [mean - deviation for mean, deviation in pairs],
    [mean + deviation for mean, deviation in pairs],
    color=colour,
    alpha=0.18,
    linewidth=0,
  )


def _draw_ranking(axes: Axes, ranking: Ranking) -> None:
  search = [100 * accuracy for accuracy in ranking.search]
  real = [100 * accuracy for accuracy in ranking.real]
  axes.scatter(
    search,
    real,
    s=12 if len(search) > MANY_DOTS else 26,
    color=COLOURS[0],
    alpha=0.65,
    linewidths=0,
    label='an architecture',
  )
  if ranking.picked is not None:
    axes.scatter(
      search[ranking.picked],
      real[ranking.picked],
      s=110,
      marker='D',
      facecolors='none',
      edgecolors=PICKED,
      linewidths=1.8,
      label='picked by the search',
      clip_on=False,
    )
  found = ranking.spearman
  shown = 'undefined' if found is None else f'{found:z.2f}'.replace('-', MINUS)
  axes.set_title(f'{ranking.name}\nSpearman {shown}')


def _panels_across(count: int) -> int:
  """Returns 2 for four panels, which would leave one alone otherwise."""
  return 2 if count == 4 else min(count, PANELS_ACROSS)


def _within_percent(axes: Axes) -> None:
  """Ends the vertical axis where accuracies end, whatever bands reach."""
  low, high = axes.get_ylim()
  axes.set_ylim(max(low, 0), min(high, 100))
  axes.locator_params(axis='y', steps=[1, 2, 5, 10])


def _legend_above(figure: Figure) -> None:
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


def _settle(figure: Figure) -> None:
  """Places everything once: each drawing would move it by a hair otherwise."""
  figure.draw_without_rendering()
  figure.set_layout_engine('none')
