"""Storages, and one that holds two images in one through the whole library."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dm_jax
from dm_jax import CondenseConfig, EvalConfig, SyntheticSet
from dm_jax.errors import InputError
from dm_jax.images.storage import PLAIN, Storage, get_storage, register_storage

KEY = jax.random.key(0)


def stretch(stored):
  """[H, W, D] -> its upper and its lower half, each row twice."""
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
  storage='halves',
)
NETWORK = dm_jax.make_network(
  'convnet', image_shape=(8, 8, 1), classes=3, width=4, depth=1
)


def real_images():
  labels = np.repeat(np.arange(3), 12)
  images = np.random.RandomState(0).randint(0, 256, (36, 8, 8, 1), np.uint8)
  return images, labels


@pytest.fixture(scope='module')
def states():
  return []


@pytest.fixture(scope='module')
def synthetic(states):
  return dm_jax.condense(
    *real_images(),
    CONFIG,
    key=KEY,
    network=NETWORK,
    callback=lambda state, metrics: states.append(state),
  )


def test_plain_images_are_what_they_are():
  images = jnp.arange(24.0).reshape(2, 3, 2, 2, 1)
  assert PLAIN.training_images(images) is images
  assert PLAIN.stored_images(images) is images


def test_the_images_in_a_stored_one_come_one_after_the_other():
  stored = jnp.arange(8.0).reshape(2, 4, 1, 1)  # Two images of four rows.
  images = HALVES.training_images(stored)
  assert images.shape == (4, 4, 1, 1)
  np.testing.assert_array_equal(
    images[..., 0, 0],
    [[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5], [6, 6, 7, 7]],
  )
  np.testing.assert_array_equal(HALVES.stored_images(images), stored)


def test_an_unknown_storage_brings_near_ones():
  with pytest.raises(InputError, match='did you mean halves'):
    get_storage('halfs')


def test_the_built_in_one_cannot_be_replaced():
  with pytest.raises(InputError, match='choose another name'):
    register_storage(Storage('plain', 2, stretch))


def test_stored_images_are_counted_and_training_images_trained_on(synthetic):
  assert synthetic.storage == 'halves'
  assert synthetic.stored.shape == (6, 8, 8, 1)
  assert synthetic.images.shape == (12, 8, 8, 1)
  assert synthetic.class_of.tolist() == [0, 0, 1, 1, 2, 2]
  assert synthetic.labels.tolist() == np.repeat([0, 1, 2], 4).tolist()
  np.testing.assert_array_equal(
    synthetic.images, HALVES.training_images(synthetic.stored)
  )
  # What is drawn are the stored ones.
  assert synthetic.images_uint8.shape == (6, 8, 8, 1)


def test_it_starts_from_real_images_that_are_shrunk():
  state = dm_jax.init_state(
    dm_jax.ClassData.from_arrays(*real_images()), CONFIG, KEY, network=NETWORK
  )
  plain = dm_jax.init_state(
    dm_jax.ClassData.from_arrays(*real_images()),
    dataclasses.replace(CONFIG, storage='plain', images_per_class=4),
    KEY,
    network=NETWORK,
  )
  expected = jax.vmap(HALVES.stored_images)(plain.images)
  np.testing.assert_allclose(state.images, expected, rtol=1e-6)


def test_a_class_must_have_the_images_that_fill_a_stored_one():
  images, labels = real_images()
  with pytest.raises(InputError, match='use at most 6'):
    dm_jax.condense(
      images,
      labels,
      dataclasses.replace(CONFIG, images_per_class=7),
      key=KEY,
      network=NETWORK,
    )


def test_a_nested_set_has_the_first_stored_images(synthetic):
  first = synthetic.first(1)
  np.testing.assert_array_equal(first.stored, synthetic.stored[::2])
  assert len(first.images) == 6


def test_it_is_saved_as_stored_and_read_back(synthetic, tmp_path):
  synthetic.save(tmp_path / 'set.npz')
  with np.load(tmp_path / 'set.npz') as file:
    assert file['images'].shape == (6, 8, 8, 1)
    assert str(file['storage']) == 'halves'
  loaded = SyntheticSet.load(tmp_path / 'set.npz')
  assert loaded.fingerprint() == synthetic.fingerprint()
  np.testing.assert_array_equal(loaded.images, synthetic.images)


def test_a_file_of_a_storage_that_is_not_there_is_refused(synthetic, tmp_path):
  other = dataclasses.replace(synthetic, storage='plain')
  dataclasses.replace(other, storage='plain').save(tmp_path / 'set.npz')
  with np.load(tmp_path / 'set.npz') as file:
    arrays = {**file, 'storage': np.array('thirds')}
  np.savez(tmp_path / 'set.npz', allow_pickle=False, **arrays)
  with pytest.raises(InputError, match="unknown storage 'thirds'"):
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


def test_going_on_from_a_state_is_the_straight_run(synthetic, states):
  middle = next(state for state in states if 0 < int(state.step) < CONFIG.steps)
  resumed = dm_jax.condense(
    *real_images(), CONFIG, key=KEY, network=NETWORK, state=middle
  )
  np.testing.assert_array_equal(resumed.stored, synthetic.stored)
