from typing import Any

import numpy as np
import pytest

from dm_jax.report.charts import (
  MAX_POINTS,
  loss_chart,
  score_chart,
  validation_chart,
)
from dm_jax.report.scores import Score


def marks(figure) -> list[Any]:
  """Returns the dots of every bar, and its deviation if it has one."""
  (axes,) = figure.axes
  return axes.collections


def across(spread):
  """Returns where a deviation starts and ends."""
  (segment,) = spread.get_segments()
  return segment[:, 0].tolist()


def lines(figure) -> list[Any]:
  """Returns the points [N, 2] of every line of a figure's only axes."""
  (axes,) = figure.axes
  return [line.get_xydata() for line in axes.lines]


def bars(figure):
  """Returns how far each bar reaches, every other one the empty track."""
  (axes,) = figure.axes
  return [patch.get_x() + patch.get_width() for patch in axes.patches]


def texts(figure):
  return [text.get_text() for text in figure.axes[0].texts]


def legends(figure):
  return [text.get_text() for one in figure.legends for text in one.get_texts()]


def by_step(losses):
  return {'loss': dict(enumerate(losses))}


def test_a_bar_is_as_long_as_its_accuracy():
  score = Score('synthetic', '10 per class', 0.4, 0.05, [0.35, 0.45])
  figure = score_chart([score], chance=0.1)
  (axes,) = figure.axes
  assert axes.get_xlim() == (0, 50)
  assert bars(figure) == pytest.approx([50, 40])
  dots, spread = marks(figure)
  np.testing.assert_allclose(dots.get_offsets()[:, 0], [35, 45])
  assert len(set(dots.get_offsets()[:, 1])) == 2
  assert across(spread) == pytest.approx([35, 45])
  np.testing.assert_allclose(lines(figure)[-1][:, 0], [10, 10])
  assert texts(figure) == ['synthetic', '10 per class', '40.0', '± 5.0 %']


def test_one_network_has_a_dot_in_the_middle_and_no_spread():
  figure = score_chart([Score('whole set', '', 0.4, None, [0.4])])
  (dots,) = marks(figure)
  np.testing.assert_allclose(dots.get_offsets(), [[40, 0]])
  assert texts(figure)[2:] == ['40.0', '%']
  assert lines(figure) == []


def test_a_deviation_ends_where_the_axis_does():
  figure = score_chart([Score('a', '', 0.97, 0.05), Score('b', '', 0.02, 0.05)])
  _, high, _, low = marks(figure)
  assert across(high) == pytest.approx([92, 100])
  assert across(low) == pytest.approx([0, 7])


@pytest.mark.parametrize(
  ('highest', 'end'), [(0.09, 10), (0.1, 10), (0.11, 20), (0.6, 100)]
)
def test_the_axis_fits_the_longest_bar(highest, end):
  figure = score_chart([Score('a', '', 0.01), Score('b', '', highest)])
  (axes,) = figure.axes
  figure.draw_without_rendering()
  assert axes.get_xlim() == (0, end)
  assert axes.get_xticklabels()[-1].get_text() == f'{end} %'


def test_the_texts_of_a_bar_stand_beside_each_other():
  widest = Score('early stopping', '1,281,167 images', 1.0, 0.1)
  figure = score_chart([widest, Score('herding', '1 per class', 0.1)])
  (axes,) = figure.axes
  parts = [*axes.texts, axes.patch]
  boxes = [part.get_window_extent() for part in parts]
  for i, box in enumerate(boxes):
    assert not any(box.overlaps(other) for other in boxes[:i])
    assert box.x0 >= 0
    assert box.y1 <= figure.bbox.y1


def test_many_dots_are_smaller():
  few, many = (
    marks(score_chart([Score('a', '', 0.4, 0.0, [0.4] * count)]))[0]
    for count in (20, 21)
  )
  assert many.get_sizes() < few.get_sizes()
  assert len(many.get_offsets()) == 21


def test_the_runs_own_bar_stands_out():
  others = [Score('herding', '', 0.4, own=True)] + [Score('a', '', 0.3)] * 2
  _, own, _, one, _, two = score_chart(others).axes[0].patches
  assert own.get_facecolor() != one.get_facecolor() == two.get_facecolor()


