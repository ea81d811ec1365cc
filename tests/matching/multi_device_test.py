import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax import (
  condense_classes,
  init_state,
  make_network,
  make_problem,
  make_step,
)
from dm_jax.condensing.condense import PROBLEM_AXES, STATE_AXES
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.devices.layout import lay_out
from dm_jax.types import Network

KEY = jax.random.key(0)
AXES = {'each': 0, 'nested': 0, 'shared': None}


def no_logits(variables, images, *, train):
  return images.reshape(len(images), -1), variables


LINEAR = Network.from_functions(
  init=lambda key: jax.random.normal(key, (64, 5)) / 8,
  embed=lambda weights, images: images.reshape(len(images), -1) @ weights,
  logits=no_logits,
)


@pytest.mark.parametrize(
  ('classes', 'devices', 'used', 'share'),
  [
    (10, 8, 5, 2),
    (10, 4, 4, 3),
    (10, 3, 3, 4),
    (3, 8, 3, 1),
    (3, 2, 2, 2),
    (100, 8, 8, 13),
    (1, 8, 1, 1),
    (10, 1, 1, 10),
  ],
)
def test_the_fewest_devices_with_the_smallest_share_are_used(
  classes, devices, used, share
):
  layout = lay_out(classes, jax.devices()[:devices])
  assert layout.devices == tuple(jax.devices()[:used])
  assert layout.per_device == share
  assert used * share >= classes


def test_all_local_devices_are_used_unless_others_are_named():
  assert lay_out(8).devices == tuple(jax.local_devices())


def some_tree(classes):
  keys = jax.random.split(KEY, classes)
  rows = jnp.arange(2.0 * classes).reshape(classes, 2)
  nested = (np.arange(classes, dtype=np.uint8), {'keys': keys})
  return {'each': rows, 'nested': nested, 'shared': jnp.float32(3)}


@pytest.mark.parametrize('devices', [1, 3, 8])
@pytest.mark.parametrize('classes', [3, 10])
def test_gathering_undoes_dealing(classes, devices):
  layout = lay_out(classes, jax.devices()[:devices])
  tree = some_tree(classes)
  dealt = layout.deal(tree, AXES)
  gathered = layout.gather(dealt, AXES)
  assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), tree, gathered))
  assert jax.tree.map(jnp.shape, gathered) == jax.tree.map(jnp.shape, tree)


def test_padding_repeats_the_last_class_and_is_dropped():
  layout = lay_out(4, jax.devices()[:3])
  assert len(layout.devices) == 2
  layout = dataclasses.replace(layout, devices=tuple(jax.devices()[:3]))
  dealt = layout.deal(jnp.arange(4), 0)
  np.testing.assert_array_equal(dealt, [[0, 1], [2, 3], [3, 3]])
  np.testing.assert_array_equal(layout.gather(dealt, 0), [0, 1, 2, 3])


@pytest.mark.parametrize('devices', [1, 2, 3])
def test_a_compiled_function_gives_every_class_its_loss(devices):
  layout = lay_out(5, jax.devices()[:devices])

  def step(state, problem):
    losses = jnp.stack([state, 10 * state, state + problem['add']])
    return state + 1, losses

  axes, add = (0, {'add': None}), {'add': jnp.int32(7)}
  dealt = layout.deal(jnp.arange(5), 0, donated=True)
  held = layout.deal(add, axes[1])
  state, losses = layout.map(step, axes)(dealt, held)
  classes = np.arange(5)
  np.testing.assert_array_equal(layout.gather(state, 0), classes + 1)
  np.testing.assert_array_equal(
    layout.gather_last(losses), [classes, 10 * classes, classes + 7]
  )


def data_of(classes):
  """Unequal classes: the first has 4 images, the second 5, and so on."""
  counts = np.minimum(np.arange(classes) + 4, 9)
  labels = np.repeat(np.arange(classes), counts)
  shape = (len(labels), 8, 8, 1)
  images = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
  return ClassData.from_arrays(images, labels)


def config_of(**changes):
  return CondenseConfig(
    images_per_class=2,
    steps=4,
    batch_real=6,
    augment='crop_flip',
    learning_rate=1.0,
    **changes,
  )


def condense_on(devices, classes, network, **changes):
  config = config_of(**changes)
  losses = []
  synthetic = condense_classes(
    data_of(classes),
    config,
    key=KEY,
    network=network,
    devices=jax.devices()[:devices],
    callback=lambda state, metrics: losses.extend(metrics.losses),
  )
  return synthetic, np.array(losses)


def assert_same(actual, expected, classes):
  synthetic, losses = actual
  np.testing.assert_allclose(synthetic.images, expected[0].images, atol=1e-5)
  np.testing.assert_allclose(losses, expected[1], rtol=1e-5)
  assert synthetic.images.shape == (2 * classes, 8, 8, 1)
  assert len(synthetic.images.devices()) == 1
  assert len(losses) == 4


@functools.cache
def on_one_device(classes):
  return condense_on(1, classes, LINEAR)


