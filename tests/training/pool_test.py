import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.config.sections import EmbedderConfig, PretrainConfig
from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError
from dm_jax.networks.registry import make_network
from dm_jax.training import pretrain as pretraining
from dm_jax.training.pool import make_pool
from dm_jax.types import Network

KEY = jax.random.key(0)
LABELS = np.arange(40) % 2
# Bright and dark images: quick to tell apart.
PIXELS = np.random.RandomState(0).randint(0, 90, (80, 2, 2, 1), np.uint8)
PIXELS[1::2] += 60
TRAIN = ClassData.from_arrays(PIXELS[:40], LABELS)
VALIDATION = (PIXELS[40:], LABELS)
# Five steps an epoch, ten in all: snapshots after 3, 5, 8 and 10.
PRETRAIN = PretrainConfig(
  epochs=2, batch_size=8, learning_rate=0.1, augment='none'
)
CONFIG = EmbedderConfig(networks=2, snapshots=4)


def unused(*args, **options):
  raise AssertionError('this is not needed')


def no_features(variables, images):
  return images.reshape(len(images), -1)


def flat(images):
  return images.reshape(len(images), -1)


def init(key):
  weights = jax.random.normal(key, (4, 2))
  return {'params': {'weights': weights}, 'steps': jnp.int32(0)}


def logits(variables, images, *, train):
  answer = flat(images) @ variables['params']['weights']
  steps = variables['steps'] + (1 if train else 0)
  return answer, {**variables, 'steps': steps}


COUNTING = Network.from_functions(init=init, embed=no_features, logits=logits)
# One that can be read, but neither trained nor tested.
SAVED = Network(init=init, apply=unused)


def make(folder, network=COUNTING, config=CONFIG, pretrain=PRETRAIN, **options):
  arguments: dict[str, Any] = {'fingerprint': 'data', 'key': KEY, **options}
  return make_pool(
    network, TRAIN, *VALIDATION, config, pretrain, folder, **arguments
  )


def assert_equal(actual, expected):
  jax.tree.map(
    np.testing.assert_array_equal, actual.variables, expected.variables
  )
  np.testing.assert_array_equal(actual.accuracies, expected.accuracies)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('run') / 'pool'


@pytest.fixture(scope='module')
def pool(folder):
  return make(folder)


# Making it.


def test_snapshots_are_spread_evenly_and_networks_follow_from_their_number(
  pool,
):
  assert pool.variables['steps'].tolist() == [3, 5, 8, 10] * 2
  for number in range(2):
    snapshots = {}

    def keep(done, total, variables, snapshots=snapshots):
      snapshots[done] = variables

    pretraining.pretrain(
      COUNTING,
      TRAIN,
      PRETRAIN,
      jax.random.fold_in(KEY, number),
      callback=keep,
      stops=[3, 5, 8, 10],
    )
    for place, step in enumerate([3, 5, 8, 10]):
      np.testing.assert_array_equal(
        pool.variables['params']['weights'][4 * number + place],
        snapshots[step]['params']['weights'],
      )


def test_accuracies_are_those_of_each_snapshot_on_the_validation_images(pool):
  images = (VALIDATION[0] / 255 - TRAIN.mean[0]) / TRAIN.std[0]
  answers = flat(images) @ np.asarray(pool.variables['params']['weights'])
  expected = (answers.argmax(-1) == VALIDATION[1]).mean(-1)
  np.testing.assert_allclose(pool.accuracies, expected)
  assert pool.accuracies.shape == (8,)
  assert len(np.unique(expected)) > 2


def test_a_saved_pool_is_read_without_training(folder, pool):
  before = {path: path.read_bytes() for path in folder.iterdir()}
  assert sorted(path.name for path in before) == [
    'network_000.npz',
    'network_001.npz',
  ]
  calls = []
  again = make(folder, SAVED, callback=lambda *args: calls.append(args))
  assert_equal(again, pool)
  assert calls == [], 'nothing is in progress'
  assert before == {path: path.read_bytes() for path in folder.iterdir()}


