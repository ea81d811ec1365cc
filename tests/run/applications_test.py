"""Whole runs of the applications: what they leave, and that they go on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
import pytest

from dm_jax.applications import search as architecture_search
from dm_jax.applications.stream import class_order, summary
from dm_jax.config.sections import DataConfig
from dm_jax.data.load import load
from dm_jax.errors import InputError
from dm_jax.run import continual as continual_run
from dm_jax.run import groups as groups_run
from dm_jax.run import make as make_run
from dm_jax.run import run
from dm_jax.run import search as search_run
from dm_jax.run.config import RunConfig
from dm_jax.run.export import export
from dm_jax.run.given import SetFile
from dm_jax.run.interrupts import Interrupted
from dm_jax.synthetic_set import SyntheticSet

TINY = {
  'width': (4,),
  'depth': (1, 4),
  'norm': ('none',),
  'activation': ('sigmoid', 'relu'),
  'pooling': ('avg',),
}
# Its `dir` is known once `even_digits` has written the file.
DATA = {'name': 'npz', 'validation': 0.1}
COMMON: dict[str, Any] = {
  'data': DATA,
  'network': {'width': 4, 'depth': 1},
  'condense': {
    'images_per_class': 2,
    'steps': 4,
    'batch_real': 8,
    'augment': 'none',
    'log_every': 2,
  },
  'pretrain': {'epochs': 1, 'augment': 'none'},
  'output': {'pictures': 0, 'checkpoint_seconds': 0.0},
}
EVALUATE = {'networks': 2, 'epochs': 3, 'augment': 'none'}
CONTINUAL: dict[str, Any] = {
  **COMMON,
  'application': 'continual',
  'continual': {'steps': 5, 'orders': 2},
  'evaluate': {**EVALUATE, 'baselines': 'random,herding'},
}
SEARCH: dict[str, Any] = {
  **COMMON,
  'application': 'search',
  'search': {'space': 'small'},
  'evaluate': {**EVALUATE, 'networks': 1, 'whole_set_epochs': 0},
}


@pytest.fixture(scope='module', autouse=True)
def tiny_space():
  """A space of four networks, two of which take digits."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(architecture_search.SPACES, 'small', TINY)
    yield


@pytest.fixture(scope='module', autouse=True)
def even_digits(tmp_path_factory):
  """Digits with 40 images of each class, so that stages share programs."""
  digits = load(DataConfig(name='digits'))
  path = tmp_path_factory.mktemp('data') / 'digits.npz'
  images = np.concatenate([each[:40] for each in digits.train.images])
  np.savez(
    path,
    train_images=images,
    train_labels=np.repeat(np.arange(10), 40),
    test_images=digits.test_images,
    test_labels=digits.test_labels,
  )
  DATA['dir'] = str(path)


def start(values, folder, say=lambda line: None):
  config = RunConfig.from_dict(values)
  return run.run(config, mode='run', folder=folder, say=say)


@pytest.fixture(scope='module')
def stream(tmp_path_factory):
  """(results, folder, what was said) of a stream that nothing disturbed."""
  folder, said = tmp_path_factory.mktemp('stream'), []
  return start(CONTINUAL, folder, said.append), folder, said


@pytest.fixture(scope='module')
def search(tmp_path_factory):
  """(results, folder, what was said) of a search that nothing disturbed."""
  folder, said = tmp_path_factory.mktemp('search'), []
  return start(SEARCH, folder, said.append), folder, said


def row_of(results, order, step, method):
  (row,) = (
    row
    for row in results['continual']['rows']
    if (row['order'], row['step'], row['method']) == (order, step, method)
  )
  return row


def test_a_row_for_each_order_step_and_method(stream):
  results = stream[0]
  rows = results['continual']['rows']
  assert len(rows) == 2 * 5 * 3
  for row in rows:
    classes = 2 * (row['step'] + 1)
    assert row['classes'] == classes
    assert row['images'] == 2 * classes
    assert row['bytes'] == 2 * classes * 64
    assert len(row['accuracies']) == 2
    assert np.shape(row['group_accuracies']) == (2, row['step'] + 1)


