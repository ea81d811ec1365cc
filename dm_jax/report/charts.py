"""The charts of a report, in the page's colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dm_jax.report.figures import MARKERS, WIDTH, legend_above, settle
from dm_jax.report.inline import THEME, chart_style
from dm_jax.report.scores import Score
from dm_jax.words import percent

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

# Points of all smoothed lines of a chart, and half of those as measured; more
# would only make the page larger.
MAX_POINTS = 600
# Dots of a bar beyond which they are drawn smaller.
MANY_DOTS = 20
# Losses further apart than this factor are drawn on a logarithmic axis.
LINEAR_RANGE = 20
LINES = tuple(THEME[name] for name in ('accent', 'line1', 'line2', 'line3'))

# Inches.
_HEIGHT, _BAR, _AXIS = 2.9, 0.4, 0.25
# Where bars start and end, in shares of the width; names and numbers stand left
# of them, where a narrow screen shows them first.
_LEFT, _RIGHT = 0.37, 0.97


def score_chart(scores: Sequence[Score], chance: float | None = None) -> Figure:
  """Draws horizontal bars with deviations and a dot for each network.

  Args:
    scores: at least one, drawn in this order from the top.
    chance: accuracy of guessing, in [0, 1]; None draws no line for it.

  Returns:
    One axes, in % across; the bar of score i is drawn around i.
  """
  from matplotlib.figure import Figure

  height = len(scores) * _BAR + _AXIS
  box = _LEFT, _AXIS / height, _RIGHT - _LEFT, 1 - _AXIS / height
  with chart_style():
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes(box)
    end = _bars_end(scores)
    axes.set_xlim(0, end)
    axes.set_xticks([end * i / 5 for i in range(6)])
    axes.xaxis.set_major_formatter('{x:g} %')
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_yticks([])
    for place, score in enumerate(scores):
      _draw_bar(axes, score, place)
      _write_bar(axes, score, place)
    if chance is not None:
      dashes = {'color': THEME['soft'], 'linestyle': (0, (4, 3))}
      axes.axvline(100 * chance, linewidth=0.7, **dashes)
  return figure


def loss_chart(losses: Mapping[str, Mapping[int, float]]) -> Figure:
  """Draws losses over steps, as measured and smoothed.

  The vertical axis is logarithmic if they span a factor above 20.

  Args:
    losses: by name, for each step, ascending, a finite loss; at least two each.

  Returns:
    One axes; for each name a faint line as measured and a smoothed one. Where
    there are several, a legend stands above.
  """
  curves = {
    name: (np.array([*curve], float), np.array([*curve.values()], float))
    for name, curve in losses.items()
  }
  every = np.concatenate([y for _, y in curves.values()])
  log = bool(every.min() > 0 and every.max() > LINEAR_RANGE * every.min())
  points = MAX_POINTS // len(curves)
  with chart_style():
    figure, axes = _over_steps(f'Loss{", logarithmic" * log}')
    axes.margins(x=0)
    if log:
      _set_logarithmic(axes, every.max() / every.min())
    for number, (name, (x, y)) in enumerate(curves.items()):
      colour = LINES[number % len(LINES)]
      smooth = np.exp(_smoothed(np.log(y))) if log else _smoothed(y)
      wild = _extremes(y, points)
      few = np.unique(np.linspace(0, len(x) - 1, points).astype(int))
      axes.plot(x[wild], y[wild], color=colour, linewidth=0.7, alpha=0.4)
      axes.plot(x[few], smooth[few], color=colour, label=name)
    if len(curves) > 1:
      legend_above(figure)
    settle(figure)
  return figure


def validation_chart(curves: Mapping[str, Mapping[int, float]]) -> Figure:
  """Draws accuracies over steps, a line for each name.

  Args:
    curves: by name, for each step, ascending, an accuracy in [0, 1]; at least
      one each. Steps are counted from 0.

  Returns:
    One axes, in %, with a legend above.
  """
  with chart_style():
    figure, axes = _over_steps('Validation accuracy, %')
    for number, (name, curve) in enumerate(curves.items()):
      axes.plot(
        [*curve],
        [100 * accuracy for accuracy in curve.values()],
        color=LINES[number % len(LINES)],
        # A line of a single point would not be seen.
        marker=MARKERS[number % len(MARKERS)],
        markersize=4,
        label=name,
      )
    axes.set_xlim(0, max(1, *(step for c in curves.values() for step in c)))
    legend_above(figure)
    settle(figure)
  return figure


def _bars_end(scores: Sequence[Score]) -> float:
  """Returns a round number, in %, that no mark is right of."""
  highest = max(
    accuracy
    for score in scores
    for accuracy in (score.mean + (score.deviation or 0), *score.accuracies)
  )
  return next((end for end in (10, 20, 50) if highest <= end / 100), 100)


def _draw_bar(axes: Axes, score: Score, place: int) -> None:
  ink, end = THEME['ink'], axes.get_xlim()[1]
  axes.barh(place, end, color=THEME['track'])
  colour = THEME['accent' if score.own else 'rest']
  axes.barh(place, 100 * score.mean, color=colour)
  count = len(score.accuracies)
  axes.scatter(
    [100 * accuracy for accuracy in score.accuracies],
    # Networks often agree to a pixel: neighbours go to different heights.
    [place + (0.09 * (i * 2 % 5) - 0.3) * (count > 1) for i in range(count)],
    s=4 if count > MANY_DOTS else 10,
    color=THEME['paper'],
    edgecolors=ink,
    linewidths=0.6,
    alpha=0.6 if count > MANY_DOTS else 0.8,
    zorder=3,
  )
  if score.deviation is not None:
    mean, deviation = 100 * score.mean, 100 * score.deviation
    axes.errorbar(
      mean,
      place + 0.26,
      xerr=[[min(deviation, mean)], [min(deviation, end - mean)]],
      color=ink,
      linewidth=0.9,
      capsize=2.5,
      capthick=0.9,
    )


def _write_bar(axes: Axes, score: Score, place: int) -> None:
  """Writes what the bar is for and its numbers."""
  ink, soft = THEME['ink'], THEME['soft']
  spread = '' if score.deviation is None else f'± {percent(score.deviation)} '
  for x, y, text, side, size, colour in (
    (0, -0.18, score.name, 'left', 10, ink),
    (0, 0.22, score.detail, 'left', 8.5, soft),
    (0.26, 0, percent(score.mean), 'right', 15, ink),
    (0.267, 0, f'{spread}%', 'left', 9.5, soft),
  ):
    axes.text(
      (x - _LEFT) / (_RIGHT - _LEFT),
      place + y,
      text,
      fontsize=size,
      color=colour,
      horizontalalignment=side,
      verticalalignment='center_baseline',
      transform=axes.get_yaxis_transform(),
    )


def _over_steps(title: str) -> tuple[Figure, Axes]:
  from matplotlib.figure import Figure

  figure = Figure(figsize=(WIDTH, _HEIGHT), layout='constrained')
  axes = figure.add_subplot(title=title, xlabel='Step')
  axes.locator_params(nbins=6, steps=[1, 2, 5, 10])
  axes.locator_params(axis='x', integer=True)
  axes.xaxis.set_major_formatter('{x:,.9g}')
  axes.yaxis.set_major_formatter('{x:,.7g}')
  return figure, axes


def _set_logarithmic(axes: Axes, ratio: float) -> None:
  """Makes the vertical axis logarithmic, for values that far apart."""
  from matplotlib.ticker import LogLocator, NullLocator

  axes.set_yscale('log')
  # Powers of ten alone would be few.
  factors = (1, 2, 5) if ratio < 1000 else (1,)
  axes.yaxis.set_major_locator(LogLocator(subs=factors))
  axes.yaxis.set_minor_locator(NullLocator())
  axes.yaxis.set_major_formatter('{x:,.7g}')


def _extremes(y: np.ndarray, parts: int) -> np.ndarray:
  """Returns the places of few points that keep the curve's highs and lows."""
  places = np.arange(len(y))
  if len(y) <= 2 * parts:
    return places
  kept = []
  for part in np.array_split(places, parts):
    kept += sorted({part[y[part].argmin()], part[y[part].argmax()]})
  return np.array(kept)


def _smoothed(y: np.ndarray) -> np.ndarray:
  """Returns the mean over a window of a fifteenth, less at both ends."""
  half = max(1, len(y) // 30)
  sums = np.concatenate([[0.0], np.cumsum(y)])
  i = np.arange(len(y))
  first, end = np.maximum(i - half, 0), np.minimum(i + half + 1, len(y))
  return (sums[end] - sums[first]) / (end - first)
