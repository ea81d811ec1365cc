import pytest

from dm_jax.records.results import Data, Results, from_json
from dm_jax.report.html import config_table, marked, run_tables, times


def test_config_names_are_dotted_and_grouped():
  config = {'seed': 1, 'a': {'b': None, 'c': {'d': 'x_y'}}, 'tail': True}
  html = config_table(config)
  assert html.count('class="group"') == 2
  assert '<dt>seed</dt><dd>1</dd>' in html
  assert '<dt>a.b</dt><dd>–</dd>' in html
  assert '<dt>a.c.d</dt><dd>x_<wbr>y</dd>' in html
  assert config_table({}) == ''


def test_times_end_in_their_total():
  results = {
    'condense_seconds': 3.0,
    'evaluate_seconds': 4.5,
    'selecting_seconds': {'0': {'random': 0.5, 'training': 8}, '1': {'dm': 1}},
  }
  assert times(from_json(results)) == {
    'condense': 3.0,
    'select': 9.5,
    'evaluate': 4.5,
    'total': 17.0,
  }
  assert times(Results()) == {}


@pytest.mark.parametrize(
  'untimed',
  [
    {'validation': [{'set': 0, 'step': 5, 'images_per_class': 1}]},
    {'application': 'continual'},
  ],
)
def test_known_times_are_no_total(untimed):
  results = {'condense_seconds': 3.0, 'evaluate_seconds': 4.5, **untimed}
  assert list(times(from_json(results)).items())[-1] == ('known parts', 7.5)


def test_tables_without_values_are_left_out():
  html = run_tables(Results(mode='run', seed=0))
  assert '<dt>seed</dt><dd>0</dd>' in html
  assert html.count('<h3>') == 1


def test_of_very_many_classes_the_first_are_named():
  names = tuple(f'n{i:04}' for i in range(1000))
  html = run_tables(Results(data=Data(class_names=names)))
  assert 'n0199, and 800 more' in html


def test_flags_are_marked():
  assert marked('run --a=<b> c') == 'run <code>--a=&lt;b&gt;</code> c'