@pytest.mark.parametrize(
  ('classes', 'devices'), [(3, 2), (3, 8), (10, 2), (10, 3), (10, 4), (10, 8)]
)
def test_any_number_of_devices_gives_the_same_images(classes, devices):
  expected = on_one_device(classes)
  assert_same(condense_on(devices, classes, LINEAR), expected, classes)


def test_two_devices_give_the_same_images_with_a_convnet():
  network = make_network(
    'convnet', image_shape=(8, 8, 1), classes=3, width=4, depth=1
  )
  assert_same(condense_on(2, 3, network), condense_on(1, 3, network), 3)


def batch_norm_network(classes):
  return make_network(
    'convnet',
    image_shape=(8, 8, 1),
    classes=classes,
    width=4,
    depth=1,
    norm='batch',
  )


@functools.cache
def batch_norm_on_one_device(together):
  network = batch_norm_network(4)
  return condense_on(1, 4, network, batch_norm_classes=together)


@pytest.mark.parametrize(
  ('together', 'devices'), [(0, 2), (0, 3), (0, 4), (2, 2), (2, 3)]
)
def test_batch_norm_gives_the_same_images_on_several_devices(together, devices):
  """Classes are unequal; the golden files have a device with padding."""
  network = batch_norm_network(4)
  actual = condense_on(devices, 4, network, batch_norm_classes=together)
  assert_same(actual, batch_norm_on_one_device(together), 4)


def test_classes_that_are_not_together_do_not_see_each_other():
  data, network = data_of(4), batch_norm_network(4)
  config = CondenseConfig(
    images_per_class=2, steps=2, batch_real=6, batch_norm_classes=2
  )
  others = dataclasses.replace(
    data, images=data.images.copy(), counts=np.array(data.counts)
  )
  others.images[2:] = 255 - others.images[2:]
  one, other = (
    condense_classes(
      some, config, key=KEY, network=network, devices=jax.devices()[:1]
    ).images
    for some in (data, others)
  )
  np.testing.assert_array_equal(one[:4], other[:4])
  assert (one[4:] != other[4:]).any()


@pytest.mark.parametrize(
  ('devices', 'together', 'share'), [(4, 2, 4), (3, 5, 5), (8, 10, 10)]
)
def test_classes_that_are_together_stay_on_one_device(devices, together, share):
  layout = lay_out(10, jax.devices()[:devices], together)
  assert layout.per_device == share
  assert len(layout.devices) == -(-10 // share)


@pytest.mark.parametrize(
  ('devices', 'together', 'at_once', 'share', 'chunks'),
  [
    (1, 1, None, 10, 1),
    (1, 1, 10, 10, 1),
    (1, 1, 3, 3, 4),  # Chunks of 3, 3, 3 and 1, not 9 of 1.
    (1, 1, 6, 5, 2),  # Equal chunks rather than 6 and 4.
    (1, 1, 1, 1, 10),
    (3, 1, 3, 2, 2),  # Of a share of 4.
    (3, 1, 1, 1, 4),
    (8, 1, 1, 1, 2),  # 5 devices are as fast as 8.
    (1, 2, 5, 4, 3),
    (1, 5, 1, 5, 2),  # What must be together goes over what is wished.
    (3, 2, 2, 2, 2),
  ],
)
def test_chunks_are_the_largest_that_are_equal_and_fit(
  devices, together, at_once, share, chunks
):
  layout = lay_out(10, jax.devices()[:devices], together, at_once)
  assert (layout.per_device, layout.chunks) == (share, chunks)


@pytest.mark.parametrize('devices', [1, 3])
def test_gathering_undoes_dealing_in_chunks(devices):
  layout = lay_out(10, jax.devices()[:devices], at_once=3)
  assert layout.chunks > 1
  tree = some_tree(10)
  dealt = [
    layout.deal(tree, AXES, chunk=chunk) for chunk in range(layout.chunks)
  ]
  gathered = layout.gather(dealt, AXES)
  assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), tree, gathered))
  assert jax.tree.map(jnp.shape, gathered) == jax.tree.map(jnp.shape, tree)
  held = [np.ravel(d['each'][..., 0]).tolist() for d in dealt]
  assert {len(rows) for rows in held} == {layout.per_chunk}
  flat = np.concatenate(held)
  np.testing.assert_array_equal(flat[:10], np.arange(10) * 2.0)
  assert set(flat[10:]) <= {18.0}, 'padding is the last class again'


class Kept:
  """A callback that keeps what it gets."""

  def __init__(self):
    self.states, self.losses = [], []

  def __call__(self, state, metrics):
    self.states.append(state)
    self.losses += metrics.losses.tolist()


def condense_kept(network, *, classes=10, devices=1, state=None, **changes):
  """Returns the result of condensing with its states and losses."""
  kept = Kept()
  synthetic = condense_classes(
    data_of(classes),
    config_of(log_every=2, **changes),
    key=KEY,
    network=network,
    devices=jax.devices()[:devices],
    state=state,
    callback=kept,
  )
  return synthetic.images, kept


@functools.cache
def unchunked():
  return condense_kept(LINEAR)