def test_the_accuracy_is_that_of_its_groups(stream):
  """Over all classes: the groups' accuracies weighted by their test images."""
  row = row_of(stream[0], 0, 4, 'dm')
  labels = class_order(0, 10)
  counts = np.bincount(load_test_labels(), minlength=10)[list(labels)]
  weights = counts.reshape(5, 2).sum(1) / counts.sum()
  found = np.array(row['group_accuracies']) @ weights
  np.testing.assert_allclose(found, row['accuracies'], atol=1e-6)


def load_test_labels():
  return load(DataConfig(name='digits')).test_labels


def test_a_summary_by_hand():
  def row(step, accuracies, groups):
    return {
      'classes': 2 * (step + 1),
      'bytes': 100 * (step + 1),
      'accuracies': accuracies,
      'group_accuracies': groups,
      'seconds_per_class': 1.0 + step,
    }

  first = [
    row(0, [0.8, 0.6], [[0.8], [0.6]]),
    row(1, [0.5, 0.3], [[0.4, 0.6], [0.2, 0.4]]),
  ]
  second = [
    row(0, [1.0, 1.0], [[1.0], [1.0]]),
    row(1, [0.7, 0.7], [[0.8, 0.6], [0.8, 0.6]]),
  ]
  found = summary([first, second])
  assert found['classes'] == (2, 4)
  assert found['mean'] == pytest.approx([0.85, 0.55])
  assert found['std'] == pytest.approx(
    [np.std([0.8, 0.6, 1, 1]), np.std([0.5, 0.3, 0.7, 0.7])]
  )
  # Networks' means on the first group fall from 0.7 to 0.3, and from 1 to 0.8.
  assert found['forgetting_mean'] == pytest.approx(0.3)
  assert found['forgetting_std'] == pytest.approx(0.1)
  assert found['seconds_per_class'] == pytest.approx(1.5)
  assert found['bytes_per_class'] == 50


def test_a_stream_leaves_what_a_run_leaves(stream):
  results, folder, _ = stream
  made = SyntheticSet.load(folder / 'synthetic.npz')
  assert np.bincount(made.labels).tolist() == [2] * 10
  # In the data's order, so that --mode=evaluate takes it.
  assert made.class_names == tuple(map(str, range(10)))
  assert made.provenance['config']['condense']['images_per_class'] == 2
  assert {path.name for path in folder.iterdir()} >= {
    *('config.json', 'results.json', 'metrics.jsonl', 'report.html'),
    *('images', 'figures', 'order_0', 'order_1'),
  }
  stage = folder / 'order_1' / 'step_4'
  assert (stage / 'checkpoints').is_dir()
  assert len((stage / 'metrics.jsonl').read_text().splitlines()) == 2
  assert len((folder / 'metrics.jsonl').read_text().splitlines()) == 2 * 5
  assert (folder / 'figures' / 'accuracy.svg').stat().st_size > 1000
  assert 'Accuracy as classes arrive' in (folder / 'report.html').read_text()
  assert json.loads((folder / 'results.json').read_text()) == results
  finals = [
    accuracy
    for order in range(2)
    for accuracy in row_of(results, order, 4, 'dm')['accuracies']
  ]
  assert results['accuracies'] == finals
  assert results['accuracy_mean'] == pytest.approx(np.mean(finals))
  assert results['sets'] == 2


def test_the_memory_is_of_the_stages_images(stream):
  _, folder, _ = stream
  made = SyntheticSet.load(folder / 'order_1' / 'synthetic.npz')
  stage = SyntheticSet.load(folder / 'order_1' / 'step_2' / 'synthetic.npz')
  arriving = class_order(1, 10)[4:6]
  assert stage.class_names == tuple(map(str, arriving))
  for place, label in enumerate(arriving):
    np.testing.assert_array_equal(
      stage.images_uint8[2 * place : 2 * place + 2],
      made.images_uint8[2 * label : 2 * label + 2],
    )


