"""Sets that others released, through the command's modes."""

import dataclasses
import json
import os
import re

import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.exchange.formats import WRITTEN
from dm_jax.exchange.torch_file import write_tensors
from dm_jax.images.storage import get_storage
from dm_jax.run import command
from dm_jax.run.export import export
from dm_jax.run.facts import facts
from dm_jax.run.given import SetFile
from dm_jax.run.prepare import prepare
from dm_jax.run.run import run
from dm_jax.synthetic_set import SyntheticSet

BUDGET = {
  'evaluate.networks': 2,
  'evaluate.epochs': 1,
  'evaluate.whole_set_epochs': 1,
  'evaluate.whole_set_networks': 1,
  'evaluate.batch_size': 4,
}


@pytest.fixture(scope='module')
def data(save_arrays, tmp_path_factory):
  path = tmp_path_factory.mktemp('data') / 'images.npz'
  save_arrays(path)
  return path


@pytest.fixture(scope='module')
def done(make_config, data, tmp_path_factory):
  """A run of seconds: its workdir and results."""
  folder = tmp_path_factory.mktemp('runs') / 'own'
  config = make_config(**{'data.dir': str(data)} | BUDGET)
  results = run(
    config, mode='run', folder=folder, command='the command', say=lambda _: None
  )
  return folder, results


def judge(make_config, data, mode, folder, file, **changes):
  said = []
  config = make_config(**{'data.dir': str(data)} | BUDGET | changes)
  results = run(
    config, mode=mode, folder=folder, synthetic=file, say=said.append
  )
  return results, '\n'.join(said)


@pytest.fixture(scope='module')
def peer(done, tmp_path_factory):
  """The run's set as DM would have saved it, after one of zeros."""
  made = SyntheticSet.load(done[0] / 'synthetic.npz')
  first = np.moveaxis(np.asarray(made.images), -1, 1)
  labels = np.asarray(made.labels, np.int64)
  path = tmp_path_factory.mktemp('peer') / 'res_DM.pt'
  write_tensors(
    path,
    {'data': [[first * 0, labels], [first, labels]], 'accs_all_exps': {}},
  )
  return path


def test_a_set_of_a_peer_evaluates_as_the_original(
  done, peer, make_config, data, tmp_path
):
  found, _ = judge(
    make_config, data, 'evaluate', tmp_path / 'a', SetFile(peer, experiment=1)
  )
  assert found['accuracies'] == done[1]['accuracies']
  assert found['method'] == 'released'
  page = (tmp_path / 'a' / 'report.html').read_text('utf-8')
  assert '3 images of a file stand for 12 real ones.' in page


def test_the_score_of_a_set(done, peer, make_config, data, tmp_path):
  folder = tmp_path / 'score'
  found, said = judge(
    make_config, data, 'score', folder, SetFile(peer, experiment=1)
  )
  by_case = {(e['method'], e['protocol']): e for e in found['evaluations']}
  assert set(by_case) == {
    ('released', 'dm'),
    ('random', 'dm'),
    ('whole', 'dm'),
    ('released', 'unaugmented dm'),
    ('random', 'unaugmented dm'),
  }
  assert by_case['released', 'dm']['accuracies'] == [done[1]['accuracies']]
  means = {case: e['mean'] for case, e in by_case.items()}
  ours, random = means['released', 'dm'], means['random', 'dm']
  x = 0.5 * (ours - random) - 0.5 * (means['whole', 'dm'] - ours)
  score = found['score']
  expected = (np.exp(x) - np.exp(-1)) / (np.exp(1) - np.exp(-1))
  assert score['label_robust'] == pytest.approx(expected)
  assert f'{expected:.3f}' in said
  assert 'label-robust (LRS)' in (folder / 'report.html').read_text('utf-8')
  again, _ = judge(
    make_config, data, 'score', folder, SetFile(peer, experiment=1)
  )
  for name in ('evaluations', 'score', 'evaluate_seconds'):
    assert again[name] == found[name]  # Nothing is trained again.


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'evaluate.protocol': 'dm,idc'}, 'protocol dm,idc names several'),
    ({'evaluate.pool': 'same,mlp'}, 'pool same,mlp names several'),
    ({'labels': 'teacher'}, 'a score is by class labels'),
    ({'application': 'search'}, 'does not go with --mode=score'),
  ],
)
def test_what_has_no_score_is_one_line(
  done, make_config, data, tmp_path, changes, message
):
  file = done[0] / 'synthetic.npz'
  with pytest.raises(InputError, match=message) as error:
    judge(make_config, data, 'score', tmp_path / 'score', file, **changes)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'score').exists()


