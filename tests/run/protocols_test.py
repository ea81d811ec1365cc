"""A run that judges its sets under several protocols."""

import json
import re

import pytest

from dm_jax.errors import InputError
from dm_jax.run.run import run


@pytest.fixture(scope='module')
def start(make_config, save_arrays, tmp_path_factory):
  """A function of a folder and a protocol that runs, and what it said."""
  data = tmp_path_factory.mktemp('data') / 'images.npz'
  save_arrays(data)

  def start(folder, protocol, **changes):
    said = []
    config = make_config(
      **{
        'data.dir': str(data),
        'evaluate.protocol': protocol,
        'evaluate.networks': 2,
        'evaluate.baselines': 'random,whole',
        'evaluate.whole_set_epochs': 1,
        # The images are of 8×8 pixels, and nothing is to be learned.
        'evaluate.augment': 'none',
      }
      | changes
    )
    results = run(config, mode='run', folder=folder, say=said.append)
    return results, '\n'.join(said)

  return start


@pytest.fixture(scope='module')
def both(start, tmp_path_factory):
  folder = tmp_path_factory.mktemp('both')
  return folder, *start(folder, 'idc,dm')


def by_case(results):
  return {
    (e['method'], e['protocol']): e['accuracies']
    for e in results['evaluations']
  }


def test_each_protocol_gives_what_it_gives_alone(start, both, tmp_path):
  _, results, _ = both
  alone = {}
  for protocol in ('dm', 'idc'):
    one, _ = start(tmp_path / protocol, protocol)
    assert one['protocols'] == [protocol]
    alone |= by_case(one)
  assert by_case(results) == alone
  assert len(alone) == 6
  assert results['protocols'] == ['idc', 'dm']
  (mine,) = alone['dm', 'idc']
  assert results['accuracies'] == mine


def test_both_are_shown(both):
  folder, _, said = both
  page = (folder / 'report.html').read_text()
  for text in (said, page):
    assert 'idc' in text
  assert re.findall(r'<th>ConvNet.*?, (\w+) protocol</th>', page) == [
    'idc',
    'dm',
  ]
  # The fields that they differ in are told by none.
  assert "evaluate.protocol 'idc,dm', not 'dm'" in said
  assert 'evaluate.schedule' not in said


def test_a_record_that_names_no_protocol_is_taken_up(
  start, tmp_path, monkeypatch
):
  results, _ = start(tmp_path, 'idc')
  file = tmp_path / 'results.json'
  old = json.loads(file.read_text())
  del old['protocols']
  for evaluation in old['evaluations']:
    del evaluation['protocol']
  file.write_text(json.dumps(old))

  def refuse(*args, **options):
    raise AssertionError('it was done already')

  monkeypatch.setattr('dm_jax.run.team.evaluate', refuse)
  again, _ = start(tmp_path, 'idc')
  assert again['evaluations'] == results['evaluations']


@pytest.mark.parametrize('application', ['continual', 'search'])
def test_an_application_takes_one(start, tmp_path, application):
  with pytest.raises(InputError) as error:
    start(
      tmp_path / 'run',
      'dm,idc',
      application=application,
      **{'evaluate.baselines': 'random'},
    )
  expected = f'application {application} does not go with evaluate.protocol dm'
  assert expected in str(error.value)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'run').exists()