def test_an_export_tells_what_a_memory_reached_and_no_groups_set(
  stream, tmp_path
):
  results, folder, _ = stream

  def expected(below):
    file = SetFile(folder / below / 'synthetic.npz')
    to = tmp_path / below / 'to.npz'
    export(file, 'npz', str(to), say=lambda _: None)
    card = to.with_name('to.npz.card.json').read_text('utf-8')
    return json.loads(card).get('expected_accuracy')

  found = row_of(results, 1, 4, 'dm')
  assert expected('order_1')['mean'] == np.mean(found['accuracies'])
  # Alone it was judged by nobody: the accuracy is of the memory of all classes.
  assert expected('order_1/step_4') is None


def test_a_memory_is_judged_like_any_set(stream, tmp_path):
  config = RunConfig.from_dict({**COMMON, 'evaluate': EVALUATE})
  results = run.run(
    config,
    mode='evaluate',
    folder=tmp_path,
    synthetic=stream[1] / 'synthetic.npz',
    say=lambda line: None,
  )
  assert len(results['accuracies']) == 2


def test_what_a_method_costs_is_told_for_each(stream):
  """Herding's training is its own cost, and a restart adds none."""
  methods = stream[0]['continual']['methods']
  assert methods['random']['seconds_per_class'] > 0
  assert (
    methods['herding']['seconds_per_class']
    > (methods['random']['seconds_per_class'])
  )
  again = start(CONTINUAL, stream[1])['continual']['methods']
  assert again == methods


def test_a_start_with_nothing_to_do_keeps_the_memories(stream, monkeypatch):
  monkeypatch.setattr(make_run, 'package_versions', lambda: {'jax': '99'})
  files = [*stream[1].rglob('synthetic.npz'), *stream[1].rglob('memory_*.npz')]
  before = [file.read_bytes() for file in files]
  start(CONTINUAL, stream[1])
  assert [file.read_bytes() for file in files] == before


def accuracies_of(results):
  return sorted(
    (row['order'], row['step'], row['method'], *row['accuracies'])
    for row in results['continual']['rows']
  )


@pytest.mark.parametrize('calls', [1, 5, 20])
def test_a_stopped_stream_goes_on(stream, tmp_path, calls, monkeypatch):
  """Whatever an evaluation is stopped by: rows that are there stay."""
  left = [calls]
  whole = continual_run.evaluate

  def fail(*args, **options):
    left[0] -= 1
    if left[0] < 0:
      raise KeyboardInterrupt
    return whole(*args, **options)

  with monkeypatch.context() as patch:
    patch.setattr(continual_run, 'evaluate', fail)
    with pytest.raises(KeyboardInterrupt):
      start(CONTINUAL, tmp_path)
  saved = json.loads((tmp_path / 'results.json').read_text())
  assert len(saved['continual']['rows']) == calls
  assert accuracies_of(start(CONTINUAL, tmp_path)) == accuracies_of(stream[0])
  np.testing.assert_array_equal(
    SyntheticSet.load(tmp_path / 'synthetic.npz').images,
    SyntheticSet.load(stream[1] / 'synthetic.npz').images,
  )
  lines = (tmp_path / 'metrics.jsonl').read_text()
  assert lines == (stream[1] / 'metrics.jsonl').read_text()


