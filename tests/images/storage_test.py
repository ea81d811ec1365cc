"""Storages, and two that hold several images through the whole library."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dm_jax
from dm_jax import CondenseConfig, EvalConfig, SyntheticSet
from dm_jax.errors import InputError
from dm_jax.images.storage import PLAIN, Storage, get_storage, register_storage
from dm_jax.selection.select import select_classes

KEY = jax.random.key(0)


def stretch(stored, grey):
  """[H, W, D] -> its upper and its lower half, each row twice."""
  del grey
  halves = stored.reshape(2, -1, *stored.shape[1:])
  return halves.repeat(2, axis=1)


def shrink(images):
  """[2, H, W, D] -> one above the other, of two rows the mean."""
  _, height, *rest = images.shape
  return images.reshape(2, height // 2, 2, *rest).mean(2).reshape(height, *rest)


HALVES = Storage('halves', per_stored=2, decode=stretch, encode=shrink)
register_storage(HALVES)
CONFIG = CondenseConfig(
  images_per_class=(1, 2),
  steps=4,
  batch_real=4,
  augment='crop_flip',
)
CONFIGS = {
  'halves': dataclasses.replace(CONFIG, storage='halves'),
  'tiles:2': dataclasses.replace(CONFIG, storage='tiles', factor=2),
}
NETWORK = dm_jax.make_network(
  'convnet', image_shape=(8, 8, 1), classes=3, width=4, depth=1
)


def real_images():
  labels = np.repeat(np.arange(3), 12)
  images = np.random.RandomState(0).randint(0, 256, (36, 8, 8, 1), np.uint8)
  return images, labels


@pytest.fixture(scope='module', params=CONFIGS)
def config(request):
  return CONFIGS[request.param]


@pytest.fixture(scope='module')
def storage(config):
  return get_storage(config.stored_as)


@pytest.fixture(scope='module')
def made(config):
  """The set that is condensed so, and the states on the way."""
  states = []
  synthetic = dm_jax.condense(
    *real_images(),
    config,
    key=KEY,
    network=NETWORK,
    callback=lambda state, metrics: states.append(state),
  )
  return synthetic, states


@pytest.fixture(scope='module')
def synthetic(made):
  return made[0]


@pytest.fixture(scope='module')
def states(made):
  return made[1]


def test_plain_images_are_what_they_are():
  images = jnp.arange(24.0).reshape(2, 3, 2, 2, 1)
  assert PLAIN.training_images(images, jnp.zeros(1)) is images
  assert PLAIN.stored_images(images) is images


def test_the_images_in_a_stored_one_come_one_after_the_other():
  stored = jnp.arange(8.0).reshape(2, 4, 1, 1)  # Two images of four rows.
  images = HALVES.training_images(stored, jnp.zeros(1))
  assert images.shape == (4, 4, 1, 1)
  np.testing.assert_array_equal(
    images[..., 0, 0],
    [[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5], [6, 6, 7, 7]],
  )
  np.testing.assert_array_equal(HALVES.stored_images(images), stored)


def test_an_unknown_storage_brings_near_ones():
  with pytest.raises(InputError, match='did you mean halves'):
    get_storage('halfs')


@pytest.mark.parametrize('name', ['plain', 'tiles', 'tiles:2'])
def test_the_built_in_ones_cannot_be_replaced(name):
  with pytest.raises(InputError, match='choose another name'):
    register_storage(Storage(name, 2, stretch))


@pytest.mark.parametrize('name', ['tiles', 'tiles:1', 'tiles:x', 'tiles:-2'])
def test_tiles_say_their_factor(name):
  with pytest.raises(InputError, match=f"'{name}' .* e.g. tiles:2"):
    get_storage(name)


def test_tiles_are_enlarged_between_the_centres_of_their_pixels():
  # Tiles of two pixels a side, each the same along one of the sides. Centres
  # of the new pixels lie at -1/4, 1/4, 3/4 and 5/4 of the old ones'.
  rows = np.array([0.0, 4.0, 8.0, 12.0], np.float32)
  images = get_storage('tiles:2').training_images(
    jnp.broadcast_to(rows[:, None, None], (1, 4, 4, 1)), jnp.zeros(1)
  )
  expected = [[0, 1, 3, 4], [0, 1, 3, 4], [8, 9, 11, 12], [8, 9, 11, 12]]
  for image, along in zip(images[..., 0], expected, strict=True):
    np.testing.assert_allclose(image, np.repeat(along, 4).reshape(4, 4))


def test_tiles_are_padded_with_mid_grey_whatever_the_normalisation():
  unit = np.random.RandomState(0).uniform(size=(2, 5, 5, 2)).astype(np.float32)
  mean, std = (0.25, 0.5), (0.125, 0.5)
  names = ('0', '1')
  normalised = (unit - np.array(mean)) / np.array(std)
  plain, moved = (
    dataclasses.replace(
      SyntheticSet.from_images(images, np.arange(2), *statistics, names),
      storage='tiles:2',
    ).images
    for images, statistics in (
      (unit, ((0.0, 0.0), (1.0, 1.0))),
      (normalised.astype(np.float32), (mean, std)),
    )
  )
  np.testing.assert_allclose(
    np.asarray(moved) * np.array(std) + np.array(mean), plain, atol=1e-6
  )
  # The last pixel of the last tile lies in the padding.
  np.testing.assert_allclose(plain[3, -1, -1], 0.5)
  assert np.abs(np.asarray(plain[0, -1, -1]) - 0.5).min() > 0.01


def test_the_gradient_of_tiles_is_that_of_an_affine_map():
  storage, grey = get_storage('tiles:2'), jnp.full(1, 0.5)
  rng = np.random.RandomState(0)
  stored, move = rng.normal(size=(2, 1, 5, 5, 1)).astype(np.float32)
  weights = rng.normal(size=(4, 5, 5, 1)).astype(np.float32)

  def loss(stored):
    return (weights * storage.training_images(stored, grey)).sum()

  along = (jax.grad(loss)(stored) * move).sum()
  np.testing.assert_allclose(
    along, loss(stored + move) - loss(stored), rtol=1e-4
  )


@pytest.mark.parametrize(
  ('factor', 'side', 'remedy'),
  [
    (5, 8, 'use 4'),  # The fifth tile would be padding alone.
    (3, 7, 'use 2'),  # The third tile would hold one pixel a side.
    (2, 3, 'use condense.storage plain'),
  ],
)
def test_a_factor_that_images_are_too_small_for(factor, side, remedy):
  data = dm_jax.ClassData.from_arrays(
    np.zeros((20, side, side, 1), np.uint8), np.zeros(20, int)
  )
  config = CondenseConfig(storage='tiles', factor=factor, images_per_class=1)
  message = f'condense.factor {factor} .* {side}×{side}: {remedy}$'
  with pytest.raises(InputError, match=message):
    dm_jax.condense_classes(data, config, key=KEY, network=NETWORK)
  with pytest.raises(InputError, match=message):
    select_classes(data, 'random', 1, key=KEY, storage=config.stored_as)


@pytest.mark.parametrize(
  'settings',
  [
    {'factor': 2},
    {'storage': 'tiles'},
    {'storage': 'halves', 'factor': 2},
    {'storage': 'tiles:2'},
  ],
)
def test_a_factor_goes_with_tiles_alone(settings):
  with pytest.raises(InputError, match='does not go with') as error:
    CondenseConfig(**settings)
  assert error.value.setting == 'condense.factor'
  assert '\n' not in str(error.value)


def test_stored_images_are_counted_and_training_images_trained_on(
  config, storage, synthetic
):
  each = storage.per_stored
  assert synthetic.storage == config.stored_as == storage.name
  assert synthetic.stored.shape == (6, 8, 8, 1)
  assert synthetic.images.shape == (6 * each, 8, 8, 1)
  assert synthetic.class_of.tolist() == [0, 0, 1, 1, 2, 2]
  assert synthetic.labels.tolist() == np.repeat([0, 1, 2], 2 * each).tolist()
  np.testing.assert_array_equal(
    synthetic.images, storage.training_images(synthetic.stored, jnp.zeros(1))
  )
  # What is drawn are the stored ones.
  assert synthetic.images_uint8.shape == (6, 8, 8, 1)


def test_as_plain_stores_what_is_trained_on(synthetic):
  plain = synthetic.as_plain()
  assert plain.storage == 'plain'
  np.testing.assert_array_equal(plain.stored, synthetic.images)
  np.testing.assert_array_equal(plain.class_of, synthetic.labels)
  np.testing.assert_array_equal(plain.targets, synthetic.training_targets)
  assert plain.fingerprint() == synthetic.fingerprint()


def test_it_starts_from_real_images_that_are_shrunk(config, storage):
  state = dm_jax.init_state(
    dm_jax.ClassData.from_arrays(*real_images()), config, KEY, network=NETWORK
  )
  plain = dm_jax.init_state(
    dm_jax.ClassData.from_arrays(*real_images()),
    dataclasses.replace(CONFIG, images_per_class=2 * storage.per_stored),
    KEY,
    network=NETWORK,
  )
  expected = jax.vmap(storage.stored_images)(plain.images)
  np.testing.assert_allclose(state.images, expected, rtol=1e-6)


def test_a_class_must_have_the_images_that_fill_a_stored_one(config, storage):
  images, labels = real_images()
  most = 12 // storage.per_stored
  with pytest.raises(InputError, match=f'use at most {most}'):
    dm_jax.condense(
      images,
      labels,
      dataclasses.replace(config, images_per_class=most + 1),
      key=KEY,
      network=NETWORK,
    )


def test_a_nested_set_has_the_first_stored_images(storage, synthetic):
  first = synthetic.first(1)
  np.testing.assert_array_equal(first.stored, synthetic.stored[::2])
  assert len(first.images) == 3 * storage.per_stored


def test_it_is_saved_as_stored_and_read_back(synthetic, tmp_path):
  synthetic.save(tmp_path / 'set.npz')
  with np.load(tmp_path / 'set.npz') as file:
    assert file['images'].shape == (6, 8, 8, 1)
    assert str(file['storage']) == synthetic.storage
  loaded = SyntheticSet.load(tmp_path / 'set.npz')
  assert loaded.fingerprint() == synthetic.fingerprint()
  np.testing.assert_array_equal(loaded.images, synthetic.images)


def test_a_file_of_a_storage_that_is_not_there_is_refused(synthetic, tmp_path):
  synthetic.save(tmp_path / 'set.npz')
  with np.load(tmp_path / 'set.npz') as file:
    arrays = dict(file)
  for name, message in (
    ('thirds', "unknown storage 'thirds'"),
    ('tiles', 'e.g. tiles:2'),
    ('tiles:5', 'condense.factor 5 .* use 4'),
  ):
    arrays['storage'] = np.array(name)
    np.savez(tmp_path / 'set.npz', allow_pickle=False, **arrays)
    with pytest.raises(InputError, match=message):
      SyntheticSet.load(tmp_path / 'set.npz')


def test_networks_train_on_the_training_images(synthetic):
  images, labels = real_images()
  config = EvalConfig(networks=1, epochs=2, batch_size=5)
  plain = SyntheticSet.from_images(
    synthetic.images,
    synthetic.labels,
    synthetic.mean,
    synthetic.std,
    synthetic.class_names,
  )
  results = [
    dm_jax.evaluate(s, images, labels, config, key=KEY, network=NETWORK)
    for s in (synthetic, plain)
  ]
  assert results[0].correct == results[1].correct


def test_any_number_of_devices_gives_the_same(config, synthetic):
  alone = dm_jax.condense_classes(
    dm_jax.ClassData.from_arrays(*real_images()),
    config,
    key=KEY,
    network=NETWORK,
    devices=jax.local_devices()[:1],
  )
  np.testing.assert_allclose(alone.stored, synthetic.stored, atol=1e-4)


def test_random_real_images_fill_as_many_stored_ones(config, storage):
  data = dm_jax.ClassData.from_arrays(*real_images())
  choose = functools.partial(select_classes, data, key=KEY)
  filled = choose('random', 2, storage=config.stored_as)
  assert filled.storage == config.stored_as
  drawn = choose('random', 2 * storage.per_stored)
  # Plain ones are drawn alike: the first of them are the whole ones.
  images = drawn.stored.reshape(3, -1, 8, 8, 1)
  np.testing.assert_allclose(
    filled.stored.reshape(3, 2, 8, 8, 1),
    jax.vmap(storage.stored_images)(images),
    rtol=1e-6,
  )
  whole = choose('random_full', 2, storage=config.stored_as)
  assert whole.storage == 'plain'
  np.testing.assert_array_equal(
    whole.stored.reshape(3, 2, 8, 8, 1), images[:, :2]
  )
  most = 12 // storage.per_stored
  with pytest.raises(InputError, match=f'has 12; choose at most {most}, or'):
    choose('random', most + 1, storage=config.stored_as)
  assert choose('random_full', most + 1).stored.shape[0] == 3 * (most + 1)


@pytest.mark.parametrize(
  ('size', 'message'),
  [
    (2, '2, each of 9 real ones, is more .* 12 images .*: use at most 1, or'),
    (
      1,
      r'1, each of 9 real ones, is more .* 6 .* smaller condense\.factor, or',
    ),
  ],
)
def test_too_few_real_images_for_tiles_say_what_helps(size, message):
  images, labels = real_images()
  if size == 1:
    kept = np.concatenate([np.flatnonzero(labels == c)[:6] for c in range(3)])
    images, labels = images[kept], labels[kept]
  config = CondenseConfig(
    images_per_class=size, steps=1, batch_real=4, storage='tiles', factor=3
  )
  with pytest.raises(InputError, match=message):
    dm_jax.condense(images, labels, config, network=NETWORK, key=KEY)


def test_a_memory_counts_the_bytes_of_stored_images(config, storage):
  learner = dm_jax.ContinualLearner(
    'random',
    dataclasses.replace(config, images_per_class=2),
    key=KEY,
    budget_bytes=2 * 3 * 64,  # Two images of each of three classes.
    store='uint8',
  )
  images, labels = real_images()
  for group in ([0], [1, 2]):
    rows = np.isin(labels, group)
    memory = learner.observe(images[rows], labels[rows])
  assert memory.storage == config.stored_as
  assert memory.class_of.tolist() == [0, 0, 1, 1, 2, 2]
  assert len(memory.images) == 6 * storage.per_stored


def test_going_on_from_a_state_is_the_straight_run(config, synthetic, states):
  middle = next(state for state in states if 0 < int(state.step) < CONFIG.steps)
  resumed = dm_jax.condense(
    *real_images(), config, key=KEY, network=NETWORK, state=middle
  )
  np.testing.assert_array_equal(resumed.stored, synthetic.stored)
