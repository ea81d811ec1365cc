import hashlib
from pathlib import Path
import re
from xml.etree import ElementTree

import matplotlib as mpl
from PIL import Image
import pytest

from dm_jax.report.charts import loss_chart, score_chart, validation_chart
from dm_jax.report.continual import Curve, accuracy_curves
from dm_jax.report.figures import (
  PIXELS_PER_INCH,
  THEME,
  WIDTH,
  inline_svg,
  save_figure,
)
from dm_jax.report.scores import Score
from dm_jax.report.search import Ranking, ranking_scatter

CURVES = (
  Curve('DM', (2, 4), (0.98, 0.9), (0.01, None)),
  Curve('random real', (2, 4), (0.97, 0.75)),
)
RANKINGS = (
  Ranking('DM', (0.2, 0.6, 0.4), (0.9, 0.98, 0.95), picked=1, spearman=-0.5),
  Ranking('random real', (0.3, 0.3, 0.3), (0.7, 0.98, 0.95)),
)
SCORES = [Score('<b> & "$x$"', '10 per class', 0.4, 0.1, (0.3, 0.4, 0.5))]
TEMPLATE = Path(__file__).parents[2] / 'dm_jax/report/template.html'


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


@pytest.fixture(scope='module')
def inlined():
  """The inline SVG of every kind of chart, by the name of its ids."""
  losses = {step: 100.0 / (step + 1) for step in range(60)}
  charts = {
    'scores': score_chart(SCORES * 2, chance=0.1),
    'loss': loss_chart({'loss': losses, 'mean': losses}),
    'validation': validation_chart({'a': {0: 0.2, 9: 0.3}, 'b': {9: 0.5}}),
  }
  return {
    name: inline_svg(chart, name, f'{name} by step', '<i> & "j"')
    for name, chart in charts.items()
  }


def digests(figure, folder):
  paths = save_figure(figure, folder, 'name')
  return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_nothing_overlaps_and_nothing_is_cut_off(curves, scatter):
  for figure in (curves, scatter):
    parts = [*figure.axes, *figure.legends, *figure.texts]
    boxes = [box for part in parts if (box := part.get_tightbbox())]
    assert len(boxes) == len(parts)
    for i, box in enumerate(boxes):
      assert not any(box.overlaps(other) for other in boxes[:i])
      assert box.x0 >= 0
      assert box.y0 >= 0
      assert box.x1 <= figure.bbox.x1
      assert box.y1 <= figure.bbox.y1


def test_the_texts_of_a_bar_stand_beside_each_other():
  widest = Score('early stopping', '1,281,167 images', 1.0, 0.1)
  figure = score_chart([widest, *SCORES])
  (axes,) = figure.axes
  parts = [*axes.texts, axes.patch]
  boxes = [part.get_window_extent() for part in parts]
  for i, box in enumerate(boxes):
    assert not any(box.overlaps(other) for other in boxes[:i])
    assert box.x0 >= 0
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


def test_own_settings_neither_change_figures_nor_are_changed(
  saved, inlined, tmp_path
):
  first = [hashlib.sha256(path.read_bytes()).hexdigest() for path in saved]
  own = {'font.size': 30.0, 'axes.facecolor': 'black', 'svg.fonttype': 'none'}
  with mpl.rc_context(own):
    before = dict(mpl.rcParams)
    assert digests(accuracy_curves(CURVES), tmp_path) == first
    chart = score_chart(SCORES * 2, chance=0.1)
    svg = inline_svg(chart, 'scores', 'scores by step', '<i> & "j"')
    assert svg == inlined['scores']
    assert dict(mpl.rcParams) == before


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, saved):
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


def test_a_chart_is_named_and_described(inlined):
  for name, svg in inlined.items():
    root = ElementTree.fromstring(svg)
    assert root.tag == 'svg'
    assert root.get('role') == 'img'
    title, description = list(root)[:2]
    assert (title.tag, title.text) == ('title', f'{name} by step')
    assert (description.tag, description.text) == ('desc', '<i> & "j"')
    named = (root.get('aria-labelledby') or '').split()
    assert named == [title.get('id'), description.get('id')]


def test_a_charts_text_is_text_in_the_pages_font(inlined):
  root = ElementTree.fromstring(inlined['scores'])
  texts = [text.text for text in root.iter('text')]
  assert '<b> & "$x$"' in texts
  assert '40.0' in texts
  assert 'font-family' not in ''.join(inlined.values())


def test_a_charts_colours_are_those_of_the_page(inlined):
  light, dark, printed = (
    dict(re.findall(r'--([\w-]+): (#\w+);', theme))
    for theme in re.findall(r':root \{([^}]+)\}', TEMPLATE.read_text('utf-8'))
  )
  assert THEME.items() <= light.items()
  assert THEME.keys() <= dark.keys() & printed.keys()
  used = ''.join(inlined.values())
  assert re.search(': ?#', used) is None
  assert set(re.findall(r'var\(--(\w+)\)', used)) <= THEME.keys()
  assert 'var(--accent)' in used


def test_charts_of_one_page_meet_neither_each_other_nor_its_style(inlined):
  ids = [
    part.get('id')
    for svg in inlined.values()
    for part in ElementTree.fromstring(svg).iter()
    if part.get('id')
  ]
  assert len(ids) == len(set(ids)) > 6
  used = ''.join(inlined.values())
  assert set(re.findall('href="#([^"]+)"', used)) < set(ids)
  assert re.search('<style|https?://|url', used) is None


def test_a_chart_is_small():
  accuracies = [0.4 + 0.001 * i for i in range(100)]
  many = [Score(f'set {i}', '', 0.4, 0.1, accuracies) for i in range(6)]
  assert len(inline_svg(score_chart(many), 'scores', '', '')) < 60_000
  noise = {step: 1 + step * 7919 % 997 / 997 for step in range(20_000)}
  losses = dict.fromkeys(('loss', 'mean', 'other'), noise)
  assert len(inline_svg(loss_chart(losses), 'loss', '', '')) < 60_000
