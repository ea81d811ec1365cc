import hashlib
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image
import pytest

from dm_jax.report.continual import Curve, accuracy_curves
from dm_jax.report.figures import PIXELS_PER_INCH, WIDTH, save_figure
from dm_jax.report.search import Ranking, ranking_scatter

CURVES = (
  Curve('DM', (2, 4), (0.98, 0.9), (0.01, None)),
  Curve('random real', (2, 4), (0.97, 0.75)),
  Curve('herding', (2, 4), (0.96, 0.85), (0.05, 0.02)),
)
RANKINGS = (
  Ranking('DM', (0.2, 0.6, 0.4), (0.9, 0.98, 0.95), picked=1, spearman=-0.5),
  Ranking('random real', (0.3, 0.3, 0.3), (0.7, 0.98, 0.95)),
)


def words(figure):
  """Every text of the figure's axes, and those of its legend."""
  (legend,) = figure.legends
  return [text.get_text() for text in legend.get_texts()]


def points(collection):
  return np.asarray(collection.get_offsets()).tolist()


def digests(figure, folder):
  paths = save_figure(figure, folder, 'name')
  return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_each_method_has_a_line_of_percents_over_classes():
  (axes,) = accuracy_curves(CURVES).axes
  assert [line.get_label() for line in axes.lines] == [
    'DM',
    'random real',
    'herding',
  ]
  assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [
    [2, 4]
  ] * 3
  heights = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
  assert heights == [[98, 90], [97, 75], [96, 85]]
  assert axes.get_xlabel() == 'Classes seen'
  assert '%' in axes.get_ylabel()


def test_lines_differ_in_colour_and_in_marker():
  figure = accuracy_curves(CURVES)
  (axes,) = figure.axes
  assert len({line.get_color() for line in axes.lines}) == 3
  assert len({line.get_marker() for line in axes.lines}) == 3
  assert words(figure) == ['DM', 'random real', 'herding']


def test_bands_reach_one_deviation_up_and_down():
  (axes,) = accuracy_curves(CURVES).axes
  assert len(axes.collections) == 2
  corners = np.asarray(axes.collections[0].get_paths()[0].vertices)
  at_two = corners[corners[:, 0] == 2][:, 1]
  at_four = corners[corners[:, 0] == 4][:, 1]
  assert (at_two.min(), at_two.max()) == pytest.approx((97, 99))
  assert (at_four.min(), at_four.max()) == pytest.approx((90, 90))


def test_the_axis_ends_at_100_percent_where_a_band_does_not():
  (axes,) = accuracy_curves(CURVES[2:]).axes
  assert axes.get_ylim()[1] == 100
  band = np.asarray(axes.collections[0].get_paths()[0].vertices)
  assert band[:, 1].max() == pytest.approx(101)


@pytest.mark.parametrize(
  ('steps', 'ticks'),
  [(2, [5, 10]), (20, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100])],
)
def test_of_many_steps_every_other_one_is_labelled(steps, ticks):
  classes = [5 * step for step in range(1, steps + 1)]
  (axes,) = accuracy_curves([Curve('DM', classes, [0.5] * steps)]).axes
  assert sorted(axes.get_xticks()) == ticks


@pytest.mark.parametrize(
  'curve',
  [
    Curve('DM', (2, 4), (0.9,)),
    Curve('DM', (2, 4), (0.9, 0.8), (0.1,)),
  ],
)
def test_a_curve_of_other_lengths_is_refused(curve):
  with pytest.raises(ValueError, match='argument|dimension'):
    accuracy_curves([curve])


def test_each_ranking_has_a_panel_with_a_dot_for_each_architecture():
  left, right = ranking_scatter(RANKINGS).axes
  dots, picked = left.collections
  np.testing.assert_allclose(points(dots), [[20, 90], [60, 98], [40, 95]])
  np.testing.assert_allclose(points(picked), [[60, 98]])
  (dots,) = right.collections
  np.testing.assert_allclose(points(dots), [[30, 70], [30, 98], [30, 95]])
  assert left.get_ylim() == right.get_ylim()


