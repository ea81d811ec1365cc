import dataclasses
import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.config.protocols import ALL_OPERATIONS
from dm_jax.config.sections import EvalConfig, NetworkChoice
from dm_jax.devices.layout import lay_out
from dm_jax.errors import InputError
from dm_jax.networks.registry import make_network
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import EvalResult, evaluate, evaluate_each
from dm_jax.types import Network

KEY = jax.random.key(0)
CONFIG = EvalConfig(networks=3, epochs=4, batch_size=4, augment='none')


def no_features(variables, images):
  return images.reshape(len(images), -1)


def linear_logits(variables, images, *, train):
  flat = images.reshape(len(images), -1)
  return flat @ variables['params'], variables


def linear_init(key):
  return {'params': jax.random.normal(key, (64, 3), jnp.float32)}


LINEAR = Network.from_functions(linear_init, no_features, linear_logits)


def make_set(images, labels, classes):
  """A set whose normalised images are (level / 255 - 0.5) / 0.25."""
  normalised = jnp.asarray((images / 255 - 0.5) / 0.25, jnp.float32)
  names = tuple(map(str, range(classes)))
  return SyntheticSet.from_images(normalised, labels, (0.5,), (0.25,), names)


def random_images(count, seed):
  state = np.random.RandomState(seed)
  return state.randint(0, 256, (count, 8, 8, 1), np.uint8)


SYNTHETIC = make_set(random_images(6, 0), np.repeat(np.arange(3), 2), 3)
TEST_IMAGES = random_images(300, 1)
TEST_LABELS = np.arange(300) % 3


def evaluate_linear(config=CONFIG, key=KEY, network=LINEAR, **options):
  return evaluate(
    SYNTHETIC,
    TEST_IMAGES,
    TEST_LABELS,
    config,
    key=key,
    network=network,
    **options,
  ).accuracies


def test_mean_and_deviation_by_hand():
  result = EvalResult((0.5, 0.7))
  assert result.mean == pytest.approx(0.6)
  assert result.std == pytest.approx(0.1)


def test_a_key_decides_the_result_and_every_network_is_another():
  first = evaluate_linear()
  assert evaluate_linear() == first
  assert evaluate_linear(key=jax.random.key(1)) != first
  assert len(first) == 3
  assert len(set(first)) > 1


def test_the_first_networks_do_not_depend_on_how_many_there_are():
  fewer = evaluate_linear(dataclasses.replace(CONFIG, networks=2))
  assert fewer == evaluate_linear()[:2]


def test_networks_evaluated_apart_are_those_evaluated_together():
  one = dataclasses.replace(CONFIG, networks=1)
  apart = [evaluate_linear(one, first=number)[0] for number in range(3)]
  assert tuple(apart) == evaluate_linear()


def test_a_network_depends_on_its_number_alone_whatever_the_key():
  key, two = (
    jax.random.key(0, impl='rbg'),
    dataclasses.replace(CONFIG, networks=2),
  )
  assert evaluate_linear(two, key=key, first=1) == evaluate_linear(key=key)[1:]


@pytest.mark.parametrize('together', [2, 3, 5])
def test_networks_that_are_trained_together_are_those_trained_in_turn(together):
  """Of three networks two and one, or all at once."""
  network = make_network(
    'convnet', image_shape=(8, 8, 1), classes=3, width=4, depth=1
  )
  config = dataclasses.replace(CONFIG, augment=ALL_OPERATIONS, epochs=3)
  found = []
  for at_once in (1, together):
    result = evaluate_linear(
      dataclasses.replace(config, networks_at_once=at_once),
      network=network,
      devices=jax.devices()[:1],
    )
    found.append(result)
  # One of 300 test images may lie between two classes by a rounding.
  np.testing.assert_allclose(found[1], found[0], atol=1.5 / 300)
  assert len(set(found[0])) > 1


def test_equal_settings_compile_once():
  traced = []

  def logits(variables, images, *, train):
    traced.append(train)
    return linear_logits(variables, images, train=train)

  network = Network.from_functions(linear_init, no_features, logits)
  first = evaluate_linear(network=network)
  count = len(traced)
  assert count > 0
  assert evaluate_linear(network=network) == first
  evaluate_linear(network=network, key=jax.random.key(1))
  assert len(traced) == count


def test_certain_probabilities_are_learned_as_the_classes_are():
  certain = dataclasses.replace(
    SYNTHETIC, targets=jax.nn.one_hot(SYNTHETIC.labels, 3)
  )
  options = {'config': CONFIG, 'key': KEY, 'network': LINEAR}
  result = evaluate(certain, TEST_IMAGES, TEST_LABELS, **options)
  assert result.accuracies == evaluate_linear()


