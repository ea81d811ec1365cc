from pathlib import Path
import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from dm_jax.report.charts import loss_chart, score_chart, validation_chart
from dm_jax.report.inline import THEME, inline_svg
from dm_jax.report.scores import Score

SCORES = [Score('<b> & "$x$"', '10 per class', 0.4, 0.1, (0.3, 0.4, 0.5))]
PACKAGE = Path(__file__).parents[2] / 'dm_jax'
TEMPLATE = (PACKAGE / 'report/template.html').read_text('utf-8')


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
  assert '.chart text { font-family: inherit !important; }' in TEMPLATE


def test_a_charts_colours_are_those_of_the_page(inlined):
  light, dark, printed = (
    dict(re.findall(r'--([\w-]+): (#\w+);', theme))
    for theme in re.findall(r':root \{([^}]+)\}', TEMPLATE)
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


def test_own_settings_neither_change_charts_nor_are_changed(inlined):
  own = {'font.size': 30.0, 'axes.facecolor': 'black', 'svg.fonttype': 'path'}
  with mpl.rc_context(own):
    before = dict(mpl.rcParams)
    chart = score_chart(SCORES * 2, chance=0.1)
    svg = inline_svg(chart, 'scores', 'scores by step', '<i> & "j"')
    assert svg == inlined['scores']
    assert dict(mpl.rcParams) == before