def test_an_interrupted_pool_goes_on_after_its_last_network(tmp_path, pool):
  def interrupt(done, total):
    if done > 10:
      raise KeyboardInterrupt

  one = jax.devices()[:1]
  with pytest.raises(KeyboardInterrupt):
    make(tmp_path, callback=interrupt, devices=one)
  assert [path.name for path in tmp_path.iterdir()] == ['network_000.npz']
  calls = []
  again = make(tmp_path, callback=lambda *args: calls.append(args), devices=one)
  assert_equal(again, pool)
  assert calls[0] == (10, 20)
  assert calls[-1] == (20, 20)
  assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_a_stop_at_the_end_of_a_training_finds_it_saved(tmp_path):
  """A request to stop is met between steps, and when a network is kept."""
  named = []

  def stop_at_the_last_step(done, total):
    if done >= 10:
      named.extend(path.name for path in tmp_path.iterdir())
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    make(tmp_path, callback=stop_at_the_last_step, devices=jax.devices()[:1])
  assert named == ['network_000.npz']


def test_only_the_missing_networks_are_trained(tmp_path):
  """Of five on three devices: three rounds become one, or two."""
  config = dataclasses.replace(CONFIG, networks=5)
  three = jax.devices()[:3]
  whole = make(tmp_path, config=config, devices=three)
  saved = {path: path.read_bytes() for path in tmp_path.iterdir()}
  for lost in ([1, 3], [0, 1, 2, 4]):
    for i in lost:
      (tmp_path / f'network_{i:03d}.npz').unlink()
    calls = []
    again = make(
      tmp_path,
      config=config,
      devices=three,
      callback=lambda *args, calls=calls: calls.append(args),
    )
    assert_equal(again, whole)
    assert saved == {path: path.read_bytes() for path in tmp_path.iterdir()}
    kept = 5 - len(lost)
    steps = [done for done, total in calls if total == 50]
    assert len(steps) == len(calls)
    assert steps[0] == 10 * kept
    # Two at a time, in either case.
    assert {step - 10 * kept for step in steps[1:]} <= {*range(2, 41, 2)}
    assert steps == sorted(steps)
    assert steps[-1] == 50


def test_a_group_of_networks_that_is_interrupted_is_trained_again(tmp_path):
  config = dataclasses.replace(CONFIG, networks=3)

  def interrupt(done, total):
    assert total == 30
    if done > 20:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    make(tmp_path, config=config, callback=interrupt, devices=jax.devices()[:2])
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == ['network_000.npz', 'network_001.npz']
  make(tmp_path, config=config, devices=jax.devices()[:2])
  assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize('count', [1, 3, 8])
def test_any_number_of_devices_gives_the_same_pool(count):
  pretrain = dataclasses.replace(PRETRAIN, augment='color+flip', cutmix=0.5)
  config = dataclasses.replace(CONFIG, networks=5)
  devices = jax.devices()[:count]
  pool = make(None, config=config, pretrain=pretrain, devices=devices)
  for number in range(5):
    alone = pretraining.pretrain(
      COUNTING, TRAIN, pretrain, jax.random.fold_in(KEY, number)
    )
    last = jax.tree.map(lambda leaf, n=number: leaf[4 * n + 3], pool.variables)
    np.testing.assert_allclose(
      last['params']['weights'],
      alone.variables['params']['weights'],
      rtol=1e-5,
    )
    assert last['steps'] == alone.variables['steps'] == 10


def test_a_pool_can_grow(tmp_path, pool):
  one = make(tmp_path, config=dataclasses.replace(CONFIG, networks=1))
  np.testing.assert_array_equal(one.accuracies, pool.accuracies[:4])
  assert_equal(make(tmp_path), pool)


def test_a_convnet_with_batch_norm_survives_the_way_through_a_file(tmp_path):
  network = make_network(
    'convnet', image_shape=(2, 2, 1), classes=2, width=4, depth=1, norm='batch'
  )
  config = EmbedderConfig(networks=1, snapshots=1)
  pretrain = dataclasses.replace(PRETRAIN, epochs=1)
  pool = make(tmp_path, network, config, pretrain)
  trained = pretraining.pretrain(
    network, TRAIN, pretrain, jax.random.fold_in(KEY, 0)
  )
  drawn, _ = pool.embedder()(KEY)
  assert jax.tree.structure(drawn) == jax.tree.structure(trained.variables)
  jax.tree.map(np.testing.assert_array_equal, drawn, trained.variables)