def test_a_score_takes_classes_of_one_size(done, make_config, data, tmp_path):
  made = SyntheticSet.load(done[0] / 'synthetic.npz')
  made.take(np.array([0, 0, 1, 2])).save(tmp_path / 'uneven.npz')
  with pytest.raises(InputError, match='1 to 2 images per class'):
    judge(make_config, data, 'score', tmp_path / 'a', tmp_path / 'uneven.npz')


def test_a_set_of_unequal_classes_has_all_its_images(
  done, make_config, data, tmp_path
):
  made = SyntheticSet.load(done[0] / 'synthetic.npz')
  config = make_config(**{'data.dir': str(data)})
  for rows, expected in (([0, 0, 1, 2], (1, 4)), ([0, 2], (1, 2))):
    made.take(np.array(rows)).save(tmp_path / 'uneven.npz')
    file = SetFile(tmp_path / 'uneven.npz')
    known = facts(prepare(config, 'evaluate', tmp_path, file, '', print))
    assert (known['images_per_class'], known['stored_images']) == expected
  file = SetFile(done[0] / 'synthetic.npz')
  known = facts(prepare(config, 'evaluate', tmp_path, file, '', print))
  assert (known['images_per_class'], known['stored_images']) == (1, None)


def test_random_images_are_stored_as_the_set_is(
  done, make_config, data, tmp_path
):
  made = SyntheticSet.load(done[0] / 'synthetic.npz')
  made = dataclasses.replace(made, storage='tiles:2')
  made.save(tmp_path / 'tiles.npz')
  changes = {'evaluate.networks': 1, 'evaluate.epochs': 0}
  judge(
    make_config,
    data,
    'score',
    tmp_path / 'score',
    tmp_path / 'tiles.npz',
    **changes,
  )
  random = SyntheticSet.load(tmp_path / 'score' / 'baselines' / 'random.npz')
  assert random.storage == 'tiles:2'
  assert len(random.class_of) == len(made.class_of)
  held = get_storage('tiles:2').per_stored
  assert len(random.images) == held * len(made.class_of)


@pytest.mark.parametrize('name', WRITTEN)
def test_an_export_says_what_to_expect(done, tmp_path, name):
  said = []
  file = SetFile(done[0] / 'synthetic.npz')
  path = export(file, name, str(tmp_path / 'new' / 'set'), say=said.append)
  card = path / 'card.json' if path.is_dir() else tmp_path / 'new/set.card.json'
  values = json.loads(card.read_text('utf-8'))
  assert values['seed'] == 0
  assert values['method'] == 'dm'
  assert values['protocol']['name'] == 'dm'
  assert values['protocol']['settings']['epochs'] == 1
  expected = values['expected_accuracy']
  assert expected['mean'] == done[1]['accuracy_mean']
  assert expected['command'] == 'the command'
  assert expected['networks'] == 2
  assert (values['storage'], values['factor']) == ('plain', 1)
  assert values['versions']['numpy'] == np.__version__
  assert str(path) in said[0]
  read = SyntheticSet.read(path)
  made = SyntheticSet.load(done[0] / 'synthetic.npz')
  np.testing.assert_array_equal(read.images_uint8, made.images_uint8)


def test_an_export_tells_what_judged_the_set(make_config, data, tmp_path):
  """Until sets are judged, how that is done may change."""
  folder = tmp_path / 'run'
  for mode, epochs in (('condense', 5), ('run', 1), ('condense', 1)):
    config = make_config(
      **{'data.dir': str(data), 'evaluate.baselines': 'none'}
      | BUDGET
      | {'evaluate.epochs': epochs}
    )
    run(
      config,
      mode=mode,
      folder=folder,
      command=f'{mode} with {epochs}',
      say=lambda _: None,
    )
  file = SetFile(folder / 'synthetic.npz')
  card = export(file, 'npz', str(tmp_path / 'to.npz'), say=lambda _: None)
  values = json.loads(card.with_name('to.npz.card.json').read_text('utf-8'))
  assert values['protocol']['settings']['epochs'] == 1
  assert values['expected_accuracy']['command'] == 'run with 1'


