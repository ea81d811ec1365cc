"""Several sets, networks, sizes and baselines in one run, and its figures."""

import json

import numpy as np
import pytest

from dm_jax.errors import Diverged, InputError
from dm_jax.run.config import RunConfig
from dm_jax.run.run import run
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import evaluate

POOL = ['convnet:width=4:depth=1', 'mlp:width=4']
SETTINGS = {
  'sets': 2,
  'data': {'name': 'digits', 'validation': 0.2},
  'network': {'width': 4, 'depth': 1},
  'condense': {
    'images_per_class': [1, 3],
    'steps': 4,
    'batch_real': 8,
    'log_every': 2,
    'augment': 'crop',
  },
  'pretrain': {'epochs': 1, 'augment': 'none'},
  'evaluate': {
    'networks': 2,
    'epochs': 2,
    'augment': 'none',
    'pool': 'same,mlp',
    'baselines': 'random,herding,whole',
    'whole_set_networks': 1,
    'whole_set_epochs': 1,
    'validation_every': 2,
    'validation_networks': 1,
  },
}


def start(folder, mode='run', synthetic=None, **changes):
  said = []
  config = RunConfig.from_dict(SETTINGS | changes)
  results = run(
    config, mode=mode, folder=folder, synthetic=synthetic, say=said.append
  )
  return results, said


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp('protocol')
  return folder, *start(folder)


def entries(results, **wanted):
  return [
    entry for entry in results['evaluations'] if wanted.items() <= entry.items()
  ]


def test_every_method_size_and_network_is_evaluated_on_every_set(finished):
  _, results, _ = finished
  for method in ('dm', 'random', 'herding'):
    for size in (1, 3):
      for network in POOL:
        (entry,) = entries(
          results, method=method, images_per_class=size, network=network
        )
        assert [len(group) for group in entry['accuracies']] == [2, 2]
        flat = np.array(entry['accuracies']).reshape(-1)
        assert entry['mean'] == pytest.approx(flat.mean())
        assert entry['std'] == pytest.approx(flat.std())
  for network in POOL:
    (entry,) = entries(results, method='whole', network=network)
    assert [len(group) for group in entry['accuracies']] == [1]
    assert entry['images_per_class'] is None
  assert len(results['evaluations']) == 3 * 2 * 2 + 2


def test_each_size_of_a_nested_set_is_judged_later(finished, tmp_path):
  folder, results, _ = finished
  judged, _ = start(tmp_path, 'evaluate', folder / 'synthetic.npz', sets=1)
  for size in (1, 3):
    for network in POOL:
      wanted = {
        'method': 'dm',
        'images_per_class': size,
        'network': network,
      }
      (before,) = entries(results, **wanted)
      (after,) = entries(judged, **wanted)
      assert after['accuracies'] == before['accuracies'][:1]
  assert len(judged['evaluations']) == 4


def test_the_headline_is_the_first_network_at_the_largest_size(finished):
  _, results, _ = finished
  for method, name in (('dm', 'accuracy'), ('random', 'baseline_random')):
    (entry,) = entries(
      results, method=method, images_per_class=3, network=POOL[0]
    )
    assert results[f'{name}_mean'] == entry['mean']
    assert results[f'{name}_std'] == entry['std']
  assert len(results['accuracies']) == 4


def test_sets_are_independent_and_each_is_kept(finished):
  folder, _, _ = finished
  for name in ('synthetic.npz', 'baselines/random.npz'):
    first = SyntheticSet.load(folder / name)
    second = SyntheticSet.load(folder / 'set_1' / name)
    assert first.images.shape == second.images.shape == (30, 8, 8, 1)
    assert (np.asarray(first.images) != second.images).any()
    assert (first.provenance['set'], second.provenance['set']) == (0, 1)


def test_baselines_are_kept_drawn_and_say_their_method(finished):
  folder, _, _ = finished
  for method in ('random', 'herding'):
    kept = SyntheticSet.load(folder / 'baselines' / f'{method}.npz')
    assert kept.provenance['method'] == method
    assert (folder / 'images' / f'{method}.png').exists()


