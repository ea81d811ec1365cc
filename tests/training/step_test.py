import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.config.sections import EvalConfig
from dm_jax.errors import InputError
from dm_jax.training import step as training
from dm_jax.training.features import count_correct, pad_test
from dm_jax.types import Network

KEY = jax.random.key(0)
COUNT, PIXELS, CLASSES = 10, 4, 3
RANDOM = np.random.RandomState(0)
IMAGES = jnp.asarray(RANDOM.standard_normal((COUNT, 2, 2, 1)), jnp.float32)
LABELS = jnp.arange(COUNT, dtype=jnp.int32) % CLASSES


def unused(*args, **options):
  raise AssertionError('this is not needed')


def no_features(variables, images):
  return images.reshape(len(images), -1)


def linear_logits(variables, images, *, train):
  flat = images.reshape(len(images), -1)
  return flat @ variables['params'], variables


LINEAR = Network.from_functions(
  init=lambda key: {'params': jax.random.normal(key, (PIXELS, CLASSES))},
  embed=no_features,
  logits=linear_logits,
)


def settings(**changes):
  return training.TrainingConfig.of(EvalConfig(**changes))


@functools.partial(jax.jit, static_argnums=(0, 1))
def train_epoch(network, config, state, epoch, key=KEY, images=IMAGES):
  return training.train_epoch(
    network, config, state, images, LABELS, epoch, key
  )


def start(network, config):
  return training.init_training(network, config, KEY)


@pytest.mark.parametrize(
  ('epochs', 'high'), [(0, 1), (1, 2), (4, 4), (5, 4), (1000, 502)]
)
def test_the_rate_falls_tenfold_after_half_the_epochs_and_one(epochs, high):
  config = settings(epochs=epochs, learning_rate=0.02)
  rate = jax.vmap(lambda epoch: training.learning_rate(epoch, config))
  expected = [0.02] * high + [0.002] * (epochs + 1 - high)
  np.testing.assert_allclose(rate(jnp.arange(epochs + 1)), expected, rtol=1e-6)


def test_the_rate_falls_to_a_fifth_at_two_thirds_and_at_five_sixths():
  def rates(**changes):
    config = settings(learning_rate=0.02, **changes)
    epochs = jnp.arange(config.epochs)
    return jax.vmap(lambda e: training.learning_rate(e, config))(epochs)

  falling = [0.02] * 40 + [0.004] * 10 + [0.0008] * 10
  np.testing.assert_allclose(
    rates(epochs=60, schedule='thirds'), falling, rtol=1e-6
  )
  # 14 / 3 and 35 / 6, rounded down.
  falling = [0.02] * 4 + [0.004] + [0.0008] * 2
  np.testing.assert_allclose(
    rates(epochs=7, schedule='thirds'), falling, rtol=1e-6
  )
  assert (rates(epochs=60, schedule='constant') == jnp.float32(0.02)).all()


def reference_steps(weights, config, steps):
  """PyTorch's SGD on the linear network's mean cross entropy, in NumPy."""
  x = np.asarray(IMAGES, np.float64).reshape(COUNT, PIXELS)
  target = np.eye(CLASSES)[np.asarray(LABELS)]
  weights, buffer = np.asarray(weights, np.float64), 0.0
  for _ in range(steps):
    odds = np.exp(x @ weights)
    shares = odds / odds.sum(1, keepdims=True)
    gradient = x.T @ (shares - target) / COUNT
    gradient = gradient + config.weight_decay * weights
    buffer = config.momentum * buffer + gradient
    weights = weights - config.learning_rate * buffer
  return weights


def test_a_step_is_sgd_with_momentum_and_weight_decay():
  config = settings(
    epochs=100,
    batch_size=COUNT,
    learning_rate=0.5,
    weight_decay=0.1,
    augment='none',
  )
  state = start(LINEAR, config)
  weights = state.variables['params']
  for done in range(1, 4):
    state = train_epoch(LINEAR, config, state, jnp.int32(done - 1))
    np.testing.assert_allclose(
      state.variables['params'],
      reference_steps(weights, config, done),
      rtol=1e-5,
    )