# What cannot be used.


@pytest.mark.parametrize(
  ('changes', 'named'),
  [
    ({'fingerprint': 'other'}, "fingerprint: 'data' -> 'other'"),
    ({'key': jax.random.key(1)}, 'key: '),
    (
      {'pretrain': dataclasses.replace(PRETRAIN, learning_rate=0.2)},
      'pretrain.learning_rate: 0.1 -> 0.2',
    ),
    (
      {'config': dataclasses.replace(CONFIG, snapshots=5)},
      'embedder.snapshots: 4 -> 5',
    ),
  ],
)
def test_a_network_of_another_pool_is_refused(folder, pool, changes, named):
  with pytest.raises(InputError) as error:
    make(folder, SAVED, **changes)
  for part in (named, 'network_000.npz', 'another embedder.dir'):
    assert part in str(error.value)


def test_a_network_of_another_shape_is_refused(folder, pool):
  other = dataclasses.replace(
    SAVED, init=lambda key: {'params': jnp.zeros((4, 3))}
  )
  with pytest.raises(InputError, match=r'000.npz .*another embedder.dir'):
    make(folder, other)


@pytest.mark.parametrize('damage', ['cut', 'text', 'bare'])
def test_a_damaged_file_is_named(tmp_path, folder, pool, damage):
  path = tmp_path / 'network_000.npz'
  whole = (folder / path.name).read_bytes()
  if damage == 'bare':
    np.savez(path, header=json.dumps({}))
  else:
    path.write_bytes({'cut': whole[: len(whole) // 2], 'text': b'no'}[damage])
  with pytest.raises(InputError, match=r'000.npz cannot be read.*delete it'):
    make(tmp_path, SAVED)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='cannot be written.*embedder.dir'):
    make(tmp_path / 'file' / 'pool')


def test_validation_images_are_needed(tmp_path):
  with pytest.raises(InputError, match='data.validation'):
    make_pool(
      SAVED,
      TRAIN,
      PIXELS[:0],
      LABELS[:0],
      CONFIG,
      PRETRAIN,
      tmp_path,
      KEY,
      fingerprint='data',
    )


def test_no_more_snapshots_than_steps(tmp_path):
  config = dataclasses.replace(CONFIG, snapshots=11)
  with pytest.raises(
    InputError, match='snapshots 11 is more than the 10 steps'
  ):
    make(tmp_path, SAVED, config)


def test_networks_of_an_earlier_version_are_read(folder, pool, tmp_path):
  for path in folder.iterdir():
    with np.load(path) as file:
      arrays: dict[str, Any] = dict(file)
    header = json.loads(str(arrays['header']))
    del header['pretrain']['schedule'], header['pretrain']['cutmix']
    arrays['header'] = np.array(json.dumps(header))
    np.savez(tmp_path / path.name, **arrays)
  assert_equal(make(tmp_path, SAVED), pool)


# Whole trainings.

TRAJECTORY = EmbedderConfig(name='trajectory', networks=2, ahead=1)


@pytest.fixture(scope='module')
def trajectories():
  return make(None, config=TRAJECTORY, fingerprint='')


def test_a_snapshot_is_kept_before_and_after_each_epoch(trajectories):
  assert trajectories.variables['steps'].tolist() == [0, 5, 10] * 2
  assert trajectories.epochs.tolist() == [0, 1, 2] * 2
  fresh = init(jax.random.split(jax.random.fold_in(KEY, 1), 3)[0])
  np.testing.assert_array_equal(
    trajectories.variables['params']['weights'][3], fresh['params']['weights']
  )


def test_whole_trainings_need_no_validation_images():
  nothing = PIXELS[:0], LABELS[:0]
  pool = make_pool(COUNTING, TRAIN, *nothing, TRAJECTORY, PRETRAIN, None, KEY)
  assert np.isnan(pool.accuracies).all()


def test_snapshots_that_are_saved_serve_both_kinds(tmp_path, trajectories):
  made = make(tmp_path, config=TRAJECTORY)
  other = dataclasses.replace(TRAJECTORY, name='interpolated')
  read = make(tmp_path, SAVED, other)
  assert_equal(read, made)
  assert_equal(made, trajectories)