def test_a_stopped_stream_keeps_every_network_that_is_trained(
  tmp_path, monkeypatch
):
  """They are trained one by one, as by a CPU: a stop loses one at the most."""
  values = {
    **CONTINUAL,
    'continual': {'steps': 2, 'orders': 1},
    'evaluate': {**EVALUATE, 'baselines': 'none'},
  }
  begun: list[tuple[int, int]] = []
  whole, most = continual_run.evaluate, [4]

  def note(memory, *args, **options):
    if len(begun) == most[0]:
      raise KeyboardInterrupt
    begun.append((memory.classes, options['first']))
    return whole(memory, *args, **options)

  monkeypatch.setattr(groups_run, 'group_size', lambda *args: 1)
  monkeypatch.setattr(continual_run, 'evaluate', note)
  straight = start(values, tmp_path / 'straight')
  assert begun == [(5, 0), (5, 1), (10, 0), (10, 1)]
  begun.clear()
  most[0] = 3
  with pytest.raises(KeyboardInterrupt):
    start(values, tmp_path / 'stopped')
  saved = json.loads((tmp_path / 'stopped' / 'results.json').read_text())
  networks = [len(row['accuracies']) for row in saved['continual']['rows']]
  assert networks == [2, 1]
  begun.clear()
  resumed = start(values, tmp_path / 'stopped')
  assert begun == [(10, 1)]
  for name in ('accuracies', 'group_accuracies'):
    ours, expected = (
      [row[name] for row in results['continual']['rows']]
      for results in (resumed, straight)
    )
    assert ours == expected
    assert [len(each) for each in ours] == [2, 2]


@pytest.mark.parametrize(
  ('values', 'module', 'name'),
  [
    (CONTINUAL, continual_run, 'evaluate'),
    (SEARCH, architecture_search, 'evaluate_each'),
  ],
)
def test_how_sets_are_judged_may_change_until_one_is(
  tmp_path, monkeypatch, values, module, name
):
  whole, left = getattr(module, name), []

  def stop(*args, **options):
    if not left:
      raise KeyboardInterrupt
    left.pop()
    return whole(*args, **options)

  def begin(epochs):
    judged = {**values['evaluate'], 'epochs': epochs}
    start({**values, 'evaluate': judged}, tmp_path)

  # One device, so that networks are trained one after the other.
  monkeypatch.setattr(architecture_search.jax, 'local_device_count', lambda: 1)
  monkeypatch.setattr(module, name, stop)
  for epochs, trainings in ((3, 0), (2, 1)):
    left[:] = [None] * trainings
    with pytest.raises(KeyboardInterrupt):
      begin(epochs)
  with pytest.raises(InputError, match='evaluate.epochs: 2 -> 3'):
    begin(3)


def test_a_stage_killed_before_its_times_were_kept_goes_on(tmp_path):
  values = {
    **CONTINUAL,
    'continual': {'steps': 2, 'orders': 1},
    'evaluate': {**EVALUATE, 'epochs': 0, 'baselines': 'none'},
  }
  start(values, tmp_path)
  (tmp_path / 'results.json').unlink()
  (tmp_path / 'order_0' / 'step_1' / 'results.json').unlink()
  results = start(values, tmp_path)
  rows = {row['step']: row for row in results['continual']['rows']}
  assert rows[0]['seconds_per_class'] > 0
  assert rows[1]['seconds_per_class'] is None
  found = results['continual']['methods']['dm']
  assert found['seconds_per_class'] == rows[0]['seconds_per_class']


def test_a_finished_stream_trains_nothing(stream, monkeypatch):
  results, folder, _ = stream

  def fail(*args, **options):
    raise AssertionError('it trains')

  monkeypatch.setattr(continual_run, 'evaluate', fail)
  assert accuracies_of(start(CONTINUAL, folder)) == accuracies_of(results)


def test_under_a_budget_memories_shrink(tmp_path):
  values = {
    **CONTINUAL,
    'continual': {'steps': 2, 'orders': 1, 'budget_bytes': 64 * 10},
    'evaluate': {**EVALUATE, 'epochs': 0, 'baselines': 'random'},
  }
  results = start(values, tmp_path)
  sizes = [
    (row['step'], row['images_per_class'])
    for row in results['continual']['rows']
  ]
  assert sorted(sizes) == [(0, 2), (0, 2), (1, 1), (1, 1)]
  assert results['images_per_class'] == 1
  made = SyntheticSet.load(tmp_path / 'synthetic.npz')
  assert np.bincount(made.labels).tolist() == [1] * 10


