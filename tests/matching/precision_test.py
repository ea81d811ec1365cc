"""What saves time or memory, and how far it moves the result."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax import (
  condense_classes,
  evaluate,
  init_state,
  make_network,
  make_problem,
  make_step,
)
from dm_jax.config.sections import CondenseConfig, DataConfig, EvalConfig
from dm_jax.data.class_data import ClassData
from dm_jax.data.load import load

KEY = jax.random.key(0)
ONE = jax.devices()[:1]
DIGITS = 'color_crop_cutout_scale_rotate'


@functools.cache
def small_data():
  labels = np.arange(40) % 4
  shape = (40, 8, 8, 3)
  images = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
  return ClassData.from_arrays(images, labels)


@functools.cache
def small_network(name='convnet', norm='instance'):
  depth = {'depth': 2} if name == 'convnet' else {}
  return make_network(
    name, image_shape=(8, 8, 3), classes=4, width=4, norm=norm, **depth
  )


@functools.cache
def condense(network, **changes):
  """Condenses two steps; returns the states and the losses."""
  config = CondenseConfig(
    images_per_class=3,
    steps=2,
    batch_real=8,
    log_every=1,
    learning_rate=1.0,
    augment='crop',
  )
  states, losses = [], []

  def keep(state, metrics):
    states.append(state)
    losses.extend(metrics.losses)

  condense_classes(
    small_data(),
    dataclasses.replace(config, **changes),
    key=KEY,
    network=network,
    devices=ONE,
    callback=keep,
  )
  return states, np.array(losses)


@pytest.mark.parametrize('norm', ['instance', 'batch'])
def test_lower_precision_is_of_the_embedding_alone(norm):
  network = small_network(norm=norm)
  states, losses = condense(network, precision='bfloat16')
  full, full_losses = condense(network)
  assert losses.dtype == np.float32
  for state, other in zip(states, full, strict=True):
    types = {leaf.dtype for leaf in jax.tree.leaves(state)}
    assert types == {jnp.dtype(jnp.float32), jnp.dtype(jnp.int32)}
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, other)
    assert np.isfinite(state.images).all()
  # 8 bits of fraction: it is another computation, and nearly the same one.
  assert losses[0] == pytest.approx(full_losses[0], rel=0.02)
  assert (losses != full_losses).all()


def multiplied(precision, name, norm):
  """Returns the types of what a step multiplies, real and synthetic alike."""
  network, data = small_network(name, norm), small_data()
  config = CondenseConfig(
    images_per_class=3,
    batch_real=8,
    smoothing=0.0,  # Pixels and their gradients are float32 in any case.
    augment='none',
    precision=precision,
  )
  text = (
    jax.jit(make_step(network, config))
    .lower(
      init_state(data, config, KEY, network=network),
      make_problem(data, KEY, network.init),
    )
    .as_text()
  )
  operations = re.findall(
    r'stablehlo.(?:convolution|dot_general).*: \((.*)\) ->', text
  )
  assert len(operations) > 3
  return {
    element
    for line in operations
    for element in re.findall(r'[x<](b?f\d+)>', line)
  }


@pytest.mark.parametrize(
  ('name', 'norm'), [('convnet', 'instance'), ('resnet18', 'batch')]
)
def test_every_layer_has_the_precision_that_is_asked_for(name, norm):
  """A layer that made float32 of its input would lose what is gained."""
  assert multiplied('float32', name, norm) == {'f32'}
  assert multiplied('bfloat16', name, norm) == {'bf16'}


@pytest.mark.parametrize('micro_batch', [1, 5])
def test_activations_computed_again_change_nothing(micro_batch):
  network = small_network()
  options = {'micro_batch': micro_batch}
  states, losses = condense(network, **options)
  again, losses_again = condense(network, rematerialise=True, **options)
  np.testing.assert_allclose(again[-1].images, states[-1].images, atol=1e-5)
  np.testing.assert_allclose(losses_again, losses, rtol=1e-5)


def test_lower_precision_condenses_as_well():
  """Means of three networks vary by a point or so from seed to seed.

  So four points would be more than chance, and are far less than what
  condensing gains over the real images that it starts from.
  """
  data = load(DataConfig(name='digits'))
  network = make_network(
    'convnet', image_shape=(8, 8, 1), classes=10, width=16, depth=1
  )
  config = CondenseConfig(
    images_per_class=1,
    steps=100,
    batch_real=32,
    augment=DIGITS,
  )
  judged = EvalConfig(networks=3, epochs=60, augment=DIGITS)
  means = [
    evaluate(
      condense_classes(
        data.train,
        dataclasses.replace(config, precision=precision, steps=steps),
        key=KEY,
        network=network,
        devices=ONE,
      ),
      data.test_images,
      data.test_labels,
      judged,
      key=KEY,
      network=network,
      devices=ONE,
    ).mean
    for precision, steps in (
      ('float32', 100),
      ('bfloat16', 100),
      ('float32', 0),
    )
  ]
  full, lower, none = means
  assert abs(lower - full) < 0.04
  assert lower > none + 0.1