def test_probabilities_are_what_is_learned():
  """Three patches; each tells two classes, the second one more likely."""
  images = np.zeros((3, 8, 8, 1), np.uint8)
  for label in range(3):
    images[label, 2 * label : 2 * label + 2] = 255
  shares = jnp.array([[0.3, 0.7, 0], [0, 0.3, 0.7], [0.7, 0, 0.3]])
  soft = dataclasses.replace(make_set(images, np.arange(3), 3), targets=shares)
  config = dataclasses.replace(CONFIG, networks=1, epochs=60)
  options = {'config': config, 'key': KEY, 'network': LINEAR}
  assert evaluate(soft, images, np.array([1, 2, 0]), **options).mean == 1
  assert evaluate(soft, images, np.arange(3), **options).mean == 0


FIVE = dataclasses.replace(CONFIG, networks=5)


@functools.cache
def five_on_one_device():
  return evaluate_linear(FIVE, devices=jax.devices()[:1])


@pytest.mark.parametrize('devices', [2, 3, 4, 8])
def test_any_number_of_devices_gives_the_same_accuracies(devices):
  """Five networks leave padding on two, and devices idle on four and eight."""
  actual = evaluate_linear(FIVE, devices=jax.devices()[:devices])
  assert actual == five_on_one_device()
  assert len(set(actual)) > 1


def test_a_part_of_the_networks_is_the_same_on_more_devices_than_it_needs():
  actual = evaluate_linear(first=2, devices=jax.devices())
  assert actual == five_on_one_device()[2:]


@pytest.mark.parametrize(
  ('options', 'used'),
  [({}, slice(0, 3)), ({'devices': jax.devices()[4:6]}, slice(4, 6))],
)
def test_all_local_devices_are_used_unless_others_are_named(options, used):
  before, seen = {id(array) for array in jax.live_arrays()}, set()

  def look(*_):
    for array in jax.live_arrays():
      if id(array) not in before and array.shape[-2:] == (64, 3):
        seen.update(array.devices())

  evaluate_linear(callback=look, **options)
  assert seen == set(jax.devices()[used])


@pytest.mark.parametrize('devices', [1, 3])
def test_everything_is_traced_once_on_any_number_of_devices(devices):
  traced, calls = [], []

  def init(key):
    traced.append('init')
    return linear_init(key)

  def logits(variables, images, *, train):
    traced.append('train' if train else 'test')
    return linear_logits(variables, images, train=train)

  network = Network.from_functions(init=init, embed=no_features, logits=logits)
  config = dataclasses.replace(FIVE, epochs=200)
  options = {'network': network, 'devices': jax.devices()[:devices]}
  first = evaluate_linear(
    config, callback=lambda *args: calls.append(args), **options
  )
  assert len(calls) > 2
  # The check of the network's outputs compiles nothing.
  check = ['init', 'train']
  # Six images make a batch of four and one of two: two steps in a program.
  assert sorted(traced) == sorted([*check, 'init', 'test', 'train', 'train'])
  assert evaluate_linear(config, **options) == first
  evaluate_linear(config, first=5, **options)
  assert len(traced) == 6


def test_what_all_devices_read_lies_on_each_of_them():
  layout = lay_out(5, jax.devices()[:3])
  shared = (SYNTHETIC.images, SYNTHETIC.labels)
  held = layout.deal(shared, None)
  for leaf, expected in zip(held, shared, strict=True):
    assert leaf.devices() == set(layout.devices)
    np.testing.assert_array_equal(leaf, expected)


def counting_logits(variables, images, *, train):
  """Answers with the class whose number is that of the training steps."""
  steps = variables['steps']
  classes = jnp.arange(17)[None].repeat(len(images), 0)
  logits = (classes == steps).astype(jnp.float32)
  return logits, {**variables, 'steps': steps + train}


COUNTING = Network.from_functions(
  init=lambda key: {'params': jnp.zeros(1), 'steps': jnp.int32(0)},
  embed=no_features,
  logits=counting_logits,
)


def check_run(synthetic, config, steps, epochs):
  """One network takes so many steps, and its callback counts the epochs."""
  calls = []
  result = evaluate(
    synthetic,
    TEST_IMAGES,
    np.full(300, steps),
    config,
    key=KEY,
    network=COUNTING,
    callback=lambda done, total: calls.append((done, total)),
  )
  assert result.accuracies == (1.0,)
  assert calls[-1] == (epochs, epochs)