def test_a_search_ranks_by_validation_images(search):
  results, _, said = search
  found = results['search']
  assert found['networks'] == [
    'convnet:width=4:depth=1:norm=none:activation=sigmoid',
    'convnet:width=4:depth=1:norm=none',
  ]
  assert any('2 networks of the space do not take' in line for line in said)
  assert set(found['sets']) == {'dm', 'random', 'early_stopping'}
  held_out = results['data']['validation_images']
  tests = len(load_test_labels())
  for record, images in (
    *((record, held_out) for record in found['sets'].values()),
    (found['real'], tests),
  ):
    assert set(record['accuracies']) == set(found['networks'])
    for accuracies in record['accuracies'].values():
      right = accuracies[0] * images
      assert right == pytest.approx(round(right), abs=1e-6)


def test_a_search_leaves_what_a_run_leaves(search):
  results, folder, _ = search
  assert {path.name for path in folder.iterdir()} >= {
    *('config.json', 'results.json', 'metrics.jsonl', 'report.html'),
    *('images', 'figures', 'checkpoints', 'synthetic.npz', 'baselines'),
  }
  agreement = results['search']['agreement']
  assert set(agreement) == {'dm', 'random', 'early_stopping'}
  real = results['search']['real']['accuracies']
  for found in agreement.values():
    assert found['picked_accuracy'] == real[found['picked']][0]
    assert found['best_accuracy'] == max(a for (a,) in real.values())
    assert [group['networks'] for group in found['groups']] == [2, 1, 1, 1]
  assert 'Ranking of architectures' in (folder / 'report.html').read_text()
  assert (folder / 'figures' / 'ranking.png').stat().st_size > 1000


def rankings_of(results):
  found = results['search']
  return {
    name: record['accuracies']
    for name, record in {**found['sets'], 'real': found['real']}.items()
  }


def test_a_search_by_the_labels_of_a_teacher(tmp_path):
  taught = {
    **SEARCH,
    'labels': 'teacher',
    'embedder': {'name': 'trajectory', 'networks': 1},
  }
  said = []
  results = start(taught, tmp_path, said.append)
  assert results['teachers'] == 1
  for name in ('synthetic', 'baselines/random'):
    kept = SyntheticSet.load(tmp_path / f'{name}.npz')
    assert kept.targets.shape == (20, 10)
  assert 'probabilities from a teacher, 1 network' in said[-2]


@pytest.mark.parametrize('calls', [0, 3, 7])
def test_a_stopped_search_goes_on(search, tmp_path, calls, monkeypatch):
  left, whole = [calls], architecture_search.evaluate_each

  def fail(*args, **options):
    left[0] -= 1
    if left[0] < 0:
      raise KeyboardInterrupt
    return whole(*args, **options)

  # One device, so that networks are trained one after the other.
  monkeypatch.setattr(architecture_search.jax, 'local_device_count', lambda: 1)
  with monkeypatch.context() as patch:
    patch.setattr(architecture_search, 'evaluate_each', fail)
    with pytest.raises(KeyboardInterrupt):
      start(SEARCH, tmp_path)
  saved = json.loads((tmp_path / 'results.json').read_text())
  assert sum(map(len, rankings_of(saved).values())) == calls
  again = []

  def count(*args, **options):
    again.append(1)
    return whole(*args, **options)

  with monkeypatch.context() as patch:
    patch.setattr(architecture_search, 'evaluate_each', count)
    resumed = start(SEARCH, tmp_path)
  assert len(again) == 2 * 4 - calls
  assert rankings_of(resumed) == rankings_of(search[0])
  for method, found in resumed['search']['agreement'].items():
    expected = search[0]['search']['agreement'][method]
    for name in ('groups', 'picked', 'best'):
      assert found[name] == expected[name]


