import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.config.sections import DataConfig, PretrainConfig
from dm_jax.data.class_data import ClassData
from dm_jax.data.load import load
from dm_jax.devices.pace import Pace
from dm_jax.errors import InputError
from dm_jax.networks.registry import make_network
from dm_jax.training import pretrain as pretraining
from dm_jax.training.features import accuracy, features
from dm_jax.training.pretrain import flatten, pretrain, pretrain_each
from dm_jax.types import Batch, Network

KEY = jax.random.key(0)
CLASSES = 3
LABELS = np.array([1, 0, 2, 2, 0, 1, 1, 0, 2, 1])
COUNT = len(LABELS)
PIXELS = np.random.RandomState(0).randint(0, 256, (COUNT, 2, 2, 1), np.uint8)
DATA = ClassData.from_arrays(PIXELS, LABELS)
PLAIN = PretrainConfig(
  epochs=3, batch_size=4, learning_rate=0.1, augment='none'
)


def changed(**changes):
  return dataclasses.replace(PLAIN, **changes)


def unused(*args, **options):
  raise AssertionError('this is not needed')


def no_features(variables, images):
  return images.reshape(len(images), -1)


def flat(images):
  return images.reshape(len(images), -1)


LINEAR = Network.from_functions(
  init=lambda key: {'params': jax.random.normal(key, (4, CLASSES))},
  embed=no_features,
  logits=lambda variables, images, *, train: (
    flat(images) @ variables['params'],
    variables,
  ),
)


def numbered(labels):
  """Images known by their level, which normalising leaves as it is."""
  images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
  return ClassData.from_arrays(images, labels, mean=[0.0], std=[1 / 255])


def scripted(labels, script, steps, batch):
  """A network that is right about image i at its time t if script[i, t]."""
  labels, script = jnp.asarray(labels), jnp.asarray(script)

  def init(key):
    return {
      'params': jnp.zeros(1),
      'times': jnp.zeros(len(labels), jnp.int32),
      'seen': jnp.full((steps, batch), -1, jnp.int32),
      'step': jnp.int32(0),
    }

  def logits(variables, images, *, train):
    assert train
    rows = images[:, 0, 0, 0].round().astype(jnp.int32)
    right = script[rows, variables['times'][rows]]
    answer = jnp.where(right, labels[rows], (labels[rows] + 1) % CLASSES)
    step = variables['step']
    variables = {
      **variables,
      'times': variables['times'].at[rows].add(1),
      'seen': variables['seen'].at[step].set(rows),
      'step': step + 1,
    }
    return jax.nn.one_hot(answer, CLASSES), variables

  return Network.from_functions(init=init, embed=no_features, logits=logits)


# The images.


def test_flatten_gives_the_real_images_class_by_class():
  expected = np.argsort(LABELS, kind='stable')
  for data in (DATA, jax.tree.map(jnp.asarray, DATA)):
    images, labels = flatten(data)
    np.testing.assert_array_equal(images, PIXELS[expected])
    np.testing.assert_array_equal(labels, LABELS[expected])
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    assert isinstance(images, type(data.images))


def test_images_stay_uint8_on_the_device():
  data = ClassData.from_arrays(np.zeros((41, 8, 8, 1), np.uint8), [0] * 41)
  seen, held = set(), set()

  def logits(variables, images, *, train):
    seen.add((images.shape, images.dtype.name))
    return flat(images) @ variables['params'], variables

  def look(*_):
    for array in jax.live_arrays():
      if array.shape[:1] == (41,):
        held.add((array.shape, array.dtype.name))

  network = Network.from_functions(
    lambda key: {'params': jnp.zeros((64, 1))}, no_features, logits
  )
  pretrain(network, data, PLAIN, KEY, callback=look)
  assert ((41, 8, 8, 1), 'uint8') in held
  assert not [shape for shape, kind in held if kind == 'float32']
  assert seen == {((4, 8, 8, 1), 'float32')}


# The training.


def reference(weights, config, data):
  """Full-batch SGD of the linear network in NumPy: weights, events, learned."""
  images, labels = flatten(data)
  x = flat(np.asarray(images, np.float64) / 255 - data.mean[0]) / data.std[0]
  weights, buffer = np.asarray(weights, np.float64), 0.0
  right = []
  for _ in range(config.epochs):
    right.append((x @ weights).argmax(1) == labels)
    odds = np.exp(x @ weights)
    shares = odds / odds.sum(1, keepdims=True)
    gradient = x.T @ (shares - np.eye(CLASSES)[labels]) / len(labels)
    buffer = config.momentum * buffer + gradient + config.weight_decay * weights
    weights = weights - config.learning_rate * buffer
  right = np.array(right)
  return weights, (right[:-1] & ~right[1:]).sum(0), right.any(0)


