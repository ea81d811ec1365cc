import hashlib

import matplotlib as mpl
from PIL import Image
import pytest

from dm_jax.report.continual import Curve, accuracy_curves
from dm_jax.report.figures import (
  PIXELS_PER_INCH,
  WIDTH,
  save_figure,
)
from dm_jax.report.search import Ranking, ranking_scatter

CURVES = (
  Curve('DM', (2, 4), (0.98, 0.9), (0.01, None)),
  Curve('random real', (2, 4), (0.97, 0.75)),
)
RANKINGS = (
  Ranking('DM', (0.2, 0.6, 0.4), (0.9, 0.98, 0.95), picked=1, spearman=-0.5),
  Ranking('random real', (0.3, 0.3, 0.3), (0.7, 0.98, 0.95)),
)


@pytest.fixture(scope='module')
def curves():
  return accuracy_curves(CURVES)


@pytest.fixture(scope='module')
def scatter():
  return ranking_scatter(RANKINGS * 2)


@pytest.fixture(scope='module')
def saved(curves, tmp_path_factory):
  """The paths of a figure's files, in a folder that was not there."""
  folder = tmp_path_factory.mktemp('figures') / 'a' / 'b'
  return save_figure(curves, folder, 'curves')


def digests(figure, folder):
  paths = save_figure(figure, folder, 'name')
  return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


@pytest.fixture(scope='module')
def long_names():
  """More than one line of names, and one that takes most of a line."""
  names = ('random real, stored alike', 'recipe trajectory_short', 'a' * 60)
  lines = (Curve(name, (2, 4), (0.97, 0.75)) for name in names)
  return accuracy_curves([*CURVES, *lines])


def test_nothing_overlaps_and_nothing_is_cut_off(curves, scatter, long_names):
  for figure in (curves, scatter, long_names):
    parts = [*figure.axes, *figure.legends, *figure.texts]
    boxes = [box for part in parts if (box := part.get_tightbbox())]
    assert len(boxes) == len(parts)
    for i, box in enumerate(boxes):
      assert not any(box.overlaps(other) for other in boxes[:i])
      assert box.x0 >= 0
      assert box.y0 >= 0
      assert box.x1 <= figure.bbox.x1
      assert box.y1 <= figure.bbox.y1


def test_files_are_whole_and_large_enough(saved):
  svg, png = saved
  assert [path.name for path in saved] == ['curves.svg', 'curves.png']
  assert sorted(svg.parent.iterdir()) == sorted(saved)
  with Image.open(png) as picture:
    assert picture.width == WIDTH * PIXELS_PER_INCH
  text = svg.read_text('utf-8')
  assert text.rstrip().endswith('</svg>')
  # Letters are shapes, so that no font is asked for.
  assert '<text' not in text


def test_the_same_figure_gives_the_same_bytes(saved, curves, tmp_path):
  first = [hashlib.sha256(path.read_bytes()).hexdigest() for path in saved]
  assert digests(curves, tmp_path) == first
  assert digests(accuracy_curves(CURVES), tmp_path) == first
  assert digests(accuracy_curves(CURVES[:1]), tmp_path) != first


def test_the_same_panels_give_the_same_bytes(scatter, tmp_path):
  first = digests(scatter, tmp_path)
  assert digests(scatter, tmp_path) == first
  assert digests(ranking_scatter(RANKINGS * 2), tmp_path) == first


def test_bytes_do_not_depend_on_the_date(saved, curves, tmp_path, monkeypatch):
  first = [hashlib.sha256(path.read_bytes()).hexdigest() for path in saved]
  monkeypatch.setenv('SOURCE_DATE_EPOCH', '1000000000')
  assert digests(curves, tmp_path) == first


def test_own_settings_neither_change_figures_nor_are_changed(saved, tmp_path):
  first = [hashlib.sha256(path.read_bytes()).hexdigest() for path in saved]
  own = {'font.size': 30.0, 'axes.facecolor': 'black', 'svg.fonttype': 'none'}
  with mpl.rc_context(own):
    before = dict(mpl.rcParams)
    assert digests(accuracy_curves(CURVES), tmp_path) == first
    assert dict(mpl.rcParams) == before


def test_a_failed_write_leaves_what_was_there(saved, monkeypatch):
  path, _ = saved
  before = path.read_bytes()
  figure = ranking_scatter(RANKINGS[:1])

  def half(file, **_):
    file.write(b'half')
    raise OSError('no space')

  monkeypatch.setattr(figure, 'savefig', half)
  with pytest.raises(OSError, match='no space'):
    save_figure(figure, path.parent, 'curves')
  assert path.read_bytes() == before
  assert len(list(path.parent.iterdir())) == 2