def test_validation_is_on_held_out_images_at_its_steps(finished):
  _, results, _ = finished
  assert results['data']['validation_images'] > 0
  assert [(row['set'], row['step']) for row in results['validation']] == [
    (number, step) for number in range(2) for step in (0, 2, 4)
  ]
  assert all(len(row['accuracies']) == 1 for row in results['validation'])


def test_the_table_and_the_log_are_shown(finished):
  folder, _, said = finished
  text = '\n'.join(said)
  assert 'set 2 of 2' in text
  assert 'condense.images_per_class (1, 3), not 10' in text
  for word in ('herding', 'MLP', 'random real'):
    assert word in text
  page = (folder / 'report.html').read_text()
  assert 'MLP' in page
  assert 'held out' in page


def test_the_same_run_again_trains_nothing(finished, monkeypatch):
  folder, results, _ = finished

  def refuse(*args, **options):
    raise AssertionError('it was done already')

  monkeypatch.setattr('dm_jax.run.team.evaluate', refuse)
  monkeypatch.setattr('dm_jax.run.validate.evaluate', refuse)
  again, _ = start(folder)
  assert again['evaluations'] == results['evaluations']


def test_what_is_missing_is_made_up_for_and_comes_out_the_same(finished):
  folder, results, _ = finished
  file = folder / 'results.json'
  before = json.loads(file.read_text())
  cut = json.loads(file.read_text())
  (entry,) = entries(
    cut, method='herding', images_per_class=3, network='mlp:width=4'
  )
  entry['accuracies'] = [entry['accuracies'][0]]
  cut['validation'] = []
  file.write_text(json.dumps(cut))
  again, _ = start(folder)
  assert again['evaluations'] == before['evaluations']
  # Only the last step is still there to be seen.
  assert [row['step'] for row in again['validation']] == [4, 4]
  assert again['accuracy_mean'] == results['accuracy_mean']


class Stopped(Exception):
  """Stands for a process that ends."""


def test_a_run_that_is_stopped_anywhere_ends_like_a_straight_one(
  finished, tmp_path, monkeypatch
):
  """It is stopped before its second set, then in the midst of evaluating."""
  config = RunConfig.from_dict(SETTINGS)

  def stop(line):
    if line == 'set 2 of 2':
      raise Stopped

  with pytest.raises(Stopped):
    run(config, mode='run', folder=tmp_path, say=stop)
  calls = []

  def evaluate_thrice(*args, **options):
    calls.append(args)
    if len(calls) == 4:
      raise Stopped
    return evaluate(*args, **options)

  with monkeypatch.context() as patch:
    patch.setattr('dm_jax.run.team.evaluate', evaluate_thrice)
    with pytest.raises(Stopped):
      start(tmp_path)
  results, _ = start(tmp_path)
  folder, straight, _ = finished
  assert results['evaluations'] == straight['evaluations']
  assert results['validation'] == straight['validation']
  for name in ('synthetic.npz', 'set_1/synthetic.npz'):
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize('method', ['k_center', 'forgetting', 'whole'])
def test_a_selection_is_a_run_of_its_own(tmp_path, method):
  evaluate = SETTINGS['evaluate'] | {
    'pool': 'mlp',
    'baselines': 'random',
    'validation_every': 0,
    'networks': 1,
  }
  results, _ = start(
    tmp_path,
    method=method,
    sets=1,
    evaluate=evaluate,
    condense={'images_per_class': 2},
  )
  methods = [entry['method'] for entry in results['evaluations']]
  assert methods == [method, 'random']
  assert results['method'] == method
  assert (tmp_path / 'synthetic.npz').exists() == (method != 'whole')
  assert not (tmp_path / 'checkpoints').exists()