@pytest.mark.parametrize('part', [5, 7, 10, 20])
def test_a_batch_in_parts_moves_as_the_whole_does(part):
  """Of ten images two parts, two (7 divides nothing), one, and one."""
  whole = settings(batch_size=COUNT, learning_rate=0.5, augment='none')
  parts = dataclasses.replace(whole, part=part)
  after = [
    train_epoch(LINEAR, config, start(LINEAR, config), jnp.int32(0))
    for config in (whole, parts)
  ]
  np.testing.assert_allclose(
    after[1].variables['params'], after[0].variables['params'], rtol=1e-5
  )


@pytest.mark.parametrize(
  ('epoch', 'fresh'), [(2, False), (3, False), (4, True), (5, False)]
)
def test_momentum_starts_afresh_where_the_rate_falls(epoch, fresh):
  config = settings(epochs=5, batch_size=COUNT, augment='none')
  state = start(LINEAR, config)
  moving = jax.tree.map(jnp.ones_like, state.momentum)
  moving = training.TrainingState(state.variables, moving)
  still, moved = (
    train_epoch(LINEAR, config, s, jnp.int32(epoch)).variables['params']
    for s in (state, moving)
  )
  assert np.array_equal(still, moved) == fresh


@pytest.mark.parametrize('schedule', ['thirds', 'constant'])
def test_other_schedules_keep_the_momentum(schedule):
  config = settings(
    epochs=6, batch_size=COUNT, augment='none', schedule=schedule
  )
  state = start(LINEAR, config)
  moving = training.TrainingState(
    state.variables, jax.tree.map(jnp.ones_like, state.momentum)
  )
  for epoch in range(6):
    still, moved = (
      train_epoch(LINEAR, config, s, jnp.int32(epoch)).variables['params']
      for s in (state, moving)
    )
    assert (still != moved).all()


def recording_logits(variables, images, *, train):
  """Notes what each batch held; images are known by their first pixel."""
  index = images[:, 0, 0, 0].astype(jnp.int32)
  variables = {
    **variables,
    'times': variables['times'].at[index].add(1),
    'batch_of': variables['batch_of'].at[index].set(variables['steps']),
    'steps': variables['steps'] + 1,
  }
  return jnp.zeros((len(images), CLASSES)), variables


RECORDING = Network.from_functions(
  init=lambda key: {
    'params': jnp.zeros(1),
    'times': jnp.zeros(COUNT, jnp.int32),
    'batch_of': jnp.zeros(COUNT, jnp.int32),
    'steps': jnp.int32(0),
  },
  embed=no_features,
  logits=recording_logits,
)


@pytest.mark.parametrize(
  ('batch_size', 'sizes'), [(4, [4, 4, 2]), (5, [5, 5]), (256, [10])]
)
def test_an_epoch_sees_every_image_once(batch_size, sizes):
  config = settings(batch_size=batch_size, augment='none')
  images = jnp.ones((1, 2, 2, 1)) * jnp.arange(COUNT).reshape(-1, 1, 1, 1)
  orders = []
  for seed in range(2):
    state = train_epoch(
      RECORDING,
      config,
      start(RECORDING, config),
      jnp.int32(0),
      jax.random.key(seed),
      images,
    )
    seen = state.variables
    np.testing.assert_array_equal(seen['times'], np.ones(COUNT))
    assert np.bincount(seen['batch_of']).tolist() == sizes
    orders.append(seen['batch_of'].tolist())
  assert orders[0] != orders[1] or len(sizes) == 1


def keeping_logits(variables, images, *, train):
  logits = jnp.zeros((len(images), CLASSES))
  return logits, {**variables, 'images': images}


def test_a_batch_has_one_operation_and_each_image_its_own_values():
  keeping = Network.from_functions(
    init=lambda key: {'params': jnp.zeros(1), 'images': 0 * IMAGES},
    embed=no_features,
    logits=keeping_logits,
  )
  config = settings(batch_size=COUNT, augment='color_flip')
  state, blank, changed = start(keeping, config), 0 * IMAGES, []
  for key in jax.random.split(KEY, 12):
    after = train_epoch(keeping, config, state, jnp.int32(0), key, blank)
    images = np.asarray(after.variables['images']).reshape(COUNT, -1)
    # A blank image stays blank when flipped; brightness shifts all its pixels.
    changed.append(len(np.unique(images[:, 0])) == COUNT)
    assert changed[-1] or (images == 0).all()
  assert 0 < sum(changed) < 12