def test_an_export_lies_beside_the_set(done, tmp_path):
  made = SyntheticSet.load(done[0] / 'synthetic.npz')
  made.save(tmp_path / 'mine.npz')
  file = SetFile(tmp_path / 'mine.npz')
  export(file, 'pt', '', say=lambda _: None)
  assert sorted(os.listdir(tmp_path)) == [
    'mine.npz',
    'mine_pt.pt',
    'mine_pt.pt.card.json',
  ]
  card = json.loads((tmp_path / 'mine_pt.pt.card.json').read_text())
  assert card['expected_accuracy'] is None
  with pytest.raises(InputError, match='mine_pt.pt is there already'):
    export(file, 'pt', '')


def test_a_set_of_others_is_completed_by_the_data(done, peer, data, tmp_path):
  file = SetFile(peer, experiment=1)
  with pytest.raises(InputError, match='does not say the mean and std'):
    export(file, 'npz', str(tmp_path / 'a.npz'))
  config = {'data': {'name': 'npz', 'dir': str(data)}}
  path = export(file, 'npz', str(tmp_path / 'a.npz'), config, lambda _: None)
  made = SyntheticSet.load(done[0] / 'synthetic.npz')
  assert SyntheticSet.read(path).fingerprint() == made.fingerprint()


def test_an_export_tells_of_folders_in_another_order(done, tmp_path):
  made = SyntheticSet.load(done[0] / 'synthetic.npz')
  named = dataclasses.replace(made, class_names=('shirt', 'bag', 'coat'))
  named.save(tmp_path / 'named.npz')
  said = []
  export(SetFile(tmp_path / 'named.npz'), 'folder', '', say=said.append)
  assert said[-1].startswith('warning: tools that number folders of classes')


@pytest.mark.filterwarnings('ignore:tools that number folders')
@pytest.mark.parametrize('layout', ['folder', 'parquet'])
def test_names_alone_are_in_the_order_of_the_data(
  done, make_config, save_arrays, tmp_path, layout
):
  names = ('shirt', 'bag', 'coat')
  save_arrays(tmp_path / 'named.npz', class_names=np.array(names))
  made = SyntheticSet.load(done[0] / 'synthetic.npz')
  made = dataclasses.replace(made, class_names=names)
  path = tmp_path / layout
  made.export(path, layout).unlink()
  if layout == 'parquet':
    import pyarrow.parquet as pq

    (file,) = path.rglob('*.parquet')
    table = pq.read_table(file).replace_schema_metadata()
    texts = [names[label] for label in table['label'].to_pylist()]
    column = table.column_names.index('label')
    pq.write_table(table.set_column(column, 'label', [texts]), file)
  config = make_config(**{'data.dir': str(tmp_path / 'named.npz')})

  job = prepare(config, 'evaluate', tmp_path, SetFile(path), '', print)

  assert job.synthetic is not None
  assert job.synthetic.class_names == names
  np.testing.assert_array_equal(job.synthetic.images_uint8, made.images_uint8)
  to, settings = str(tmp_path / 'to.npz'), {'data': config.to_dict()['data']}
  export(SetFile(path), 'npz', to, settings, lambda _: None)
  assert SyntheticSet.read(to).class_names == names


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ((None, 'npz', ''), 'needs a set: --synthetic=FILE'),
    (('synthetic.npz', '', ''), 'needs a format: --format, one of folder'),
    (('synthetic.npz', 'pnt', ''), "unknown format 'pnt': did you mean"),
    (('nowhere.npz', 'pt', ''), 'no synthetic set at .*nowhere.npz'),
  ],
)
def test_what_cannot_be_exported_is_one_line(done, capsys, given, message):
  name, layout, to = given
  before = sorted(os.listdir(done[0]))
  with pytest.raises(SystemExit) as exit_:
    command.execute(
      {},
      '',
      mode='export',
      workdir='',
      workdirs=[],
      synthetic=None if name is None else SetFile(done[0] / name),
      layout=layout,
      to=to,
      cluster=('', 0, -1),
      distributed=False,
    )
  assert re.search(message, str(exit_.value))
  assert '\n' not in str(exit_.value)
  assert sorted(os.listdir(done[0])) == before