def test_a_small_range_is_drawn_linearly():
  figure = loss_chart({'loss': {0: 3.0, 50: 2.0, 100: 1.0}})
  (axes,) = figure.axes
  assert axes.get_yscale() == 'linear'
  assert axes.get_title(loc='left') == 'Loss'
  assert axes.get_xlim() == (0, 100)
  measured, smoothed = lines(figure)
  np.testing.assert_allclose(measured, [[0, 3], [50, 2], [100, 1]])
  # Means over a point and its neighbours.
  np.testing.assert_allclose(smoothed, [[0, 2.5], [50, 2], [100, 1.5]])
  assert legends(figure) == []


def test_a_large_range_is_drawn_logarithmically():
  figure = loss_chart({'loss': {0: 1000.0, 1000: 100.0, 2000: 10.0}})
  (axes,) = figure.axes
  assert axes.get_yscale() == 'log'
  assert axes.get_title(loc='left') == 'Loss, logarithmic'
  shown = [label.get_text() for label in axes.get_yticklabels()]
  assert {'10', '20', '50', '1,000'} <= set(shown)
  # Geometric means.
  np.testing.assert_allclose(
    lines(figure)[1][:, 1], [10**2.5, 100, 10**1.5], rtol=1e-12
  )


@pytest.mark.parametrize(
  'losses', [[0.0, 100.0], [-1.0, 100.0], [5.0, 5.0], [0.0, 0.0]]
)
def test_zero_and_negative_losses_are_drawn_linearly(losses):
  figure = loss_chart(by_step(losses))
  assert figure.axes[0].get_yscale() == 'linear'
  assert lines(figure)[0][:, 1].tolist() == losses
  low, high = figure.axes[0].get_ylim()
  assert low < min(losses) <= max(losses) < high


def test_smoothing_keeps_a_constant_and_calms_noise():
  _, smoothed = lines(loss_chart(by_step(np.full(900, 2.0))))
  np.testing.assert_allclose(smoothed[:, 1], 2)
  noise = np.random.default_rng(0).uniform(1, 2, 900)
  measured, smoothed = lines(loss_chart(by_step(noise)))
  assert smoothed[:, 1].std() < 0.3 * measured[:, 1].std()


def test_long_runs_are_thinned_but_keep_their_extremes():
  losses = np.random.default_rng(0).uniform(1, 2, 100_000)
  losses[54_321] = 9.0
  measured, smoothed = lines(loss_chart(by_step(losses)))
  assert len(measured) <= 2 * MAX_POINTS
  assert len(smoothed) <= MAX_POINTS
  assert [54_321, 9] in measured.tolist()
  assert (np.diff(measured[:, 0]) > 0).all()


def test_losses_of_several_names_have_a_legend_and_share_the_points():
  losses = np.random.default_rng(0).uniform(1, 2, 10_000)
  named = {'loss': losses, '$mean$': losses / 2, 'cross entropy': losses * 2}
  figure = loss_chart({n: dict(enumerate(curve)) for n, curve in named.items()})
  assert legends(figure) == ['loss', '$mean$', 'cross entropy']
  drawn = figure.axes[0].lines
  assert len(drawn) == 6
  assert sum(map(len, lines(figure))) <= 3 * MAX_POINTS
  colours = [line.get_color() for line in drawn]
  assert colours[::2] == colours[1::2]
  assert len(set(colours)) == 3


def test_validation_has_a_line_for_each_name():
  figure = validation_chart(
    {'1 per class': {500: 0.2, 1000: 0.3}, '10 per class': {500: 0.4}}
  )
  one, ten = lines(figure)
  np.testing.assert_allclose(one, [[500, 20], [1000, 30]])
  np.testing.assert_allclose(ten, [[500, 40]])
  assert figure.axes[0].get_xlim() == (0, 1000)
  assert legends(figure) == ['1 per class', '10 per class']


@pytest.mark.parametrize('step', [0, 1, 500])
def test_validation_may_have_been_measured_once(step):
  figure = validation_chart({'1 per class': {step: 0.2}})
  (axes,) = figure.axes
  assert axes.get_xlim() == (0, max(1, step))
  assert axes.lines[0].get_marker() == 'o'
  assert all('.' not in label.get_text() for label in axes.get_xticklabels())