def test_ties_are_broken_alike_by_a_run_that_goes_on(search, monkeypatch):
  """`results.json` sorts networks by name, the space has its own order."""
  results, folder, _ = search
  found = json.loads((folder / 'results.json').read_text())
  for record in found['search']['sets'].values():
    record['accuracies'] = dict.fromkeys(record['accuracies'], [0.5])
  (folder / 'results.json').write_text(json.dumps(found, sort_keys=True))
  again = start(SEARCH, folder)['search']['agreement']
  (folder / 'results.json').write_text(json.dumps(results))
  assert again['dm']['picked'] == results['search']['networks'][0]
  assert again['dm']['picked'] != min(results['search']['networks'])


def test_the_real_ranking_has_draws_of_its_own(tmp_path, monkeypatch):
  keys, whole = {}, search_run.train_networks

  def record(members, made, *args, key, **options):
    keys[len(made.labels)] = jax.random.key_data(key).tolist()
    return whole(members, made, *args, key=key, **options)

  monkeypatch.setattr(search_run, 'train_networks', record)
  values = {**SEARCH, 'evaluate': {**SEARCH['evaluate'], 'epochs': 0}}
  results = start(values, tmp_path)
  real = results['data']['train_images']
  assert len(keys) > 1
  assert all(keys[real] != key for size, key in keys.items() if size != real)


def test_a_signal_stops_a_search_at_once(tmp_path, monkeypatch):
  whole = search_run.train_networks

  def interrupted(*args, **options):
    os.kill(os.getpid(), signal.SIGINT)
    return whole(*args, **options)

  monkeypatch.setattr(search_run, 'train_networks', interrupted)
  with pytest.raises(Interrupted, match='the same command goes on'):
    start(SEARCH, tmp_path)


# Started as a program of its own, to be killed.
DRIVER = """
import json, sys
from dm_jax.applications import search as architecture_search
from dm_jax.run import run
from dm_jax.run.config import RunConfig
values, folder, space = json.loads(sys.argv[1])
space = {name: tuple(values) for name, values in space.items()}
architecture_search.SPACES['small'] = space
run.run(RunConfig.from_dict(values), mode='run', folder=folder)
"""


@pytest.mark.parametrize(
  ('values', 'enough'),
  [
    (CONTINUAL, lambda results: len(results['continual']['rows']) > 3),
    (
      SEARCH,
      lambda results: sum(map(len, rankings_of(results).values())) > 2,
    ),
  ],
)
def test_a_killed_run_goes_on(
  root, environment, stream, search, tmp_path, values, enough
):
  arguments = json.dumps([values, str(tmp_path), TINY])
  command = [sys.executable, '-c', DRIVER, arguments]
  process = subprocess.Popen(
    command, cwd=root, env=environment, stdout=subprocess.DEVNULL
  )
  file, limit = tmp_path / 'results.json', time.monotonic() + 120
  try:
    while not (file.exists() and enough(json.loads(file.read_text()))):
      assert process.poll() is None, 'it ended before it was killed'
      assert time.monotonic() < limit
      time.sleep(0.01)
  finally:
    process.kill()
    process.wait()
  resumed = start(values, tmp_path)
  if values is CONTINUAL:
    # On one device and on eight: the same up to rounding.
    ours, expected = accuracies_of(resumed), accuracies_of(stream[0])
  else:
    ours, expected = [
      sorted(
        (name, network, *accuracies)
        for name, ranking in rankings_of(results).items()
        for network, accuracies in ranking.items()
      )
      for results in (resumed, search[0])
    ]
  assert len(ours) == len(expected)
  for row, other in zip(ours, expected, strict=True):
    assert row == pytest.approx(other, abs=0.02)


def refuse(values, folder, match):
  with pytest.raises(InputError, match=match) as error:
    start(values, folder)
  assert '\n' not in str(error.value)
  assert not folder.exists()