@pytest.mark.parametrize(
  ('epochs', 'images', 'steps'), [(0, 4, 1), (4, 4, 5), (3, 6, 8)]
)
def test_one_epoch_more_than_named_is_run(epochs, images, steps):
  synthetic = make_set(random_images(images, 0), np.arange(images), 17)
  config = dataclasses.replace(CONFIG, epochs=epochs, networks=1)
  check_run(synthetic, config, steps, epochs + 1)


@pytest.mark.parametrize(
  ('changes', 'steps'),
  [
    ({'schedule': 'thirds'}, 4),
    ({'schedule': 'constant', 'epochs': 0}, 1),
    ({'protocol': 'idc', 'schedule': 'half'}, 5),
    ({'protocol': 'idc', 'batch_size': None}, 4),
    ({'protocol': 'idc', 'batch_size': 1}, 16),
  ],
)
def test_other_schedules_run_the_epochs_that_are_named(changes, steps):
  synthetic = make_set(random_images(4, 0), np.arange(4), 17)
  config = dataclasses.replace(CONFIG, networks=1, **changes)
  check_run(synthetic, config, steps, config.epochs_run)


def test_certain_probabilities_are_mixed_as_classes_are():
  config = dataclasses.replace(CONFIG, cutmix=1.0)
  targets = jax.nn.one_hot(SYNTHETIC.targets, 3)
  synthetic = dataclasses.replace(SYNTHETIC, targets=targets)
  result = evaluate(
    synthetic, TEST_IMAGES, TEST_LABELS, config, key=KEY, network=LINEAR
  )
  assert result.accuracies == evaluate_linear(config)
  assert result.accuracies != evaluate_linear()


def test_the_callback_hears_of_all_epochs_of_all_networks():
  calls = []
  evaluate_linear(callback=lambda done, total: calls.append((done, total)))
  # One epoch of three networks at first, then as many as take about a second.
  assert calls[0] == (3, 15)
  assert calls[-1] == (15, 15)
  assert calls == sorted(set(calls))


def test_every_epoch_has_an_order_of_its_own():
  def logits(variables, images, *, train):
    """Answers 2 once the first image has changed, 1 before."""
    if train:
      first = images[0, 0, 0, 0]
      changes = variables['changes'] + (first != variables['first'])
      variables = {**variables, 'first': first, 'changes': changes}
    answer = variables['changes'].clip(max=2)
    answers = (jnp.arange(9) == answer).astype(jnp.float32)
    return jnp.tile(answers, (len(images), 1)), variables

  def init(key):
    return {
      'params': jnp.zeros(1),
      'first': jnp.float32(0),
      'changes': jnp.int32(0),
    }

  synthetic = make_set(random_images(6, 0), np.arange(6), 9)
  network = Network.from_functions(init=init, embed=no_features, logits=logits)
  config = dataclasses.replace(CONFIG, batch_size=6)
  result = evaluate(
    synthetic, TEST_IMAGES, np.full(300, 2), config, key=KEY, network=network
  )
  assert result.mean == 1


def halves(count, seed):
  """Images whose upper or lower half is the brighter one, and which."""
  state = np.random.RandomState(seed)
  labels = np.arange(count) % 2
  bright = (np.arange(8) < 4)[None, :] == (labels == 0)[:, None]
  noise = state.randint(-60, 61, (count, 8, 8, 1))
  levels = 127 + 40 * np.where(bright, 1, -1)[..., None, None] + noise
  return levels.clip(0, 255).astype(np.uint8), labels


@pytest.mark.parametrize(
  ('norm', 'augment'), [('instance', 'none'), ('batch', 'color_flip')]
)
def test_a_separable_problem_is_learned(norm, augment):
  synthetic = make_set(*halves(20, 0), 2)
  config = EvalConfig(
    networks=2,
    epochs=30,
    batch_size=8,
    learning_rate=0.05,
    augment=augment,
    network=NetworkChoice(width=4, depth=1, norm=norm),
  )
  result = evaluate(synthetic, *halves(300, 1), config, key=KEY)
  assert min(result.accuracies) > 0.9


def test_batch_norm_is_the_same_on_several_devices():
  """Statistics stay with their network, though its device has an axis."""
  config = dataclasses.replace(
    CONFIG,
    batch_size=6,
    network=NetworkChoice(width=4, depth=1, norm='batch'),
  )
  one, two = (
    evaluate_linear(config, network=None, devices=jax.devices()[:devices])
    for devices in (1, 2)
  )
  assert one == two
  assert len(set(one)) > 1


def test_64_bits_change_no_result():
  expected = evaluate_linear()
  # The context manager moved in jax 0.8.
  module = 'jax' if hasattr(jax, 'enable_x64') else 'jax.experimental'
  with importlib.import_module(module).enable_x64(True):
    accuracies = evaluate_linear()
  np.testing.assert_allclose(accuracies, expected, atol=0.01)