@pytest.mark.parametrize(('side', 'batch'), [(1, 256), (64, 256), (224, 20)])
def test_fewer_large_images_are_classified_at_a_time(side, batch):
  """A first convolution of width 128 keeps half a megabyte for 64×64 pixels."""
  seen = []

  def logits(variables, images, *, train):
    seen.append(len(images))
    return images[:, 0, 0, :1] * jnp.array([[0.0, 1.0]]), variables

  network = Network.from_functions(unused, no_features, logits)
  images = np.zeros((21, side, side, 1), np.uint8)
  images[::3] = 255
  labels = (images[:, 0, 0, 0] > 0).astype(np.int32)
  padded = pad_test(images, labels)
  assert len(padded[0]) % batch == 0
  correct = count_correct(network, {}, *padded, mean=(0.5,), std=(0.5,))
  assert correct.tolist() == [14, 7]
  assert set(seen) == {batch}


def test_padding_counts_as_no_correct_image():
  def logits(variables, images, *, train):
    assert not train
    level = images.reshape(-1, 1)
    return -jnp.abs(level - jnp.arange(3.0)[None]), variables

  network = Network.from_functions(unused, no_features, logits)
  predicted = np.arange(300) % 3
  images = predicted.astype(np.uint8).reshape(-1, 1, 1, 1)
  labels = np.where(np.arange(300) < 200, predicted, (predicted + 1) % 3)
  images, labels = pad_test(images, labels)
  assert len(images) == len(labels) == 512
  # With this mean and deviation, normalised values are levels.
  correct = count_correct(
    network, {}, images, labels, mean=(0.0,), std=(1 / 255,)
  )
  assert correct.tolist() == [67, 67, 66]
  assert len(pad_test(images, labels)[0]) == 512


def test_a_network_whose_variables_are_one_array_is_trained():
  """A plain `Network` need not have a dict with params."""

  def logits(variables, images, *, train):
    del train
    return images.reshape(len(images), -1) @ variables, variables

  network = Network.from_functions(
    init=lambda key: jnp.zeros((4, 2)),
    embed=lambda weights, images: images.reshape(len(images), -1),
    logits=logits,
  )
  config = settings(batch_size=2, weight_decay=0.0, augment='none')
  state = training.init_training(network, config, KEY)
  images = jnp.eye(2, 4).reshape(2, 2, 2, 1)
  labels = jnp.array([0, 1], jnp.int32)
  state, before = training.update(
    network, config, state, images, labels, jnp.float32(1)
  )
  # Softmax is a half; the mean over two images halves it again.
  expected = np.zeros((4, 2))
  expected[0], expected[1] = [0.25, -0.25], [-0.25, 0.25]
  np.testing.assert_allclose(state.variables, expected, atol=1e-6)
  assert (before == 0).all()


# The classes that images are told by, and the same as probabilities of three.
EVEN = jnp.full((COUNT, CLASSES), 1 / CLASSES)
ONE_HOT = jax.nn.one_hot(LABELS, CLASSES)


def test_cross_entropy_by_hand():
  logits = jnp.log(jnp.array([[1.0, 1, 2], [1, 2, 5]]))  # Of 4 and of 8.
  classes = jnp.array([2, 1], jnp.int32)
  np.testing.assert_allclose(
    training.cross_entropy(logits, classes), np.log([2, 4]), rtol=1e-6
  )
  shares = jnp.array([[0.5, 0.25, 0.25], [0, 1, 0]])
  expected = [np.log(4) * 0.75 + np.log(2) * 0.25, np.log(4)]
  np.testing.assert_allclose(
    training.cross_entropy(logits, shares), expected, rtol=1e-6
  )
  # A network may know more classes than there are: those have no share.
  of_two = jnp.array([[0.5, 0.5], [0, 1]])
  np.testing.assert_allclose(
    training.cross_entropy(logits, of_two), np.log([4, 4]), rtol=1e-6
  )


@functools.partial(jax.jit, static_argnums=(0, 1))
def step(network, config, state, targets):
  return training.update(
    network, config, state, IMAGES, targets, jnp.float32(1)
  )[0]


