"""A run by tiles, snapshots of trainings and a cross entropy, end to end."""

import dataclasses
import importlib
import itertools
import json
import math
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dm_jax
from dm_jax.condensing.condense import condense_classes
from dm_jax.condensing.plan import make_plan
from dm_jax.condensing.targets import make_targets_ahead
from dm_jax.config.fields import differences
from dm_jax.config.recipes import RECIPES, TRAINED_BY, recipe
from dm_jax.config.sections import PretrainConfig
from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError
from dm_jax.images import tiles
from dm_jax.run.config import RunConfig
from dm_jax.run.run import run
from dm_jax.training.pool import make_pool

# `trajectory`, with less of everything.
SMALL = {
  'condense.storage': 'tiles',
  'condense.factor': 2,
  'condense.augment': 'color+crop+cutout',
  'condense.cross_entropy': 2.5,
  'condense.clamp': True,
  'condense.momentum': 0.0,
  'embedder.name': 'trajectory',
  'embedder.networks': 2,
  'embedder.ahead': 1,
  'pretrain.epochs': 2,
  'pretrain.batch_size': 8,
  'pretrain.augment': 'color+crop',
  'pretrain.schedule': 'thirds',
  'pretrain.cutmix': 0.5,
}
# By data set: its recipe's tiles of a single image per class.
SETS = {
  'mnist': 'tiles:2',
  'fashion_mnist': 'tiles:2',
  'svhn': 'tiles:3',
  'cifar10': 'tiles:3',
  'cifar100': 'tiles:3',
  'tiny_imagenet': 'tiles:2',
  'digits': 'tiles:3',
}


def pixels(count):
  """Noise of 8 × 8 pixels, of three classes in turn, and their labels."""
  rng = np.random.default_rng(count)
  return rng.integers(0, 256, (count, 8, 8, 1), np.uint8), np.arange(count) % 3


@pytest.fixture(scope='module')
def start(make_config, twelve_of_each):
  """A function of a folder and settings that runs, and returns the results."""

  def start(folder, **changes):
    settings = {'data.dir': str(twelve_of_each), 'output.checkpoint_seconds': 0}
    config = make_config(**settings | SMALL | changes)
    return run(config, mode='run', folder=folder, say=lambda line: None)

  return start


@pytest.fixture(scope='module')
def finished(start, tmp_path_factory):
  folder = tmp_path_factory.mktemp('recipe')
  return folder, start(folder)


def test_each_loss_is_logged_and_plotted_by_name(finished):
  folder, results = finished
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  last = json.loads(lines[-1])
  parts = last['loss_mean'] + last['loss_cross_entropy']
  np.testing.assert_allclose(last['loss'], parts, rtol=1e-6)
  assert set(results['condensing']['0']['final_losses']) == {
    'mean',
    'cross_entropy',
  }
  assert 'cross entropy' in (folder / 'report.html').read_text()


def test_each_training_is_kept_whole(finished):
  folder, _ = finished
  files = sorted((folder / 'pool').iterdir())
  assert [file.name for file in files] == ['network_000.npz', 'network_001.npz']
  with np.load(files[0]) as file:
    assert all(len(file[n]) == 3 for n in file.files if 'leaf' in n)


def test_a_run_that_lost_its_end_goes_on_to_the_same_bytes(
  start, finished, tmp_path
):
  folder = tmp_path / 'run'
  shutil.copytree(finished[0], folder)
  shutil.rmtree(folder / 'checkpoints' / '4')
  (folder / 'synthetic.npz').unlink()
  assert start(folder)['resumed_from'] == [2]
  again = (folder / 'synthetic.npz').read_bytes()
  assert again == (finished[0] / 'synthetic.npz').read_bytes()


@pytest.mark.parametrize('lost', [(), ('synthetic.npz',)])
def test_a_condensed_run_starts_again_without_its_pool(
  start, finished, tmp_path, lost
):
  folder = tmp_path / 'run'
  shutil.copytree(finished[0], folder)
  shutil.rmtree(folder / 'pool')
  for name in lost:
    (folder / name).unlink()
  assert start(folder)['evaluations'] == finished[1]['evaluations']
  again = (folder / 'synthetic.npz').read_bytes()
  assert again == (finished[0] / 'synthetic.npz').read_bytes()
  assert not (folder / 'pool').exists()