def test_training_is_sgd_at_a_constant_rate_and_counts_what_it_forgets():
  # A batch above the number of images is all of them: no order matters.
  config = changed(
    epochs=30, batch_size=64, learning_rate=1.0, weight_decay=0.01
  )
  trained = pretrain(LINEAR, DATA, config, KEY)
  weights = LINEAR.init(jax.random.split(KEY, 3)[0])['params']
  weights, events, learned = reference(weights, config, DATA)
  assert events.sum() > 3
  np.testing.assert_allclose(trained.variables['params'], weights, rtol=1e-3)
  np.testing.assert_array_equal(trained.events, events)
  np.testing.assert_array_equal(trained.learned, learned)
  assert trained.events.dtype == np.int32
  assert trained.learned.dtype == np.bool_


def test_forgetting_events_by_hand():
  # Image 0 is forgotten once, image 1 twice; image 2 is learned late and image
  # 3 never. Classes come in the order 3, 1, 0 and 2 of the images.
  script = np.array(
    [[1, 1, 0, 0, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], bool
  )
  labels = [1, 0, 2, 0]
  network = scripted(labels, script, steps=5, batch=4)
  config = changed(epochs=5, batch_size=4)
  trained = pretrain(network, numbered(labels), config, KEY)
  # Class by class: images 1 and 3, then 0, then 2.
  assert trained.events.tolist() == [2, 0, 1, 0]
  assert trained.learned.tolist() == [True, False, True, True]


def test_events_count_from_one_presentation_to_the_next():
  """Batches of 4 of 10 images: an epoch leaves two out."""
  epochs, steps = 9, 18
  script = np.random.RandomState(1).rand(COUNT, epochs) < 0.15
  network = scripted(LABELS, script, steps, 4)
  config = changed(epochs=epochs, augment='flip')
  trained = pretrain(network, numbered(LABELS), config, KEY)
  times = np.asarray(trained.variables['times'])
  assert times.sum() == 4 * steps
  assert times.min() < epochs
  events, learned = [], []
  for row in np.argsort(LABELS, kind='stable'):
    right = script[row, : times[row]].tolist()
    pairs = zip(right, right[1:], strict=False)
    events.append(sum(pair == (True, False) for pair in pairs))
    learned.append(any(right))
  assert 0 < sum(learned) < COUNT
  assert trained.events.tolist() == events
  assert trained.learned.tolist() == learned
  assert trained.seen.all()


def test_what_no_batch_takes_is_not_seen():
  """One epoch of batches of 4 of 10 images leaves two out."""
  config = changed(epochs=1, augment='flip')
  network = scripted(LABELS, np.zeros((COUNT, 1), bool), 2, 4)
  trained = pretrain(network, numbered(LABELS), config, KEY)
  times = np.asarray(trained.variables['times'])
  rows = np.argsort(LABELS, kind='stable')
  assert trained.seen.tolist() == (times[rows] > 0).tolist()
  assert trained.seen.sum() == 8
  assert trained.seen.dtype == np.bool_


def test_every_epoch_takes_whole_batches_in_a_new_order():
  network = scripted(LABELS, np.zeros((COUNT, 3), bool), 6, 4)
  seen = []
  for seed in range(2):
    trained = pretrain(network, numbered(LABELS), PLAIN, jax.random.key(seed))
    assert int(trained.variables['step']) == 6
    seen.append(np.asarray(trained.variables['seen']).reshape(3, 8))
  epochs = np.concatenate(seen)
  assert all(len(set(epoch)) == 8 for epoch in epochs.tolist())
  assert len({tuple(epoch) for epoch in epochs.tolist()}) == 6
  assert epochs.min() >= 0


def test_the_last_images_of_an_epoch_are_not_always_the_same():
  network = scripted(LABELS, np.zeros((COUNT, 9), bool), 18, 4)
  trained = pretrain(network, numbered(LABELS), changed(epochs=9), KEY)
  assert np.asarray(trained.variables['times']).max() <= 9
  assert len(np.unique(trained.variables['times'])) > 1


class Calls:
  """A callback that keeps what it gets."""

  def __init__(self):
    self.calls = []

  def __call__(self, *args):
    self.calls.append(args)


def equal(a, b):
  return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def test_callbacks_change_nothing_and_come_where_they_must():
  config = changed(augment='color_crop_flip', epochs=5)
  straight = pretrain(LINEAR, DATA, config, KEY)
  stopping, stepping = Calls(), Calls()
  stopped = pretrain(
    LINEAR, DATA, config, KEY, callback=stopping, stops=[3, 7, 99]
  )
  stepped = pretrain(
    LINEAR, DATA, config, KEY, callback=stepping, pace=Pace(aim=0.0)
  )
  assert [call[0] for call in stepping.calls] == list(range(1, 11))
  assert {3, 7, 10} <= {call[0] for call in stopping.calls}
  assert {call[1] for call in stepping.calls + stopping.calls} == {10}
  assert pretraining.total_steps(DATA, config) == 10
  for trained in (stopped, stepped):
    assert equal(dataclasses.asdict(trained), dataclasses.asdict(straight))
  # Its variables are the callback's to keep.
  every = {done: variables for done, _, variables in stepping.calls}
  for done, _, variables in stopping.calls:
    assert equal(variables, every[done])
  assert equal(every[10], straight.variables)
  assert not equal(every[9], every[10])


def test_a_stop_at_0_shows_the_network_before_its_first_step():
  calls = Calls()
  config = changed(epochs=1)
  pretrain(LINEAR, DATA, config, KEY, callback=calls, stops=[0])
  (done, total, variables), (after, _, _) = calls.calls[:2]
  assert (done, total, after) == (0, 2, 1)
  assert equal(variables, LINEAR.init(jax.random.split(KEY, 3)[0]))
  without = Calls()
  pretrain(LINEAR, DATA, config, KEY, callback=without)
  assert without.calls[0][0] == 1


def test_the_rate_falls_by_the_schedule():
  """Two classes stay nearly even: the gradient of a logit is a half."""
  network = Network.from_functions(
    init=lambda key: {'params': jnp.zeros(1)},
    embed=no_features,
    logits=lambda variables, images, *, train: (
      jnp.ones((len(images), 1))
      * jnp.array([[1.0, 0]])
      * variables['params'][0],
      variables,
    ),
  )
  data = ClassData.from_arrays(PIXELS, np.zeros(COUNT, int))
  config = changed(
    epochs=6,
    batch_size=COUNT,
    learning_rate=1e-3,
    momentum=0.0,
    weight_decay=0.0,
    schedule='thirds',
  )
  calls = Calls()
  pretrain(network, data, config, KEY, callback=calls, stops=range(7))
  values = np.array([float(call[2]['params'][0]) for call in calls.calls])
  expected = 0.5 * 1e-3 * np.array([1, 1, 1, 1, 0.2, 0.04])
  np.testing.assert_allclose(np.diff(values), expected, rtol=5e-3)


def test_batches_are_mixed_where_that_is_set():
  """Flat images that are mixed are flat no more."""

  def logits(variables, images, *, train):
    uneven = jnp.ptp(images, axis=(1, 2, 3)) > 0
    mixed = variables['mixed'].at[variables['step']].set(uneven.any())
    variables = {**variables, 'mixed': mixed, 'step': variables['step'] + 1}
    return jnp.zeros((len(images), CLASSES)), variables

  network = Network.from_functions(
    init=lambda key: {
      'params': jnp.zeros(1),
      'mixed': jnp.zeros(100, bool),
      'step': jnp.int32(0),
    },
    embed=no_features,
    logits=logits,
  )
  images = np.arange(COUNT, dtype=np.uint8).reshape(-1, 1, 1, 1)
  data = ClassData.from_arrays(images.repeat(8, 1).repeat(8, 2), LABELS)

  def share(cutmix):
    config = changed(epochs=100, batch_size=COUNT, cutmix=cutmix)
    trained = pretrain(network, data, config, KEY)
    return np.asarray(trained.variables['mixed']).mean()

  assert share(0.0) == 0
  always = share(1.0)
  assert always > 0.6  # The smallest boxes are empty.
  assert abs(share(0.5) - always / 2) < 0.15


def test_another_key_gives_another_network():
  first, other = (
    pretrain(LINEAR, DATA, PLAIN, key).variables
    for key in jax.random.split(KEY)
  )
  assert not equal(first, other)


def test_several_are_trained_as_each_alone_and_the_images_held_once_a_device():
  keys, held = jax.random.split(KEY, 3), []
  calls, data = Calls(), ClassData.from_arrays(PIXELS[:9], [0, 1, 2] * 3)

  def look(*args):
    calls(*args)
    buffers = {
      shard.data.unsafe_buffer_pointer()
      for array in jax.live_arrays()
      if array.shape == (9, 2, 2, 1)
      for shard in array.addressable_shards
    }
    held.append(len(buffers))

  # Of three on two devices, one device has two.
  several = pretrain_each(
    LINEAR, data, PLAIN, keys, callback=look, devices=jax.devices()[:2]
  )
  assert len(several) == 3
  for key, trained in zip(keys, several, strict=True):
    alone = pretrain(LINEAR, data, PLAIN, key)
    np.testing.assert_allclose(
      trained.variables['params'], alone.variables['params'], rtol=1e-5
    )
    np.testing.assert_array_equal(trained.events, alone.events)
    np.testing.assert_array_equal(trained.learned, alone.learned)
  assert calls.calls[-1][:2] == (6, 6)
  assert calls.calls[-1][2]['params'].shape == (3, 4, CLASSES)
  assert set(held) == {2}


def test_what_the_callback_raises_ends_the_training():
  def callback(done, total, variables):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    pretrain(LINEAR, DATA, PLAIN, KEY, callback=callback)


def test_divergence_names_the_learning_rate():
  config = changed(learning_rate=1e38, epochs=9)
  with pytest.raises(InputError, match='pretrain.learning_rate 1e[+]38'):
    pretrain(LINEAR, DATA, config, KEY)


def test_an_unknown_augmentation_is_named():
  with pytest.raises(InputError, match='flop'):
    pretrain(LINEAR, DATA, changed(augment='flop'), KEY)


@pytest.mark.parametrize('norm', ['instance', 'batch'])
def test_digits_are_learned(norm):
  digits = load(DataConfig(name='digits'))
  network = make_network(
    'convnet', image_shape=(8, 8, 1), classes=10, width=8, depth=1, norm=norm
  )
  config = PretrainConfig(
    epochs=4, batch_size=64, learning_rate=0.03, augment='none'
  )
  accuracies = []

  def callback(done, total, variables):
    if done in (1, total):
      accuracies.append(
        accuracy(
          network,
          variables,
          digits.test_images,
          digits.test_labels,
          digits.train.mean,
          digits.train.std,
        )
      )

  trained = pretrain(network, digits.train, config, KEY, callback=callback)
  first, last = accuracies
  assert first < 0.5 < 0.8 < last <= 1
  assert trained.learned.mean() > 0.8


# Testing and embedding.


def test_accuracy_is_the_share_of_right_answers_in_test_mode():
  def logits(variables, images, *, train):
    assert not train
    distance = jnp.abs(flat(images) - jnp.arange(3.0)[None])
    return -distance, variables

  network = Network.from_functions(unused, no_features, logits)
  levels = np.arange(300) % 3
  images = levels.astype(np.uint8).reshape(-1, 1, 1, 1)
  labels = np.where(np.arange(300) < 75, levels, (levels + 1) % 3)
  share = accuracy(network, {}, images, labels, (0.0,), (1 / 255,))
  assert share == 0.25


@pytest.mark.parametrize('count', [5, 256, 300])
def test_features_are_those_of_every_image_in_order(count):
  network = make_network(
    'convnet', image_shape=(8, 8, 1), classes=2, width=4, depth=1
  )
  images = np.random.RandomState(0).randint(0, 256, (count, 8, 8, 1), np.uint8)
  variables = network.init(KEY)
  found = features(network, variables, images, (0.5,), (0.2,))
  normalised = jnp.asarray((images / 255 - 0.5) / 0.2, jnp.float32)

  @jax.jit
  def embed(images):
    return network.apply(variables, images, Batch(train=True)).features

  expected = embed(normalised)
  assert found.dtype == np.float32
  assert isinstance(found, np.ndarray)
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('mixes_images', [True, False])
def test_networks_that_mix_images_get_batches_of_all_classes(mixes_images):
  def embed(variables, images):
    level = flat(images)
    return jnp.concatenate([level, 0 * level + level.mean()], axis=1)

  def no_logits(variables, images, *, train):
    return images.reshape(len(images), -1), variables

  network = Network.from_functions(
    init=unused, embed=embed, logits=no_logits, mixes_images=mixes_images
  )
  levels = np.repeat(np.arange(6), 100)
  images = levels.astype(np.uint8).reshape(-1, 1, 1, 1)
  found = features(network, {}, images, (0.0,), (1 / 255,))
  # Each image's own, whichever the order of the batches.
  np.testing.assert_allclose(found[:, 0], levels, rtol=1e-5)
  means = np.unique(found[:, 1])
  assert len(means) == 3
  assert (np.abs(means - 2.5).max() < 0.5) == mixes_images