POOL_OF_TRAINED = {
  'sets': 1,
  'data': {'name': 'digits', 'validation': 0.2},
  'condense': SETTINGS['condense'] | {'images_per_class': 1},
  'pretrain': {'epochs': 2, 'augment': 'none'},
  'evaluate': {'networks': 1, 'epochs': 0, 'baselines': 'none'},
}


def embedder(folder, **changes):
  return {
    'name': 'pool',
    'networks': 2,
    'snapshots': 2,
    'dir': str(folder),
  } | changes


def test_a_pool_of_trained_networks_is_trained_once_and_shared(tmp_path):
  pool = tmp_path / 'pool'
  _, said = start(tmp_path / 'a', embedder=embedder(pool), **POOL_OF_TRAINED)
  assert any('embedding with 4 of 4 networks' in line for line in said)
  files = sorted(pool.iterdir())
  before = [(file.name, file.stat().st_mtime_ns) for file in files]
  assert [name for name, _ in before] == ['network_000.npz', 'network_001.npz']
  # Another run, another range, the same networks.
  with pytest.raises(InputError, match=r'no network of the pool .* 0 above'):
    start(tmp_path / 'b', embedder=embedder(pool, low=0.999), **POOL_OF_TRAINED)
  after = [(file.name, file.stat().st_mtime_ns) for file in files]
  assert before == after
  trained = SyntheticSet.load(tmp_path / 'a' / 'synthetic.npz')
  start(tmp_path / 'c', **POOL_OF_TRAINED)
  fresh = SyntheticSet.load(tmp_path / 'c' / 'synthetic.npz')
  assert (np.asarray(trained.images) != fresh.images).any()


def test_what_a_pool_is_told_to_change_can_be_changed_elsewhere(tmp_path):
  """The settings of the workdir are bound before its pool is there."""
  network = {'width': 4, 'depth': 1, 'norm': 'none'}
  settings = POOL_OF_TRAINED | {'network': network}
  pool = tmp_path / 'a' / 'pool'
  own = embedder(pool, dir=None)
  there = f'--config.embedder.dir={pool} takes these networks there'
  with pytest.raises(InputError, match='no network of the pool') as error:
    start(tmp_path / 'a', **settings | {'embedder': own | {'low': 0.999}})
  message = str(error.value)
  assert message.endswith(f', in another workdir; for other bounds {there}')
  before = [(file, file.stat().st_mtime_ns) for file in pool.iterdir()]
  assert len(before) == 2
  # With what the message says, and a rate that is too large.
  fast = {'images_per_class': 1, 'learning_rate': 1e30}
  given = {
    'embedder': embedder(pool),
    'condense': SETTINGS['condense'] | fast,
  }
  with pytest.raises(Diverged) as diverged:
    start(tmp_path / 'b', **settings | given)
  message = str(diverged.value)
  assert message.endswith(f'rate helps, in another workdir; for that {there}')
  assert before == [(file, file.stat().st_mtime_ns) for file in pool.iterdir()]


@pytest.mark.parametrize('shared', [False, True])
def test_a_pool_that_diverges_is_of_no_use_elsewhere(tmp_path, shared):
  folder = str(tmp_path / 'pool') if shared else None
  pool = embedder(tmp_path, dir=folder)
  changes = {
    'network': {'width': 4, 'depth': 1, 'norm': 'none'},
    'pretrain': {'epochs': 1, 'augment': 'none', 'learning_rate': 1e30},
  }
  with pytest.raises(InputError, match='training on the real im') as error:
    start(tmp_path / 'run', **POOL_OF_TRAINED | changes, embedder=pool)
  where = 'another workdir and embedder.dir' if shared else 'another workdir'
  assert str(error.value).endswith(f'choose a smaller one, in {where}')


def test_a_pool_needs_validation_images(tmp_path):
  changes = POOL_OF_TRAINED | {'data': {'name': 'digits'}}
  with pytest.raises(InputError, match='set data.validation, e.g. 0.1'):
    start(tmp_path, embedder=embedder(tmp_path / 'pool'), **changes)
  assert not any(tmp_path.iterdir())
