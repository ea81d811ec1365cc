import dataclasses

import pytest

from dm_jax.records.results import Results, from_json
from dm_jax.records.score import Score
from dm_jax.report.applications import (
  APPLICATIONS,
  application_lines,
  application_sections,
  applied,
  save_figures,
)

SCORE = {field.name: 0.5 for field in dataclasses.fields(Score)}
UNFINISHED = {
  'continual': (
    {'rows': [], 'methods': {}},
    'No accuracies yet: not all classes have arrived.',
  ),
  'search': (
    {'networks': ['mlp'], 'agreement': {}},
    'No rankings yet: not all architectures have been trained.',
  ),
}


@pytest.fixture(scope='module')
def both(continual, search):
  return from_json({'method': 'dm', 'continual': continual, 'search': search})


def test_applications_are_shown_where_they_were_run(both):
  assert applied(Results()) == []
  found = {'continual': {}, 'search': {}, 'score': SCORE}
  for field, application in APPLICATIONS.items():
    assert applied(from_json({field: found[field]})) == [application]
  everything = dataclasses.replace(both, score=Score(**SCORE))
  assert applied(everything) == [*APPLICATIONS.values()]


def test_figures_are_saved_where_the_page_looks_for_them(both, tmp_path):
  folder = tmp_path / 'figures'
  assert save_figures(both, tmp_path) == [
    folder / 'accuracy.svg',
    folder / 'accuracy.png',
    folder / 'ranking.svg',
    folder / 'ranking.png',
  ]
  assert len(list(folder.iterdir())) == 4
  for section in application_sections(both, tmp_path).values():
    assert section.count('<img src="data:image/svg+xml;base64,') == 1


def test_notes_of_the_page_stand_below_each_table(both, tmp_path):
  alone = application_sections(both, tmp_path)
  noted = application_sections(both, tmp_path, ['Made otherwise.'])
  assert alone.keys() == noted.keys()
  for title, section in noted.items():
    assert 'Made otherwise.' in section
    assert 'Made otherwise.' not in alone[title]


@pytest.mark.parametrize(
  'results', [{}, {field: found for field, (found, _) in UNFINISHED.items()}]
)
def test_nothing_is_drawn_where_nothing_is_complete(tmp_path, results):
  assert save_figures(from_json(results), tmp_path) == []
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('field', UNFINISHED)
def test_an_application_that_is_not_finished_says_so(tmp_path, field):
  found, words = UNFINISHED[field]
  results = from_json({field: found})
  assert application_lines(results) == [words]
  (section,) = application_sections(results, tmp_path).values()
  assert section == f'<p>{words}</p>'


def test_every_part_of_an_application_may_be_missing_or_none(
  continual, search, tmp_path
):
  for field, found in (('continual', continual), ('search', search)):
    for key in found:
      rest = {inner: value for inner, value in found.items() if inner != key}
      for part in (rest, rest | {key: None}):
        results = from_json({field: part})
        assert application_lines(results)
        assert application_sections(results, tmp_path)


def test_lines_hold_the_tables_one_empty_line_apart(both):
  assert application_lines(Results()) == []
  lines = application_lines(both)
  assert lines[:4] == [
    'Images: accuracy on the classes seen, in %',
    '',
    'After            DM',
    '---------------  ----------',
  ]
  second = lines.index('Images: rankings of architectures')
  assert lines[second - 1] == ''
  assert lines[second - 2] != ''