@pytest.mark.parametrize(
  ('images', 'labels', 'message'),
  [
    (TEST_IMAGES[:, :7], TEST_LABELS, r'\(7, 8, 1\)'),
    (TEST_IMAGES, TEST_LABELS + 1, 'got 3'),
    (TEST_IMAGES, TEST_LABELS[1:], '299 for 300 images'),
    (TEST_IMAGES * 2.0, TEST_LABELS, 'divide by 255'),
    (TEST_IMAGES.transpose(0, 3, 1, 2), TEST_LABELS, 'channels last by'),
  ],
)
def test_test_data_that_do_not_fit_are_refused(images, labels, message):
  with pytest.raises(InputError, match=message):
    evaluate(SYNTHETIC, images, labels, CONFIG, key=KEY, network=LINEAR)


def test_unknown_settings_are_refused():
  config = dataclasses.replace(CONFIG, augment='flop')
  with pytest.raises(InputError, match='did you mean flip'):
    evaluate_linear(config)
  deep = dataclasses.replace(CONFIG, network=NetworkChoice(depth=4))
  with pytest.raises(InputError, match='at most 3'):
    evaluate(SYNTHETIC, TEST_IMAGES, TEST_LABELS, deep, key=KEY)


def test_correct_images_are_counted_by_class():
  result = evaluate(
    SYNTHETIC, TEST_IMAGES, TEST_LABELS, CONFIG, key=KEY, network=LINEAR
  )
  assert np.shape(result.correct) == (CONFIG.networks, 3)
  totals = np.sum(result.correct, axis=1) / len(TEST_LABELS)
  np.testing.assert_allclose(totals, result.accuracies)


def test_the_classes_that_are_right_are_told_apart():
  """A network that always says 1 is right for class 1 alone."""
  always = Network.from_functions(
    init=linear_init,
    embed=no_features,
    logits=lambda variables, images, *, train: (
      jnp.eye(3)[jnp.ones(len(images), jnp.int32)]
      + 0 * linear_logits(variables, images, train=train)[0],
      variables,
    ),
  )
  result = evaluate(
    SYNTHETIC, TEST_IMAGES, TEST_LABELS, CONFIG, key=KEY, network=always
  )
  assert result.correct == ((0, 100, 0),) * 3
  assert result.accuracies == pytest.approx([1 / 3] * 3)


def test_keys_stay_the_callers():
  keys = jax.random.split(KEY, 3)
  first, second = (
    evaluate_each(
      SYNTHETIC, TEST_IMAGES, TEST_LABELS, CONFIG, keys=keys, network=LINEAR
    )
    for _ in range(2)
  )
  assert first == second


def test_networks_that_diverge_are_counted_in_a_warning():
  config = dataclasses.replace(CONFIG, learning_rate=1e30)
  with pytest.warns(UserWarning, match='3 of 3 networks diverged') as told:
    accuracies = evaluate_linear(config)
  assert accuracies == pytest.approx([1 / 3] * 3)
  (warning,) = told
  assert 'evaluate.learning_rate 1e+30' in str(warning.message)
  assert warning.filename == __file__


def test_a_network_that_diverges_leaves_the_others_as_they_are():
  diverges = np.array([True, False, True])
  keys = jax.random.split(KEY, 3)

  def evaluate_these(constants, network):
    return evaluate_each(
      SYNTHETIC,
      TEST_IMAGES,
      TEST_LABELS,
      CONFIG,
      keys=keys,
      network=network,
      constants={'scale': jnp.asarray(constants, jnp.float32)},
    ).accuracies

  def logits(variables, images, *, train):
    logits, _ = linear_logits(variables, images, train=train)
    return logits * variables['scale'], variables

  network = dataclasses.replace(
    Network.from_functions(
      lambda key: linear_init(key) | {'scale': jnp.float32(1)},
      no_features,
      logits,
    ),
    constants=('scale',),
  )
  expected = evaluate_these([1, 1, 1], network)
  with pytest.warns(UserWarning, match='2 of 3 networks diverged'):
    found = evaluate_these(np.where(diverges, np.nan, 1), network)
  assert found[1] == expected[1]
  assert (found[0], found[2]) == pytest.approx((1 / 3, 1 / 3))


def test_a_network_with_too_few_outputs_is_refused():
  few = Network.from_functions(
    init=linear_init,
    embed=no_features,
    logits=lambda variables, images, *, train: (
      linear_logits(variables, images, train=train)[0][:, :2],
      variables,
    ),
  )
  with pytest.raises(InputError, match='has 2 outputs, the images are of 3'):
    evaluate_linear(network=few)
