import json

from dm_jax.files import read_json, write_json, write_text


def test_json_is_read_by_people_and_of_any_name_read_back(tmp_path):
  """A path's bytes that are not UTF-8 reach Python as lone surrogates."""
  values = {'cat': 'кошка', 'dir': '/data/caf\udce9', 'quoted': '\\udce9 "'}
  write_json(tmp_path / 'a.json', values)
  text = (tmp_path / 'a.json').read_text(encoding='utf-8')
  assert 'кошка' in text
  assert read_json(tmp_path / 'a.json') == json.loads(text) == values


def test_text_that_is_not_utf8_is_escaped(tmp_path):
  write_text(tmp_path / 'a.html', 'é caf\udce9')
  assert (tmp_path / 'a.html').read_bytes() == b'\xc3\xa9 caf\\udce9'