def test_a_run_stopped_in_its_second_set_goes_on(start, finished, tmp_path):
  folder, pool = tmp_path / 'run', {'embedder.dir': str(finished[0] / 'pool')}
  start(folder, sets=2, **pool)
  made = (folder / 'set_1' / 'synthetic.npz').read_bytes()
  first = (folder / 'synthetic.npz').stat().st_mtime_ns
  shutil.rmtree(folder / 'set_1')
  start(folder, sets=2, **pool)
  assert (folder / 'set_1' / 'synthetic.npz').read_bytes() == made
  assert (folder / 'synthetic.npz').stat().st_mtime_ns == first


def test_a_shared_pool_is_trained_once(start, finished, tmp_path):
  folder = tmp_path / 'run'
  pool = tmp_path / 'pool'
  shutil.copytree(finished[0] / 'pool', pool)
  before = {file: file.stat().st_mtime_ns for file in pool.iterdir()}
  start(folder, **{'embedder.dir': str(pool)})
  made = (folder / 'synthetic.npz').read_bytes()
  assert made == (finished[0] / 'synthetic.npz').read_bytes()
  assert {file: file.stat().st_mtime_ns for file in pool.iterdir()} == before


CACHED = {'embedder.targets': 'cached', 'embedder.draws': 2}


@pytest.fixture(scope='module')
def cached(start, finished, tmp_path_factory):
  """A run that computed its targets ahead, with the pool of another."""
  folder = tmp_path_factory.mktemp('cached')
  pool = tmp_path_factory.mktemp('pool')
  shutil.copytree(finished[0] / 'pool', pool, dirs_exist_ok=True)
  start(folder, **CACHED, **{'embedder.dir': str(pool)})
  return folder, pool


def targets(pool):
  """Of each class a file, in a folder for each kind of target."""
  return sorted(pool.glob('targets_*/class_*.npz'))


def test_cached_targets_serve_every_size_and_seed_of_set(
  start, cached, tmp_path
):
  _, pool = cached
  files = targets(pool)
  assert len(files) == 3
  before = [file.stat().st_mtime_ns for file in files]
  more = {'condense.images_per_class': 2, 'condense.cross_entropy': 0.5}
  start(
    tmp_path / 'run', sets=2, **CACHED, **more, **{'embedder.dir': str(pool)}
  )
  assert files == targets(pool)
  assert [file.stat().st_mtime_ns for file in files] == before


def test_a_stop_costs_the_targets_of_one_class(start, cached, tmp_path):
  _, pool = cached
  shared = tmp_path / 'pool'
  shutil.copytree(pool, shared)
  first, second, third = targets(shared)
  made = second.read_bytes()
  kept = first.stat().st_mtime_ns, third.stat().st_mtime_ns
  second.unlink()
  start(tmp_path / 'run', **CACHED, **{'embedder.dir': str(shared)})
  assert second.read_bytes() == made
  assert (first.stat().st_mtime_ns, third.stat().st_mtime_ns) == kept


def test_other_targets_get_another_folder(start, cached, tmp_path):
  _, pool = cached
  shared = tmp_path / 'pool'
  shutil.copytree(pool, shared)
  dir = {'embedder.dir': str(shared)}
  start(tmp_path / 'a', **{**CACHED, 'condense.augment': 'crop'}, **dir)
  assert len(targets(shared)) == 6
  start(tmp_path / 'b', **{**CACHED, 'embedder.draws': 3}, **dir)
  assert len(targets(shared)) == 9


def test_a_run_with_cached_targets_resumes_to_the_same_bytes(
  start, cached, tmp_path
):
  made, pool = cached
  folder = tmp_path / 'run'
  shutil.copytree(made, folder)
  shutil.rmtree(folder / 'checkpoints' / '4')
  (folder / 'synthetic.npz').unlink()
  start(folder, **CACHED, **{'embedder.dir': str(pool)})
  again = (folder / 'synthetic.npz').read_bytes()
  assert again == (made / 'synthetic.npz').read_bytes()