def test_a_step_on_probabilities_by_hand():
  """From zero weights all classes have the same share, a third."""
  config = settings(weight_decay=0.0)
  zero = training.TrainingState(
    {'params': jnp.zeros((PIXELS, CLASSES))},
    start(LINEAR, config).momentum,
  )
  targets = jnp.asarray(RANDOM.dirichlet(np.ones(CLASSES), COUNT), jnp.float32)
  moved = step(LINEAR, config, zero, targets).variables['params']
  x = np.asarray(IMAGES, np.float64).reshape(COUNT, PIXELS)
  expected = -x.T @ (1 / 3 - np.asarray(targets, np.float64)) / COUNT
  np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-7)
  still = step(LINEAR, config, zero, EVEN).variables['params']
  np.testing.assert_allclose(still, 0, atol=1e-7)


def test_certain_probabilities_train_as_the_classes_do():
  config = settings()
  state = start(LINEAR, config)
  classes, certain = (
    step(LINEAR, config, state, targets).variables['params']
    for targets in (LABELS, ONE_HOT)
  )
  np.testing.assert_allclose(certain, classes, rtol=1e-6)
  assert (classes != state.variables['params']).all()


# CutMix. Images are known by their level, so that boxes can be read from them.
LEVELS = jnp.arange(6.0).reshape(-1, 1, 1, 1) * jnp.ones((6, 12, 8, 1))
CLASS_OF = jnp.array([0, 1, 2, 2, 1, 0], jnp.int32)


@functools.partial(jax.jit, static_argnums=3)
def mix(images, targets, key, probability=1.0):
  return training.cutmix(images, targets, key, 4, probability=probability)


def boxes_and_partners(images):
  """Where [6, 12, 8] images of LEVELS hold others, and of which level."""
  levels = np.asarray(images)[..., 0]
  other = levels != np.arange(6).reshape(-1, 1, 1)
  box = other.any(0)
  partners = [
    int(level[box].max()) if box.any() else i for i, level in enumerate(levels)
  ]
  return box, partners


@pytest.mark.parametrize('soft', [False, True])
def test_cutmix_swaps_one_box_and_shares_the_targets_by_its_area(soft):
  shares = np.asarray(RANDOM.dirichlet(np.ones(3), 6), np.float32)
  one_hot = np.eye(4)[np.asarray(CLASS_OF)]
  targets, before = (shares, shares) if soft else (CLASS_OF, one_hot)
  areas = []
  for key in jax.random.split(KEY, 40):
    images, mixed = mix(LEVELS, targets, key)
    assert mixed.dtype == jnp.float32
    box, partners = boxes_and_partners(images)
    rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
    # One rectangle, in which each image is its partner, and itself elsewhere.
    assert box.sum() == len(rows) * len(columns)
    if box.any():
      assert np.ptp(rows) + 1 == len(rows)
      assert np.ptp(columns) + 1 == len(columns)
    own = np.arange(6).reshape(-1, 1, 1)
    expected = np.where(box, np.reshape(partners, (-1, 1, 1)), own)
    np.testing.assert_array_equal(images[..., 0], expected)
    assert sorted(partners) == [*range(6)]
    area = box.mean()
    expected = (1 - area) * before + area * before[partners]
    np.testing.assert_allclose(mixed, expected, atol=1e-6)
    areas.append(area)
  assert len({*areas}) > 10


def test_boxes_are_as_a_peer_draws_them():
  """λ, centre and sides in NumPy: areas agree in distribution."""
  random = np.random.default_rng(0)

  def box():
    side, covered = np.sqrt(1 - random.beta(1, 1)), np.zeros((12, 8))
    spans = []
    for length in covered.shape:
      half, centre = int(side * length) // 2, random.integers(length)
      low, high = max(centre - half, 0), min(centre + half, length)
      spans.append(slice(low, high))
    covered[tuple(spans)] = 1
    return covered

  boxes = np.array([box() for _ in range(4000)])
  expected = boxes.mean((1, 2))
  images, _ = jax.vmap(lambda key: mix(LEVELS, CLASS_OF, key))(
    jax.random.split(KEY, 4000)
  )
  levels = np.asarray(images)[..., 0]
  other = (levels != np.arange(6).reshape(1, -1, 1, 1)).any(1)
  areas = other.mean((1, 2))
  for share in (0.0, 0.1, 0.25, 0.5):
    np.testing.assert_allclose(
      (areas > share).mean(), (expected > share).mean(), atol=0.035
    )
  np.testing.assert_allclose(areas.mean(), expected.mean(), atol=0.015)
  # Clipped at every side, they cover the middle more often.
  np.testing.assert_allclose(other.mean(0), boxes.mean(0), atol=0.04)
  assert boxes.mean(0)[6, 4] > boxes.mean(0)[0, 0] + 0.1


