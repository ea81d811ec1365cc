import re

import numpy as np
import pytest

from dm_jax.report.charts import MAX_POINTS, bars, curve, validation_chart
from dm_jax.report.scores import Score


def ticks(html, axis):
  return re.findall(rf'tick {axis}" style="\w+:([\d.]+)%">([^<]+)<', html)


def points(html, name):
  (path,) = re.findall(rf'class="{name}" d="M([^"]+)"', html)
  return np.array([xy.split() for xy in path.split('L')], float)


def test_a_bar_is_as_long_as_its_accuracy():
  html = bars([Score('synthetic', '', 0.4, 0.05, [0.35, 0.45])], chance=0.1)
  # The axis ends at 50 %.
  assert 'class="fill" style="width:80.00%"' in html
  assert 'class="spread" style="left:70.00%;right:10.00%"' in html
  assert re.findall('class="dot" style="left:([^;]+);', html) == [
    '70.00%',
    '90.00%',
  ]
  assert 'class="chance" style="left:20.00%"' in html
  assert re.findall('class="tick" style="left:100%">([^<]+)<', html) == ['50 %']
  assert '<b>40.0</b> ± 5.0 %' in html


@pytest.mark.parametrize(
  ('highest', 'end'), [(0.09, '10 %'), (0.11, '20 %'), (0.6, '100 %')]
)
def test_the_axis_fits_the_longest_bar(highest, end):
  html = bars([Score('a', '', 0.01), Score('b', '', highest)])
  assert f'left:100%">{end}<' in html
  assert 'chance' not in html


def test_a_small_range_is_drawn_linearly():
  html = curve([0, 50, 100], [3.0, 2.0, 1.0])
  assert 'logarithmic' not in html
  assert ticks(html, 'x') == [
    ('0.0', '0'),
    ('20.0', '20'),
    ('40.0', '40'),
    ('60.0', '60'),
    ('80.0', '80'),
    ('100.0', '100'),
  ]
  assert [label for _, label in ticks(html, 'y')] == [
    '1',
    '1.5',
    '2',
    '2.5',
    '3',
  ]
  np.testing.assert_allclose(
    points(html, 'raw'), [[0, 13.6], [500, 150], [1000, 286.4]]
  )


def test_a_large_range_is_drawn_logarithmically():
  html = curve([0, 1000, 2000], [1000.0, 100.0, 10.0])
  assert 'Loss, logarithmic' in html
  assert ticks(html, 'y')[1] == ('81.8', '20')
  assert points(html, 'raw')[1].tolist() == [500, 150]


def test_zero_and_negative_losses_are_drawn_linearly():
  for losses in ([0.0, 100.0], [-1.0, 100.0], [5.0, 5.0], [0.0, 0.0]):
    html = curve([1, 2], losses)
    assert 'logarithmic' not in html
    assert np.isfinite(points(html, 'raw')).all()


def test_smoothing_keeps_a_constant_and_calms_noise():
  steps = np.arange(900)
  np.testing.assert_allclose(
    points(curve(steps, np.full(900, 2.0)), 'smooth')[:, 1], 150
  )
  noise = np.random.default_rng(0).uniform(1, 2, 900)
  html = curve(steps, noise)
  assert points(html, 'smooth')[:, 1].std() < 0.3 * points(html, 'raw').std()


def test_long_runs_are_thinned_but_keep_their_extremes():
  losses = np.random.default_rng(0).uniform(1, 2, 100_000)
  losses[54_321] = 9.0
  html = curve(np.arange(100_000), losses)
  raw = points(html, 'raw')
  assert len(raw) <= 2 * MAX_POINTS
  assert len(points(html, 'smooth')) <= MAX_POINTS
  assert raw[raw[:, 1].argmin(), 0] == pytest.approx(543.2, abs=0.1)
  assert (np.diff(raw[:, 0]) >= 0).all()


def test_many_dots_are_smaller():
  few, many = ([0.4] * count for count in (20, 21))
  assert 'many' not in bars([Score('a', '', 0.4, 0.0, few)])
  assert bars([Score('a', '', 0.4, 0.0, many)]).count('dot many') == 21


def test_the_runs_own_bar_stands_out():
  html = bars([Score('herding', '', 0.4, own=True), Score('a', '', 0.3)])
  assert html.count('class="bar own"') == 1


def test_validation_has_a_line_for_each_name():
  html = validation_chart(
    {'1 per class': {500: 0.2, 1000: 0.3}, '<10>': {500: 0.4, 1000: 0.5}}
  )
  # From step 0; from 18.5 to 51.5 % with some air.
  np.testing.assert_allclose(
    points(html, 'smooth line0'), [[500, 286.4], [1000, 195.5]]
  )
  np.testing.assert_allclose(
    points(html, 'smooth line1'), [[500, 104.5], [1000, 13.6]]
  )
  assert html.count('<b class="mark line1"') == 2
  assert '&lt;10&gt;' in html
  assert [label for _, label in ticks(html, 'y')] == ['20', '30', '40', '50']


def test_validation_may_have_been_measured_once():
  for step in (0, 1, 500):
    html = validation_chart({'1 per class': {step: 0.2}})
    assert np.isfinite(points(html, 'smooth line0')).all()
    assert all('.' not in label for _, label in ticks(html, 'x'))