def test_damaged_targets_are_refused_in_a_line(start, cached, tmp_path):
  _, pool = cached
  shared = tmp_path / 'pool'
  shutil.copytree(pool, shared)
  file = targets(shared)[1]
  file.write_bytes(file.read_bytes()[:-200])
  with pytest.raises(InputError, match='cannot be read as targets') as error:
    start(tmp_path / 'run', **CACHED, **{'embedder.dir': str(shared)})
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'embedder.name': 'random'},
      'cross_entropy 2.5 needs trained networks: set embedder.name trajectory',
    ),
    (
      {**CACHED, 'embedder.name': 'interpolated'},
      'embedder.targets cached needs networks that come again',
    ),
    (
      {**CACHED, 'network.norm': 'batch'},
      'embedder.targets cached needs a network that embeds each image alone',
    ),
    ({'pretrain.epochs': 0}, 'pretrain.epochs must be at least 1, got 0'),
    ({'pretrain.cutmix': 1.5}, r'pretrain.cutmix must be in \[0, 1\], got 1.5'),
    (
      {'condense.images_per_class': (1, 2), 'condense.decoded_at_once': 4},
      'decoded_at_once 4 is less than the 8 training images',
    ),
    (
      {'evaluate.protocol': 'dsa'},
      "unknown evaluate.protocol 'dsa': .*known are dm, idc",
    ),
  ],
)
def test_what_cannot_be_done_is_refused(start, tmp_path, changes, message):
  with pytest.raises(InputError, match=message) as error:
    start(tmp_path / 'run', **changes)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'run').exists()


# Presets.


@pytest.mark.parametrize('name', sorted({*RECIPES} - {'paper'}))
def test_nested_sets_of_a_recipe_share_all_that_they_hold(name):
  made = recipe(name, image_shape=(32, 32, 3), images_per_class=(10, 100))
  assert made.condense.decoded_at_once == 0
  alone = recipe(name, image_shape=(32, 32, 3), images_per_class=100)
  assert 0 < alone.condense.decoded_at_once <= 200


@pytest.mark.parametrize('name', sorted(SETS))
def test_every_set_has_the_recipe(name):
  config = importlib.import_module(f'dm_jax.configs.{name}')
  found = RunConfig.from_dict(
    config.get_config('ipc=1:recipe=trajectory').to_dict()
  )
  made = recipe('trajectory', image_shape=(32, 32, 3), images_per_class=1)
  assert found.condense.sizes == (1,)
  assert found.condense.stored_as == SETS[name]
  assert found.condense.augment == 'color+crop+cutout'
  assert found.embedder == made.embedder
  assert found.pretrain == made.pretrain
  plain = RunConfig.from_dict(config.get_config('ipc=1').to_dict())
  assert plain.condense.stored_as == 'plain'
  assert plain.embedder.name == 'random'


@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    ('recipe=trajectories', 'did you mean trajectory.* known are paper, traj'),
    ('ipc=0:recipe=paper', 'ipc must be a whole number from 1 up'),
    ('receipt=paper', 'did you mean recipe.* known are ipc, recipe'),
  ],
)
def test_an_argument_that_means_nothing_is_refused(argument, message):
  with pytest.raises(InputError, match=message):
    importlib.import_module('dm_jax.configs.cifar10').get_config(argument)


@pytest.mark.parametrize('side', [8, 28, 32, 48, 64, 96, 128, 224, 256])
def test_tiles_lie_where_they_are_cut(side):
  made = recipe('trajectory', image_shape=(side, side, 1), images_per_class=1)
  factor = made.condense.factor
  numbers = np.arange(factor * factor) + 1.0
  shape = (*numbers.shape, side, side, 1)
  images = jnp.broadcast_to(numbers[:, None, None, None], shape)
  stored = np.asarray(tiles.lay(images, factor=factor))[..., 0]
  cut = math.ceil(side / factor)
  for number, (row, column) in zip(
    numbers, itertools.product(range(factor), repeat=2), strict=True
  ):
    tile = stored[row * cut :, column * cut :][:cut, :cut]
    assert np.all(tile == number)


def test_tiles_and_cross_entropy_go_with_the_images_of_a_class():
  made = [
    recipe(
      'trajectory', image_shape=(32, 32, 3), images_per_class=size
    ).condense
    for size in (1, 10, 50, (1, 50))
  ]
  assert [each.factor for each in made] == [3, 3, 2, 2]
  weights = [each.cross_entropy for each in made]
  # Chosen by benchmarks/settings.py; for 10 and 50 they are TGDD's, section 4.
  assert weights == [10.0, 2.5, 0.5, 0.5]


@pytest.mark.parametrize('name', RECIPES)
def test_a_recipe_says_what_it_is(name):
  assert re.search(r'\(.*20\d\d\)', RECIPES[name].__doc__ or '')


@pytest.mark.parametrize('name', RECIPES)
@pytest.mark.parametrize('image_shape', [(28, 28), 32, (32, 32, 0), None])
def test_a_recipe_is_for_images_of_a_shape(name, image_shape):
  with pytest.raises(InputError, match=r'must be \(H, W, D\), .* got') as error:
    recipe(name, image_shape=image_shape, images_per_class=1)
  assert '\n' not in str(error.value)