def test_the_loss_of_mixed_targets_is_that_of_both_by_area():
  tries = [mix(LEVELS, CLASS_OF, key) for key in jax.random.split(KEY, 10)]
  images, mixed = next(
    (images, mixed)
    for images, mixed in tries
    if 0.2 < boxes_and_partners(images)[0].mean() < 0.8
  )
  box, partners = boxes_and_partners(images)
  logits = jax.random.normal(KEY, (6, 4))
  own = training.cross_entropy(logits, CLASS_OF)
  others = training.cross_entropy(logits, CLASS_OF[jnp.array(partners)])
  share = 1 - box.mean()
  expected = share * own + (1 - share) * others
  actual = training.cross_entropy(logits, mixed)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_batches_are_mixed_as_often_as_is_said():
  keys = jax.random.split(KEY, 400)

  def changed(probability):
    images, targets = jax.vmap(
      lambda key: mix(LEVELS, CLASS_OF, key, probability)
    )(keys)
    changed = np.asarray(images) != np.asarray(LEVELS)[None]
    moved = np.asarray(targets) != np.eye(4)[None, np.asarray(CLASS_OF)]
    # Targets change only where images do.
    assert not (moved.any((1, 2)) & ~changed.any((1, 2, 3, 4))).any()
    return changed.any((1, 2, 3, 4))

  assert changed(0.0).mean() == 0
  always = changed(1.0).mean()
  assert always > 0.8  # The smallest boxes are empty.
  assert abs(changed(0.5).mean() - always / 2) < 0.08


@pytest.mark.parametrize(
  'targets',
  [
    jnp.zeros((6, 4), jnp.int32),
    jnp.zeros(5, jnp.int32),
    jnp.zeros(6),
    jnp.zeros((6, 5)),
  ],
)
def test_cutmix_refuses_targets_of_another_shape(targets):
  with pytest.raises(InputError, match=r'CutMix mixes classes, int \[6\]'):
    training.cutmix(LEVELS, targets, KEY, 4)


def test_an_epoch_mixes_what_it_has_augmented():
  """Without CutMix the targets stay classes; with it they are probabilities."""
  config = settings(batch_size=COUNT, augment='flip+color')
  keys = jax.random.split(KEY, 3)
  for key in keys:
    images, targets = training.vary_batch(LINEAR, config, IMAGES, LABELS, key)
    augmented = training.augment_batch(IMAGES, config, key)
    np.testing.assert_array_equal(images, augmented)
    assert targets is LABELS
  mixing = settings(batch_size=COUNT, augment='flip+color', cutmix=1.0)
  images, targets = training.vary_batch(LINEAR, mixing, IMAGES, LABELS, keys[0])
  assert targets.shape == (COUNT, CLASSES)
  np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
  # Each pixel is an augmented image's, at the same place.
  augmented = np.asarray(training.augment_batch(IMAGES, mixing, keys[0]))
  assert all(
    (np.asarray(images)[:, y, x, None] == augmented[None, :, y, x]).any(1).all()
    for y in range(2)
    for x in range(2)
  )


def test_stages_of_a_batch_have_draws_of_their_own():
  """One operation a stage for the batch, and values for each image."""
  config = settings(augment='color+crop_cutout')
  images = jnp.ones((8, 8, 8, 1)) * jnp.arange(1.0, 9).reshape(-1, 1, 1, 1)
  found = set()
  for key in jax.random.split(KEY, 8):
    batch = np.asarray(training.augment_batch(images, config, key))
    # Brightness and contrast leave a flat image flat, crop and cutout add 0s.
    shifts = batch.reshape(8, -1).max(1) - np.arange(1, 9)
    assert len(np.unique(np.round(shifts, 4))) == 8
    assert (np.abs(shifts) <= 0.5 + 1e-5).all()
    zeros = (batch[..., 0] == 0).sum((1, 2))
    assert len({*zeros.tolist()}) > 1
    border = batch[:, [0, -1]].any((1, 2, 3)).all()
    found.add(bool(border))
  assert found