def test_titles_have_the_correlation_or_say_that_there_is_none():
  figure = ranking_scatter(RANKINGS)
  assert [axes.get_title() for axes in figure.axes] == [
    'DM\nSpearman −0.50',
    'random real\nSpearman undefined',
  ]
  assert words(figure) == ['an architecture', 'picked by the search']
  assert words(ranking_scatter(RANKINGS[1:])) == ['an architecture']


@pytest.mark.parametrize(
  ('panels', 'rows', 'columns'), [(1, 1, 1), (3, 1, 3), (4, 2, 2), (5, 2, 3)]
)
def test_panels_stand_in_rows(panels, rows, columns):
  figure = ranking_scatter(RANKINGS[:1] * panels)
  assert len(figure.axes) == panels
  grid = figure.axes[0].get_subplotspec()
  assert grid is not None
  assert grid.get_geometry()[:2] == (rows, columns)


def test_a_ranking_of_other_lengths_is_refused():
  with pytest.raises(ValueError, match='size'):
    ranking_scatter([Ranking('DM', (0.2, 0.6), (0.9,))])


def test_nothing_overlaps_and_nothing_is_cut_off():
  for figure in (accuracy_curves(CURVES), ranking_scatter(RANKINGS * 2)):
    parts = [*figure.axes, *figure.legends, *figure.texts]
    boxes = [box for part in parts if (box := part.get_tightbbox())]
    assert len(boxes) == len(parts)
    for i, box in enumerate(boxes):
      assert not any(box.overlaps(other) for other in boxes[:i])
      assert box.x0 >= 0
      assert box.y0 >= 0
      assert box.x1 <= figure.bbox.x1
      assert box.y1 <= figure.bbox.y1


def test_files_are_whole_and_large_enough(tmp_path):
  paths = save_figure(accuracy_curves(CURVES), tmp_path / 'a' / 'b', 'curves')
  folder = tmp_path / 'a' / 'b'
  assert paths == (folder / 'curves.svg', folder / 'curves.png')
  assert sorted(path.name for path in folder.iterdir()) == [
    'curves.png',
    'curves.svg',
  ]
  with Image.open(paths[1]) as picture:
    assert picture.width == WIDTH * PIXELS_PER_INCH
  svg = paths[0].read_text('utf-8')
  assert svg.rstrip().endswith('</svg>')
  # Letters are shapes, so that no font is asked for.
  assert '<text' not in svg


@pytest.mark.parametrize(
  ('make', 'data'), [(accuracy_curves, CURVES), (ranking_scatter, RANKINGS)]
)
def test_the_same_figure_gives_the_same_bytes(tmp_path, make, data):
  figure = make(data)
  first = digests(figure, tmp_path)
  assert digests(figure, tmp_path) == first
  assert digests(make(data), tmp_path) == first
  assert digests(make(data[:1]), tmp_path) != first


def test_bytes_do_not_depend_on_the_date(tmp_path, monkeypatch):
  monkeypatch.setenv('SOURCE_DATE_EPOCH', '0')
  first = digests(accuracy_curves(CURVES), tmp_path)
  monkeypatch.setenv('SOURCE_DATE_EPOCH', '1000000000')
  assert digests(accuracy_curves(CURVES), tmp_path) == first


def test_own_settings_neither_change_figures_nor_are_changed(tmp_path):
  first = digests(accuracy_curves(CURVES), tmp_path)
  own = {'font.size': 30.0, 'axes.facecolor': 'black', 'svg.fonttype': 'none'}
  with mpl.rc_context(own):
    before = dict(mpl.rcParams)
    assert digests(accuracy_curves(CURVES), tmp_path) == first
    assert dict(mpl.rcParams) == before


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
  path, _ = save_figure(accuracy_curves(CURVES), tmp_path, 'curves')
  before = path.read_bytes()
  figure = accuracy_curves(CURVES[:1])

  def half(file, **_):
    file.write(b'half')
    raise OSError('no space')

  monkeypatch.setattr(figure, 'savefig', half)
  with pytest.raises(OSError, match='no space'):
    save_figure(figure, tmp_path, 'curves')
  assert path.read_bytes() == before
  assert len(list(Path(tmp_path).iterdir())) == 2
