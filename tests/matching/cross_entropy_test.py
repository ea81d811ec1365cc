"""What trained networks add to a step: cross entropy, pairs, limits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax import (
  ClassData,
  CondenseConfig,
  EmbedderConfig,
  condense,
  condense_classes,
  make_network,
  make_plan,
  make_problem,
)
from dm_jax.config.recipes import Recipe
from dm_jax.errors import InputError
from dm_jax.images.storage import Storage, register_storage
from dm_jax.types import Batch, Network, Outputs, Pair

KEY = jax.random.key(0)
CONFIG = CondenseConfig(
  images_per_class=2,
  steps=3,
  batch_real=4,
  augment='none',
  cross_entropy=0.5,
  learning_rate=1.0,
)


def data_of(classes=3):
  labels = np.repeat(np.arange(classes), 8)
  shape = (len(labels), 4, 4, 1)
  images = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
  return ClassData.from_arrays(images, labels)


def apply(weights, images, batch):
  flat = images.reshape(len(images), -1)
  return Outputs(flat @ weights['embed'], (), flat @ weights['logits'], weights)


def init(key):
  one, two = jax.random.split(key)
  return {
    'embed': jax.random.normal(one, (16, 5)),
    'logits': jax.random.normal(two, (16, 3)),
  }


LINEAR = Network(init, apply)


def step_of(config, embedder=init, network=LINEAR):
  """The gradient and the comparison of the first step, and its images."""
  data = data_of()
  algorithm = make_plan(config, data, network).algorithm
  state = algorithm.init(data, KEY, config.init)
  problem = make_problem(data, KEY, embedder)
  return *algorithm.gradient(state, problem), np.asarray(state.images)


def fixed(networks):
  return jax.tree_util.Partial(lambda networks, key: networks, networks)


def mean_cross_entropy(images, weights):
  """By NumPy: of each class's images [C]."""
  logits = images.reshape(3, 2, 16) @ np.asarray(weights['logits'], np.float64)
  logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  return np.array([-logs[c, :, c].mean() for c in range(3)])


def test_the_term_is_the_mean_cross_entropy_times_its_weight():
  weights = init(KEY)
  _, compared, images = step_of(CONFIG, fixed(weights))
  expected = 0.5 * mean_cross_entropy(images, weights)
  losses = compared.losses
  np.testing.assert_allclose(losses['cross_entropy'], expected, rtol=1e-5)
  assert set(losses) == {'mean', 'cross_entropy'}


def test_without_a_weight_there_is_no_term():
  _, compared, _ = step_of(dataclasses.replace(CONFIG, cross_entropy=0.0))
  assert list(compared.losses) == ['mean']


def test_of_a_pair_one_embeds_and_the_other_classifies():
  one, other = init(jax.random.key(1)), init(jax.random.key(2))
  gradient, compared, images = step_of(CONFIG, fixed(Pair(one, other)))
  expected = 0.5 * mean_cross_entropy(images, other)
  losses = compared.losses
  np.testing.assert_allclose(losses['cross_entropy'], expected, rtol=1e-5)
  alone = dataclasses.replace(CONFIG, cross_entropy=0.0)
  part, by_one, _ = step_of(alone, fixed(one))
  np.testing.assert_allclose(losses['mean'], by_one.losses['mean'], rtol=1e-5)
  # The gradients of both add up, each by its own network.
  by_other, _, _ = step_of(CONFIG, fixed(other))
  without, _, _ = step_of(alone, fixed(other))
  np.testing.assert_allclose(
    gradient, part + (by_other - without), rtol=1e-4, atol=1e-5
  )


def test_a_pair_of_equal_networks_is_that_network():
  network = make_network(
    'convnet', image_shape=(4, 4, 1), classes=3, width=4, depth=1
  )
  variables = network.init(KEY)
  ours, _, _ = step_of(CONFIG, fixed(Pair(variables, variables)), network)
  expected, _, _ = step_of(CONFIG, fixed(variables), network)
  np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_pixels_stay_in_the_range_of_images():
  data = data_of()
  config = dataclasses.replace(CONFIG, clamp=True, learning_rate=100.0)
  made = condense_classes(data, config, key=KEY, network=LINEAR)
  black, white = ((v - data.mean[0]) / data.std[0] for v in (0.0, 1.0))
  images = np.asarray(made.images)
  np.testing.assert_allclose([images.min(), images.max()], [black, white], 1e-6)
  free = dataclasses.replace(config, clamp=False)
  images = condense_classes(data, free, key=KEY, network=LINEAR).images
  assert np.abs(images).max() > 10 * white


def copies(image, grey):
  del grey
  return jnp.stack([image * (i + 1) for i in range(3)])


def test_a_step_takes_some_of_the_training_images():
  """Of 2 stored images, 3 in each, 4 at once: 2 get no part of the gradient."""
  register_storage(Storage('scaled', 3, copies, lambda images: images[0]))
  config = dataclasses.replace(
    CONFIG, storage='scaled', init='noise', decoded_at_once=4, steps=1
  )
  seen = []

  def spy(weights, images, batch):
    if len(images) == 3 * 4:
      jax.debug.callback(lambda x: seen.append(np.array(x)), images)
    return apply(weights, images, batch)

  _, _, stored = step_of(config, network=Network(init, spy))
  jax.effects_barrier()
  (images,) = seen
  decoded = np.stack([stored * (i + 1) for i in range(3)], 2)
  decoded = decoded.reshape(3, 6, 4, 4, 1)
  for c, drawn in enumerate(images.reshape(3, 4, 4, 4, 1)):
    rows = [
      [i for i in range(6) if np.allclose(decoded[c, i], d)] for d in drawn
    ]
    assert all(len(row) == 1 for row in rows)
    assert len({row[0] for row in rows}) == 4


def test_nested_sizes_do_not_share_a_part_of_the_training_images():
  config = dataclasses.replace(
    CONFIG, images_per_class=(1, 4), decoded_at_once=3
  )
  with pytest.raises(InputError, match='decoded_at_once 3 is less than the 4'):
    make_plan(config, data_of(), LINEAR)


def test_a_network_of_too_few_outputs_is_refused():
  few = make_network(
    'convnet', image_shape=(4, 4, 1), classes=2, width=4, depth=1
  )
  with pytest.raises(
    InputError, match='has 2 outputs.* 3 classes.*cross_entropy to 0'
  ):
    make_plan(CONFIG, data_of(), few)


def test_outputs_that_nobody_reads_are_not_computed():
  """Real images need no logits, and features alone no second network."""
  reads = []

  def spy(weights, images, batch: Batch):
    outputs = apply(weights, images, batch)
    reads.append(len(images))
    return outputs

  alone = dataclasses.replace(CONFIG, cross_entropy=0.0)
  network = Network(init, spy)
  step_of(alone, fixed(Pair(init(KEY), init(KEY))), network)
  of_features = reads.count(6)
  reads.clear()
  step_of(CONFIG, fixed(Pair(init(KEY), init(KEY))), network)
  assert reads.count(6) == 2 * of_features > 0


def test_networks_that_know_nothing_are_refused():
  images = np.arange(512, dtype=np.uint8).reshape(8, 8, 8, 1) // 2
  images[:4] = 0
  labels = np.arange(8) % 2
  with pytest.raises(InputError, match='0.5 needs trained networks: give'):
    condense(images, labels, CONFIG, key=KEY)
  recipe = Recipe(CONFIG, EmbedderConfig(name='pool'))
  with pytest.raises(InputError, match="'pool' chooses networks by validation"):
    condense(images, labels, recipe, key=KEY)
