"""The charts of a report, as HTML that needs no script and no other file.

Positions are percentages and texts stay HTML, so that a chart fills a wide page
and a phone alike and its labels keep their size. `report_template.html` holds
the style.
"""

from collections.abc import Mapping, Sequence
from html import escape
import math

import numpy as np
from numpy.typing import ArrayLike

from dm_jax.report.scores import Score
from dm_jax.words import percent

# Points of a curve; more would only make the page larger.
MAX_POINTS = 600
# Dots of a bar beyond which they are drawn smaller.
MANY_DOTS = 20
# Losses further apart than this factor are drawn on a logarithmic axis.
LINEAR_RANGE = 20
_WIDTH, _HEIGHT = 1000, 300


def bars(scores: Sequence[Score], chance: float | None = None) -> str:
  """Returns horizontal bars with deviations and a dot for each network.

  Args:
    scores: at least one, drawn in this order.
    chance: accuracy of guessing, in [0, 1]; None draws no line for it.
  """
  highest = max(
    accuracy
    for score in scores
    for accuracy in (score.mean + (score.deviation or 0), *score.accuracies)
  )
  top = next(t for t in (0.1, 0.2, 0.5, 1.0) if highest <= t or t == 1)
  rows = [_bar(score, chance, top) for score in scores]
  ticks = [
    f'<span class="tick" style="left:{i * 20}%">{i * top * 20:g} %</span>'
    for i in range(6)
  ]
  axis = (
    '<div class="bar axis"><div></div><div class="track">'
    f'{"".join(ticks)}</div><div></div></div>'
  )
  return f'<div class="bars">{"".join(rows)}{axis}</div>'


def _bar(score: Score, chance: float | None, top: float) -> str:
  def at(accuracy: float) -> str:
    return f'{100 * min(max(accuracy / top, 0), 1):.2f}%'

  marks = []
  if chance is not None:
    marks.append(f'<i class="chance" style="left:{at(chance)}"></i>')
  dot = 'dot many' if len(score.accuracies) > MANY_DOTS else 'dot'
  for i, accuracy in enumerate(score.accuracies):
    # Networks often agree to a pixel: neighbours go to different heights.
    height = 50 if len(score.accuracies) == 1 else 12 + 11 * (i * 2 % 5)
    marks.append(
      f'<i class="{dot}" style="left:{at(accuracy)};top:{height}%"></i>'
    )
  spread = ''
  if score.deviation is not None:
    low, high = score.mean - score.deviation, score.mean + score.deviation
    right = f'{100 - float(at(high)[:-1]):.2f}%'
    marks.append(f'<i class="spread" style="left:{at(low)};right:{right}"></i>')
    spread = f'± {percent(score.deviation)} '
  kind = 'bar own' if score.own else 'bar'
  return (
    f'<div class="{kind}"><div class="who">{escape(score.name)} '
    f'<small>{escape(score.detail)}</small></div>'
    f'<div class="track"><div class="fill" style="width:{at(score.mean)}">'
    f'</div>{"".join(marks)}</div>'
    f'<div class="value"><b>{percent(score.mean)}</b> {spread}%</div></div>\n'
  )


def curve(steps: ArrayLike, losses: ArrayLike) -> str:
  """Returns a loss curve, as measured and smoothed.

  The vertical axis is logarithmic if the losses span a factor above 20.

  Args:
    steps: at least two numbers, ascending.
    losses: finite, one for each step.
  """
  x = np.asarray(steps, np.float64)
  y = np.asarray(losses, np.float64)
  log = y.min() > 0 and y.max() > LINEAR_RANGE * y.min()
  smooth = _smoothed(np.log(y)) if log else _smoothed(y)
  smooth = np.exp(smooth) if log else smooth
  low, high = _padded(y.min(), y.max(), log)
  ticks = _log_ticks(low, high) if log else _linear_ticks(low, high)

  def down(values):  # Vertical place, 0 at the top and 1 at the bottom.
    if log:
      return np.log(high / values) / math.log(high / low)
    return (high - values) / (high - low)

  def right(values):
    return (values - x[0]) / (x[-1] - x[0])

  y_ticks = [(float(down(t)), t) for t in ticks]
  x_ticks = [(float(right(t)), t) for t in _linear_ticks(x[0], x[-1])]
  wild = _extremes(y)
  few = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS).astype(int))
  legend = (
    f'Loss{", logarithmic" if log else ""}<i class="faint"></i>as measured'
    '<i></i>smoothed'
  )
  paths = [
    ('raw', _path(right(x[wild]), down(y[wild]))),
    ('smooth', _path(right(x[few]), down(smooth[few]))),
  ]
  return _plot('Loss by step', legend, paths, x_ticks, y_ticks)


