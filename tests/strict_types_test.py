"""The numerical core where a caller forbids that types are mixed.

Values are those of the same call without it: nothing but types may differ.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dm_jax
from dm_jax.images import augment
from dm_jax.matching.discrepancy import parse_discrepancies
from dm_jax.matching.distances import Real
from dm_jax.training import step as training
from dm_jax.training.embedders import Pool
from dm_jax.types import Batch

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
LABELS = np.arange(8, dtype=np.int32) % 2
PIXELS = jnp.asarray(IMAGES / 255, jnp.float32)


def agree(call, atol=0.0):
  """Asserts that a call gives the same under strict types as without."""
  with jax.numpy_dtype_promotion('standard'):
    expected = call()
  jax.clear_caches()  # Or a compiled program would hide what it was made of.
  with jax.numpy_dtype_promotion('strict'):
    actual = call()
  for a, b in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


@pytest.mark.parametrize('operation', augment.OPERATIONS)
def test_each_augmentation_and_its_gradient(operation):
  stages = augment.parse(operation)

  def total(image):
    drawn = augment.sample(KEY, stages, image.shape)
    changed = augment.apply(drawn, image, stages)
    return jnp.square(changed).sum(), changed

  agree(lambda: jax.value_and_grad(total, has_aux=True)(PIXELS[0]))


@pytest.mark.parametrize(
  ('name', 'options'),
  [
    *(('convnet', {'norm': norm}) for norm in ('instance', 'batch', 'layer')),
    ('convnet', {'norm': 'group', 'pooling': 'max', 'activation': 'swish'}),
    ('mlp', {}),
  ],
)
def test_networks(name, options):
  if name == 'convnet':
    options = {'width': 4, 'depth': 1} | options
  network = dm_jax.make_network(
    name, image_shape=(8, 8, 3), classes=2, **options
  )
  for train in (True, False):
    agree(
      lambda train=train: network.apply(network.init(KEY), PIXELS, Batch(train))
    )


@pytest.mark.parametrize(
  'name', ['mean', 'covariance', 'mmd', 'characteristic']
)
def test_discrepancies(name):
  ((_, discrepancy, _),) = parse_discrepancies(name)
  features = jax.random.normal(KEY, (2, 4, 6), jnp.float32)
  real = Real(features[0], jnp.array([1, 1, 1, 0], jnp.float32))

  def value(synthetic):
    kept = discrepancy.keep(real)
    return discrepancy.compare(KEY, (), kept, synthetic)[0]

  agree(lambda: jax.value_and_grad(value)(features[1]))


@pytest.mark.parametrize(
  'changes',
  [
    {'augment': 'color_crop_cutout_flip_scale_rotate'},
    {'optimizer': 'adam', 'smoothing': 1.0, 'clamp': True},
    {'precision': 'bfloat16', 'init': 'noise'},
    {'storage': 'tiles', 'factor': 2, 'decoded_at_once': 2},
  ],
)
def test_a_step(changes):
  config = dm_jax.CondenseConfig(
    **({'images_per_class': 1, 'batch_real': 2, 'augment': 'none'} | changes)
  )
  network = dm_jax.make_network(
    'convnet', image_shape=(8, 8, 3), classes=2, width=4, depth=1
  )
  data = dm_jax.ClassData.from_arrays(IMAGES, LABELS)

  def step():
    state = dm_jax.init_state(data, config, KEY, network=network)
    problem = dm_jax.make_problem(data, KEY, network.init)
    return dm_jax.make_step(network, config)(state, problem)

  agree(step, atol=1e-4)


@pytest.mark.parametrize(
  'changes',
  [
    {'augment': 'color+crop_cutout', 'schedule': 'half'},
    {'cutmix': 1.0, 'schedule': 'thirds', 'augment': 'none'},
  ],
)
def test_an_epoch_of_training(changes):
  config = training.TrainingConfig.of(
    dm_jax.EvalConfig(epochs=3, batch_size=4, **changes)
  )
  network = dm_jax.make_network(
    'convnet', image_shape=(8, 8, 3), classes=2, width=4, depth=1
  )

  def epoch():
    state = training.init_training(network, config, KEY)
    return training.train_epoch(
      network, config, state, PIXELS, jnp.asarray(LABELS), jnp.int32(2), KEY
    )

  agree(epoch, atol=1e-5)


def test_a_set_is_made_and_judged():
  network = dm_jax.make_network(
    'mlp', image_shape=(8, 8, 3), classes=2, width=4
  )
  config = dm_jax.CondenseConfig(
    images_per_class=1, steps=1, batch_real=2, augment='none'
  )
  protocol = dm_jax.EvalConfig(networks=1, epochs=0, augment='none')

  def judge():
    made = dm_jax.condense(IMAGES, LABELS, config, key=0, network=network)
    found = dm_jax.evaluate(
      made, IMAGES, LABELS, protocol, key=0, network=network
    )
    return made.images, np.array(found.correct)

  agree(judge, atol=1e-5)


def in_64_bits(call):
  # The context manager moved in jax 0.8.
  module = 'jax' if hasattr(jax, 'enable_x64') else 'jax.experimental'
  with importlib.import_module(module).enable_x64(True):
    return call()


@pytest.mark.parametrize('name', ['interpolated', 'trajectory', 'pool'])
def test_64_bits_draw_the_same_networks_of_a_pool(name):
  snapshots = np.arange(12, dtype=np.float32).reshape(6, 2)
  pool = Pool(snapshots, np.zeros(6), np.array([0.0, 1, 2] * 2))
  config = dm_jax.EmbedderConfig(name, networks=2)
  draw = jax.vmap(pool.embedder(config))
  keys = jax.random.split(KEY, 20)
  expected = draw(keys)
  actual = in_64_bits(lambda: draw(keys))
  for a, b in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


def test_64_bits_leave_the_statistics_of_a_batch_norm_alone():
  network = dm_jax.make_network(
    'convnet', image_shape=(8, 8, 3), classes=2, width=4, depth=1, norm='batch'
  )
  leaves = jax.tree.leaves(
    in_64_bits(lambda: jax.eval_shape(network.init, KEY))
  )
  assert {leaf.dtype for leaf in leaves} == {np.dtype('float32')}