@pytest.mark.parametrize(
  ('section', 'changes', 'match'),
  [
    ('continual', {'steps': 3}, r'divide the 10 classes: .* \[1, 2, 5, 10\]'),
    ('continual', {'budget_bytes': 639}, 'no room for one image of each of 10'),
    ('continual', {'orders': 0}, 'orders must be at least 1'),
    ('continual', {'store': 'int4'}, 'unknown continual.store'),
    ('condense', {'images_per_class': 500}, 'more than the|cannot choose'),
    ('embedder', {'dir': 'pools'}, 'each group then trains its own'),
    ('evaluate', {'baselines': 'whole'}, 'does not go with .* whole'),
    ('evaluate', {'pool': 'norm'}, 'does not go with evaluate.pool norm'),
    (
      'evaluate',
      {'validation_every': 2},
      'does not go with .*validation_every',
    ),
    (
      'condense',
      {'images_per_class': [1, 2]},
      'does not go with several condense.images_per_class',
    ),
  ],
)
def test_a_stream_that_cannot_be_is_refused(tmp_path, section, changes, match):
  values = {**CONTINUAL, section: {**CONTINUAL.get(section, {}), **changes}}
  refuse(values, tmp_path / 'workdir', match)


@pytest.mark.parametrize(
  ('changes', 'match'),
  [
    ({'data': {'name': 'digits'}}, 'set data.validation, e.g. 0.1'),
    ({'search': {'space': 'smal'}}, 'did you mean small'),
    ({'sets': 2}, 'does not go with sets 2'),
    ({'method': 'whole'}, 'does not go with method whole'),
  ],
)
def test_a_search_that_cannot_be_is_refused(tmp_path, changes, match):
  refuse({**SEARCH, **changes}, tmp_path / 'workdir', match)


def test_what_stops_a_later_step_is_refused_before_the_first(tmp_path):
  norm = {'network': {**COMMON['network'], 'norm': 'batch'}}
  # Ten classes of one image each, of which each step brings one.
  values = {
    **CONTINUAL,
    **norm,
    'continual': {'steps': 10, 'orders': 1, 'budget_bytes': 640},
  }
  match = 'batch norm needs more than one image in a batch'
  refuse(values, tmp_path / 'workdir', match)
  # Of 80 images a group trains in one step, of all 400 in six.
  pool = {
    'embedder': {'name': 'pool', 'networks': 1, 'snapshots': 2},
    'pretrain': {**COMMON['pretrain'], 'batch_size': 64},
    'data': {**DATA, 'validation': 0.1},
  }
  match = 'snapshots 2 is more than the 1 steps'
  refuse({**CONTINUAL, **pool}, tmp_path / 'workdir', match)
  chunks = {'condense': {**COMMON['condense'], 'batch_norm_classes': 5}}
  values = {**CONTINUAL, **norm, **chunks}
  refuse(values, tmp_path / 'workdir', 'batch_norm_classes 5 must divide the 2')


def test_a_group_without_test_images_is_refused(tmp_path):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (24, 8, 8, 1), np.uint8)
  np.savez(
    tmp_path / 'data.npz',
    train_images=images,
    train_labels=np.arange(24) % 4,
    test_images=images[:6],
    test_labels=np.arange(6) % 3,
  )
  values = {
    **CONTINUAL,
    'data': {'name': 'npz', 'dir': str(tmp_path / 'data.npz')},
    'continual': {'steps': 4, 'orders': 1},
  }
  match = 'the test set has no image of the classes 3, which arrive together'
  refuse(values, tmp_path / 'workdir', match)


def test_applications_are_runs(tmp_path):
  config = RunConfig.from_dict(CONTINUAL)
  with pytest.raises(InputError, match='does not go with --mode=condense'):
    run.run(config, mode='condense', folder=tmp_path / 'workdir')
  with pytest.raises(InputError, match='unknown application'):
    RunConfig.from_dict({'application': 'serch'})


def test_an_application_has_no_place_in_the_papers_table(stream, capsys):
  from dm_jax.report import compare as comparison

  message = 'holds a run of the application continual, .* leave it out'
  with pytest.raises(InputError, match=message):
    comparison.compare([stream[1]])


def test_lines_for_a_person(stream, search):
  lines = '\n'.join(stream[2])
  assert re.search(r'10 classes +\d', lines)
  assert 'Forgetting' in lines
  assert 'undefined' in '\n'.join(search[2])