def assert_same_run(actual, expected):
  """Every array that the callers see, of all classes, in every state."""
  images, kept = actual
  expected_images, expected_kept = expected
  np.testing.assert_allclose(images, expected_images, atol=1e-5)
  np.testing.assert_allclose(kept.losses, expected_kept.losses, rtol=1e-5)
  ours, theirs = (
    {int(state.step): state for state in k.states}
    for k in (kept, expected_kept)
  )
  assert {2, 4} <= ours.keys() & theirs.keys()
  for step in ours.keys() & theirs.keys():
    assert jax.tree.map(jnp.shape, ours[step]) == (
      jax.tree.map(jnp.shape, theirs[step])
    )
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-5),
      ours[step],
      theirs[step],
    )


@pytest.mark.parametrize('devices', [1, 3])
@pytest.mark.parametrize('at_once', [1, 3])
def test_chunks_of_classes_change_nothing(devices, at_once):
  actual = condense_kept(LINEAR, devices=devices, classes_at_once=at_once)
  assert_same_run(actual, unchunked())


@pytest.mark.parametrize('devices', [1, 3])
def test_chunks_of_classes_change_nothing_with_a_convnet(devices):
  network = make_network(
    'convnet', image_shape=(8, 8, 1), classes=10, width=4, depth=1
  )
  actual = condense_kept(network, devices=devices, classes_at_once=3)
  assert_same_run(actual, condense_kept(network))


@pytest.mark.parametrize(('devices', 'at_once'), [(1, 4), (1, 2), (2, 2)])
def test_chunks_hold_whole_batches_of_batch_norm(devices, at_once):
  """10 classes, 2 a batch: chunks of 4, 4 and 2, or of 2."""
  network = batch_norm_network(10)
  actual = condense_kept(
    network, devices=devices, batch_norm_classes=2, classes_at_once=at_once
  )
  assert_same_run(actual, batch_norm_unchunked(2))


def test_batch_norm_over_all_classes_never_passes_in_chunks():
  network = batch_norm_network(10)
  actual = condense_kept(network, classes_at_once=3)
  assert_same_run(actual, batch_norm_unchunked(0))


@functools.cache
def batch_norm_unchunked(together):
  return condense_kept(batch_norm_network(10), batch_norm_classes=together)


@pytest.mark.parametrize('devices', [1, 3])
def test_a_run_in_chunks_goes_on_to_the_bit(devices):
  options = {'devices': devices, 'classes_at_once': 3}
  images, kept = condense_kept(LINEAR, **options)
  half = next(state for state in kept.states if int(state.step) == 2)
  resumed, later = condense_kept(LINEAR, **options, state=jax.device_get(half))
  np.testing.assert_array_equal(resumed, images)
  assert later.losses == kept.losses[2:]


@pytest.mark.parametrize('at_once', [0, 2])
def test_a_run_goes_on_in_other_chunks(at_once):
  images, kept = condense_kept(LINEAR, classes_at_once=3)
  half = next(state for state in kept.states if int(state.step) == 2)
  resumed, later = condense_kept(LINEAR, classes_at_once=at_once, state=half)
  np.testing.assert_allclose(resumed, images, atol=1e-5)
  np.testing.assert_allclose(later.losses, kept.losses[2:], rtol=1e-5)


COLLECTIVES = (
  'all-reduce',
  'all-gather',
  'all-to-all',
  'collective-permute',
  'reduce-scatter',
  'collective-broadcast',
)


def collectives_of(devices, network, **changes):
  """The operations by which devices wait for each other, in a compiled step."""
  data, config = data_of(4), config_of(**changes)
  layout = lay_out(4, jax.devices()[:devices], config.batch_norm_classes or 1)
  assert len(layout.devices) == min(devices, 4)
  together = network.mixes_images and not config.batch_norm_classes
  step = make_step(network, config, axis=layout.axis if together else None)
  state = init_state(data, config, KEY, network=network)
  problem = make_problem(data, KEY, network.init)
  axes = (STATE_AXES, PROBLEM_AXES)
  dealt = map(layout.deal, (state, problem), axes)
  fast = {'xla_backend_optimization_level': '0'}
  mapped: Any = layout.map(step, axes)
  text = mapped.lower(*dealt).compile(compiler_options=fast).as_text()
  assert 'dot' in text or 'convolution' in text, 'it is the compiled program'
  return {name for name in COLLECTIVES if f'{name}(' in text} | {
    name for name in COLLECTIVES if f'{name}-start(' in text
  }


def test_devices_do_not_wait_for_each_other():
  """The paper's classes are independent, and so are the devices."""
  network = make_network(
    'convnet', image_shape=(8, 8, 1), classes=4, width=4, depth=1
  )
  assert collectives_of(2, network) == set()
  assert collectives_of(4, network) == set()


def test_batch_norm_sums_over_the_devices_and_no_more():
  network = batch_norm_network(4)
  assert collectives_of(2, network) == {'all-reduce'}
  assert collectives_of(2, network, batch_norm_classes=2) == set()