# From Python.


def small_recipe():
  made = recipe('trajectory', image_shape=(8, 8, 1), images_per_class=1)
  return dataclasses.replace(
    made,
    condense=dataclasses.replace(made.condense, steps=3, batch_real=4),
    embedder=dataclasses.replace(made.embedder, networks=1),
    pretrain=dataclasses.replace(made.pretrain, epochs=1, batch_size=8),
  )


@pytest.fixture(scope='module')
def network():
  return dm_jax.make_network(
    'convnet', image_shape=(8, 8, 1), classes=3, width=4, depth=1
  )


def test_a_recipe_condenses_arrays(network):
  key = jax.random.key(0)
  made = dm_jax.condense(*pixels(36), small_recipe(), key=key, network=network)
  assert made.storage == 'tiles:3'
  assert made.stored.shape == (3, 8, 8, 1)
  assert made.images.shape == (27, 8, 8, 1)
  again = dm_jax.condense(*pixels(36), small_recipe(), key=key, network=network)
  assert made.fingerprint() == again.fingerprint()


def test_a_finished_state_trains_no_networks(network, monkeypatch):
  made, states = small_recipe(), []

  def condense(**changes):
    return dm_jax.condense(
      *pixels(36), made, key=jax.random.key(0), network=network, **changes
    )

  expected = condense(callback=lambda state, _: states.append(state))

  def train(*_):
    raise AssertionError('there is no step left')

  module = importlib.import_module('dm_jax.condensing.condense')
  monkeypatch.setattr(module, '_train_embedder', train)
  again = condense(state=states[-1])
  np.testing.assert_array_equal(again.stored, expected.stored)
  with pytest.raises(AssertionError, match='no step left'):
    condense()


def test_a_state_of_a_recipe_binds_how_its_networks_are_trained(network):
  made, states = small_recipe(), []

  def condense(made, state=None):
    return dm_jax.condense(
      *pixels(36),
      made,
      key=jax.random.key(0),
      network=network,
      state=state,
      callback=lambda state, _: states.append(state),
    )

  expected = condense(made)
  state = states[0]
  shared = dataclasses.replace(made.embedder, dir='/shared')
  again = condense(dataclasses.replace(made, embedder=shared), state)
  np.testing.assert_allclose(again.stored, expected.stored, atol=1e-5)
  more = dataclasses.replace(made.embedder, networks=2)
  longer = dataclasses.replace(made.pretrain, epochs=2)
  for changed, message in [
    (dataclasses.replace(made, embedder=more), 'embedder.networks: 1 -> 2'),
    (dataclasses.replace(made, pretrain=longer), 'pretrain.epochs: 1 -> 2'),
  ]:
    with pytest.raises(InputError, match=message):
      condense(changed, state)
  # A state of before the origin told this.
  old = {k: v for k, v in state.origin.items() if k not in TRAINED_BY}
  assert len(old) == len(state.origin) - 2
  condense(made, dataclasses.replace(state, origin=old))


def test_what_trains_no_network_binds_no_state():
  made = recipe('paper', image_shape=(8, 8, 1), images_per_class=1)
  other = dataclasses.replace(made, pretrain=PretrainConfig(epochs=7))
  assert made.trained == other.trained
  trajectory = recipe('trajectory', image_shape=(8, 8, 1), images_per_class=1)
  (line,) = [
    line
    for line in differences(made.trained, trajectory.trained)
    if 'name' in line
  ]
  assert line == "embedder.name: 'random' -> 'trajectory'"


@pytest.mark.parametrize('targets', ['fresh', 'cached'])
def test_devices_agree(network, targets):
  data, made = ClassData.from_arrays(*pixels(36)), small_recipe()
  nothing = pixels(0)
  key = jax.random.key(0)
  pool = make_pool(
    network, data, *nothing, made.embedder, made.pretrain, None, key
  )
  cached = None
  if targets == 'cached':
    plan = make_plan(made.condense, data, network)
    cached = make_targets_ahead(plan, data, pool.variables, made.embedder, key)
  one, *others = (
    condense_classes(
      data,
      made.condense,
      key=key,
      network=network,
      embedder=pool.embedder(made.embedder),
      cached=cached,
      devices=jax.devices()[:count],
    ).stored
    for count in (1, 3, 8)
  )
  for other in others:
    np.testing.assert_allclose(other, one, atol=1e-5)