def validation_chart(curves: Mapping[str, Mapping[int, float]]) -> str:
  """Returns accuracies over steps, a line for each name.

  Args:
    curves: by name, for each step, ascending, an accuracy in [0, 1]; at least
      one each. Steps are counted from 0.
  """
  values = [100 * y for curve in curves.values() for y in curve.values()]
  last = max(1, *(step for curve in curves.values() for step in curve))
  low, high = _padded(min(values), max(values), log=False)
  legend, paths, marks = 'Validation accuracy, %', [], []
  for i, (name, curve) in enumerate(curves.items()):
    kind = f'line{i % 4}'
    legend += f'<span><i class="{kind}"></i>{escape(name)}</span> '
    across = np.array(list(curve)) / last
    down = (high - 100 * np.array(list(curve.values()))) / (high - low)
    paths.append((f'smooth {kind}', _path(across, down)))
    # A line of a single point would not be seen.
    marks += [
      f'<b class="mark {kind}" style="left:{x:.2%};top:{y:.2%}"></b>'
      for x, y in zip(across, down, strict=True)
    ]
  whole = (t for t in _linear_ticks(0, last) if t == round(t))
  x_ticks = [(t / last, t) for t in whole]
  y_ticks = [((high - t) / (high - low), t) for t in _linear_ticks(low, high)]
  title = 'Validation accuracy by step'
  return _plot(title, legend, paths, x_ticks, y_ticks, ''.join(marks))


def _plot(title, legend, paths, x_ticks, y_ticks, marks='') -> str:
  rules = ''.join(f'M0 {_HEIGHT * p:.1f}H{_WIDTH}' for p, _ in y_ticks)
  lines = ''.join(f'<path class="{kind}" d="{d}"/>' for kind, d in paths)
  labels = [
    f'<span class="tick y" style="top:{100 * p:.1f}%">{t:,.7g}</span>'
    for p, t in y_ticks
  ] + [
    f'<span class="tick x" style="left:{100 * p:.1f}%">{t:,.9g}</span>'
    for p, t in x_ticks
  ]
  return (
    f'<p class="legend">{legend}</p>'
    f'<div class="plot"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" '
    f'preserveAspectRatio="none" role="img" aria-label="{title}">'
    f'<path class="rule" d="{rules}"/>{lines}</svg>{marks}{"".join(labels)}'
    '</div><p class="legend abscissa">Step</p>'
  )


def _path(across: np.ndarray, down: np.ndarray) -> str:
  points = zip(across * _WIDTH, down * _HEIGHT, strict=True)
  return 'M' + 'L'.join(f'{x:.1f} {y:.1f}' for x, y in points)


def _extremes(y: np.ndarray) -> np.ndarray:
  """Returns the places of few points that keep the curve's highs and lows."""
  places = np.arange(len(y))
  if len(y) <= 2 * MAX_POINTS:
    return places
  kept = []
  for part in np.array_split(places, MAX_POINTS):
    kept += sorted({part[y[part].argmin()], part[y[part].argmax()]})
  return np.array(kept)


def _smoothed(y: np.ndarray) -> np.ndarray:
  """Returns the mean over a window of a fifteenth, less at both ends."""
  half = max(1, len(y) // 30)
  sums = np.concatenate([[0.0], np.cumsum(y)])
  i = np.arange(len(y))
  first, end = np.maximum(i - half, 0), np.minimum(i + half + 1, len(y))
  return (sums[end] - sums[first]) / (end - first)


def _padded(low: float, high: float, log: bool) -> tuple[float, float]:
  """Returns a range with some air above and below."""
  if log:
    factor = (high / low) ** 0.05
    return low / factor, high * factor
  air = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
  return low - air, high + air


def _linear_ticks(low: float, high: float) -> list[float]:
  """Returns about five round numbers from low to high."""
  rough = (high - low) / 5
  power = 10 ** math.floor(math.log10(rough))
  step = power * min(m for m in (1, 2, 5, 10) if m * power >= 0.9 * rough)
  first = math.ceil(low / step - 1e-9)
  last = math.floor(high / step + 1e-9)
  return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
  """Returns powers of ten, and twice and five times them if those are few."""
  powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  factors = (1, 2, 5) if high / low < 1000 else (1,)
  ticks = [factor * 10.0**power for power in powers for factor in factors]
  return [tick for tick in ticks if low <= tick <= high]
