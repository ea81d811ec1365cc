import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from dm_jax import recipe
from dm_jax.applications.continual import ContinualLearner
from dm_jax.applications.memory import (
  condensed_sizes,
  grow,
  images_per_class,
  keep_as,
  reorder,
)
from dm_jax.applications.stream import (
  class_order,
  forgetting,
  group_accuracies,
  keep_seen,
  split_groups,
)
from dm_jax.config.sections import CondenseConfig, NetworkConfig, PretrainConfig
from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError
from dm_jax.images.normalise import normalise
from dm_jax.networks.registry import make_network
from dm_jax.synthetic_set import SyntheticSet

KEY = jax.random.key(0)
CONFIG = CondenseConfig(
  images_per_class=4, steps=3, batch_real=8, augment='none', log_every=1
)
NETWORK = make_network(
  NetworkConfig(width=4, depth=1), image_shape=(8, 8, 1), classes=4
)
PRETRAIN = PretrainConfig(epochs=1, batch_size=64, augment='none')


@pytest.fixture(scope='module')
def digits():
  """Images uint8 [N, 8, 8, 1] and labels."""
  found: Any = load_digits()
  images = np.round(found.images * 255 / 16).astype(np.uint8)[..., None]
  return images, found.target


@pytest.fixture
def stream(digits):
  """A function: numbers of classes -> their images and labels."""
  images, labels = digits

  def stream(*numbers):
    rows = np.flatnonzero(np.isin(labels, numbers))
    return images[rows], labels[rows]

  return stream


def make_learner(method='dm', **options):
  given: dict[str, Any] = {'config': CONFIG, 'network': NETWORK, **options}
  return ContinualLearner(method, key=KEY, pretrain=PRETRAIN, **given)


def make_set(levels, names):
  """A set of 1×1 images with these levels for each class."""
  levels = np.array(levels)
  labels = np.repeat(np.arange(len(levels)), levels.shape[1])
  images = levels.reshape(-1, 1, 1, 1) / 255
  return SyntheticSet.from_images(
    jax.numpy.asarray(images, jax.numpy.float32),
    jax.numpy.asarray(labels, jax.numpy.int32),
    mean=(0.0,),
    std=(1.0,),
    class_names=tuple(names),
  )


def test_a_memory_by_hand():
  memory = grow(None, make_set([[1, 2, 3], [4, 5, 6]], 'ab'), 3)
  memory = grow(memory, make_set([[7, 8, 9]], 'c'), 2)
  assert np.round(memory.images[:, 0, 0, 0] * 255).tolist() == [
    *(1, 2),
    *(4, 5),
    *(7, 8),
  ]
  assert memory.labels.tolist() == [0, 0, 1, 1, 2, 2]
  assert memory.class_names == ('a', 'b', 'c')


def test_a_budget_by_hand():
  size = images_per_class
  # An image of 8×8×3 takes 192 bytes; ten classes of five are 9,600.
  assert size(20, 10, (8, 8, 3), 'uint8', 0) == 20
  assert size(20, 10, (8, 8, 3), 'uint8', 9600) == 5
  assert size(20, 10, (8, 8, 3), 'uint8', 9599) == 4
  assert size(20, 10, (8, 8, 3), 'float32', 9600) == 1
  assert size(3, 10, (8, 8, 3), 'uint8', 9600) == 3
  message = (
    'budget_bytes 1,919 has no room for one image of each of 10 classes, which'
    ' take 1,920 bytes as uint8'
  )
  with pytest.raises(InputError, match=message):
    size(20, 10, (8, 8, 3), 'uint8', 1919)


def test_under_a_budget_every_half_is_a_set_of_its_own():
  assert condensed_sizes(20, 0, 'mean', 'plain') == 20
  assert condensed_sizes(20, 1, 'mean', 'plain') == (1, 2, 5, 10, 20)
  assert condensed_sizes(1, 1, 'mean', 'plain') == (1,)


def test_no_half_is_too_small_for_what_compares_it():
  """A covariance needs two images; four tiles lie in one stored image."""
  both = 'mean,covariance:50'
  assert condensed_sizes(20, 1, both, 'plain') == (2, 5, 10, 20)
  assert condensed_sizes(20, 1, both, 'tiles:2') == (1, 2, 5, 10, 20)
  assert condensed_sizes(1, 1, both, 'plain') == (1,)


def test_the_orders_are_those_of_numpys_seeds():
  for order in range(3):
    np.random.seed(order)  # noqa: NPY002
    expected = np.random.permutation(100).tolist()  # noqa: NPY002
    assert list(class_order(order, 100)) == expected


def test_groups_are_equally_large():
  groups = split_groups((3, 1, 0, 2), 2)
  assert groups == ((3, 1), (0, 2))
  assert split_groups((0, 1), 2) == ((0,), (1,))


@pytest.mark.parametrize('steps', [4, 0, 20])
def test_steps_must_divide_the_classes(steps):
  message = rf'steps {steps} does not divide the 10 .* \[1, 2, 5, 10\]$'
  with pytest.raises(InputError, match=message):
    split_groups(range(10), steps)


def test_images_of_classes_not_seen_are_left_out():
  labels = np.array([0, 1, 2, 3, 3, 1])
  rows, places = keep_seen(labels, (3, 1))
  assert rows.tolist() == [1, 3, 4, 5]
  # Class 3 came first.
  assert places.tolist() == [1, 0, 0, 1]
  rows, places = keep_seen(np.zeros(0, np.int32), (3,))
  assert (len(rows), len(places)) == (0, 0)


def test_accuracies_of_groups_by_hand():
  accuracies = group_accuracies([9, 5, 0, 6], [10, 10, 4, 8], 2)
  assert accuracies == pytest.approx([14 / 20, 6 / 12])


def test_forgetting_by_hand():
  steps = [[0.9], [0.95, 0.8], [0.7, 0.85, 0.6]]
  # The first group falls from its best, 0.95; the second has got better.
  expected = ((0.95 - 0.7) + (0.8 - 0.85)) / 2
  assert forgetting(steps) == pytest.approx(expected)
  assert forgetting([[0.9]]) is None


def test_a_memory_of_bytes_rounds_and_clips():
  made = make_set([[-3.0, 1.4], [1.6, 300.0]], 'ab')
  kept = keep_as(made, 'uint8')
  levels = kept.images[:, 0, 0, 0] * 255
  np.testing.assert_allclose(levels, [0, 1, 2, 255], atol=1e-4)
  assert keep_as(made, 'float32') is made


def test_a_stream_of_real_images(stream):
  """What the memory holds is the stream's own, class by class as they came."""
  learner = make_learner('random')
  learner.observe(*stream(7, 3))
  memory = learner.observe(*stream(5))
  assert memory is learner.memory
  assert memory.class_names == ('3', '7', '5')
  assert memory.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
  for place, number in enumerate((3, 7, 5)):
    real = {image.tobytes() for image in stream(number)[0]}
    kept = memory.images_uint8[4 * place : 4 * place + 4]
    assert len({image.tobytes() for image in kept} & real) == 4
  assert memory.provenance['method'] == 'random'
  first = ClassData.from_arrays(stream(3, 7)[0], (stream(3, 7)[1] == 7) * 1)
  assert (memory.mean, memory.std) == (first.mean, first.std)


def test_test_images_are_those_of_classes_seen(stream, digits):
  learner = make_learner('random')
  images, labels = learner.seen(*digits)
  assert len(images) == len(labels) == 0
  learner.observe(*stream(7, 3))
  images, labels = learner.seen(*digits)
  assert len(images) == (np.isin(digits[1], (3, 7))).sum()
  assert sorted(image.tobytes() for image in images[labels == 1]) == sorted(
    image.tobytes() for image in stream(7)[0]
  )


def padded(stream, *numbers):
  """Classes as a stream gives them, all padded alike."""
  whole = ClassData.from_arrays(*stream(*range(10)))
  return whole.take(numbers)


def test_groups_that_have_lost_their_names_are_not_taken_for_others(stream):
  learner = make_learner('random')
  learner.observe_classes(jax.device_put(padded(stream, 0, 1)))
  for again in ((2, 3), (0, 1)):
    with pytest.raises(InputError, match="'0' was .*have lost their class_nam"):
      learner.observe_classes(jax.device_put(padded(stream, *again)))
  assert learner.memory is not None
  assert learner.memory.class_names == ('0', '1')


def test_a_memory_that_is_too_small_is_refused_before_the_work(stream):
  learner = make_learner('dm')
  memory = learner.observe(*stream(0, 1))
  learner.memory = memory.first(1)
  steps = []
  with pytest.raises(InputError, match='cannot take the first 4 images of'):
    learner.observe(*stream(2), callback=lambda *_: steps.append(1))
  assert not steps


def test_a_memory_of_other_images_is_refused_before_the_work(stream):
  plain = make_learner('dm')
  memory = plain.observe(*stream(0, 1))
  steps = []
  blurred = jax.numpy.full((len(memory.labels), 2), 0.5, np.float32)
  tiled = dataclasses.replace(CONFIG, storage='tiles', factor=2)
  for learner, given, message in (
    (plain, dataclasses.replace(memory, targets=blurred), 'probabilities'),
    (make_learner('dm', config=tiled), memory, "as 'plain', new .* 'tiles:2'"),
  ):
    learner.memory = given
    with pytest.raises(InputError, match=message):
      learner.observe(*stream(2), callback=lambda *_: steps.append(1))
    assert learner.memory is given
  assert not steps


@pytest.mark.parametrize('method', ['dm', 'random'])
def test_the_grouping_changes_nothing(stream, method):
  learner, other = make_learner(method), make_learner(method)
  learner.observe_classes(padded(stream, 4, 1))
  two_and_one = learner.observe_classes(padded(stream, 9))
  other.observe_classes(padded(stream, 4))
  one_and_two = other.observe_classes(padded(stream, 1, 9))
  np.testing.assert_allclose(two_and_one.images, one_and_two.images, atol=1e-5)
  assert two_and_one.class_names == ('4', '1', '9')


def test_condensed_images_are_not_the_real_ones(stream):
  memory = make_learner('dm').observe(*stream(0, 1))
  start = make_learner(config=dataclasses.replace(CONFIG, steps=0))
  before = start.observe(*stream(0, 1))
  assert np.abs(memory.images - before.images).max() > 0.01


@pytest.mark.parametrize('method', ['herding', 'k_center', 'forgetting'])
def test_real_images_are_selected_by_the_group_alone(stream, method):
  """What came before the group changes nothing of its selection."""
  learner = make_learner(method)
  learner.observe_classes(padded(stream, 0, 1))
  memory = learner.observe_classes(padded(stream, 2, 3))
  alone = make_learner(method).observe_classes(padded(stream, 2, 3))
  np.testing.assert_array_equal(memory.images[8:], alone.images)
  real = {image.tobytes() for image in stream(2, 3)[0]}
  assert {image.tobytes() for image in alone.images_uint8} <= real


def test_images_per_class_shrink_as_classes_arrive(stream):
  learner = make_learner(budget_bytes=8 * 64)
  assert np.bincount(learner.observe(*stream(0, 1)).labels).tolist() == [4, 4]
  before = learner.memory
  memory = learner.observe(*stream(2, 3))
  assert before is not None
  assert np.bincount(memory.labels).tolist() == [2] * 4
  np.testing.assert_array_equal(memory.images[:2], before.images[:2])
  np.testing.assert_array_equal(memory.images[2:4], before.images[4:6])


def test_a_stream_goes_on_from_a_memory(stream, tmp_path):
  straight = make_learner()
  straight.observe(*stream(0, 1)).save(tmp_path / 'memory.npz')
  expected = straight.observe(*stream(2))
  saved = SyntheticSet.load(tmp_path / 'memory.npz')
  found = make_learner(memory=saved).observe(*stream(2))
  np.testing.assert_array_equal(found.images, expected.images)
  assert found.class_names == expected.class_names


def test_the_callback_sees_condensing(stream):
  steps = []
  make_learner().observe(
    *stream(0, 1), callback=lambda state, metrics: steps.append(metrics.step)
  )
  assert steps[-1] == CONFIG.steps


def refuse(match, call):
  with pytest.raises(InputError, match=match) as error:
    call()
  assert '\n' not in str(error.value)


def test_bad_input_leaves_the_memory_as_it_was(stream):
  learner = make_learner('random', budget_bytes=64 * 3)
  memory = learner.observe(*stream(0, 1))
  refuse(
    "class '1' was observed before: a class comes once",
    lambda: learner.observe(*stream(2, 1)),
  )
  refuse('no room for one image', lambda: learner.observe(*stream(2, 3)))
  refuse(
    r'shape \(4, 8, 1\), those in memory \(8, 8, 1\)',
    lambda: learner.observe(stream(2)[0][:, :4], stream(2)[1]),
  )
  assert learner.memory is memory
  assert learner.observe(*stream(2)).classes == 3


def test_labels_are_one_for_each_image(stream):
  images, labels = stream(0, 1)
  learner = make_learner('random')
  refuse(
    r'int64 \(\d+, 2\): for one-hot ones use argmax',
    lambda: learner.observe(images, np.eye(2, dtype=np.int64)[labels]),
  )
  refuse('float64', lambda: learner.observe(images, labels / 1))
  learner.observe(images, labels)
  refuse('float64', lambda: learner.seen(images, labels / 1))
  refuse('no label is of a class', lambda: learner.seen(images, labels + 20))


def test_labels_may_be_names(stream):
  images, labels = stream(0, 1)
  names = np.array(['cat', 'dog'])[labels]
  learner = make_learner('random')
  assert learner.observe(images, names).class_names == ('cat', 'dog')
  _, found = learner.seen(images, names)
  np.testing.assert_array_equal(found, labels)


def test_a_memory_in_another_order():
  memory = reorder(make_set([[1, 2], [3, 4], [5, 6]], 'bca'), 'abc')
  levels = np.round(memory.images[:, 0, 0, 0] * 255)
  assert levels.tolist() == [5, 6, 1, 2, 3, 4]
  assert memory.labels.tolist() == [0, 0, 1, 1, 2, 2]
  assert memory.class_names == ('a', 'b', 'c')


def test_probabilities_of_tiles_in_a_memory():
  """Other groups' classes get none; in another order they go along."""

  def tiled(names, shares):
    made = make_set([[1]] * len(names), names)
    targets = np.array(shares, np.float32)
    assert targets.shape == (len(names), 4, len(names))
    return dataclasses.replace(
      made, storage='tiles:2', targets=jax.numpy.asarray(targets)
    )

  old = tiled('cb', [[[0.75, 0.25]] * 4, [[0, 1]] * 4])
  memory = grow(grow(None, old, 1), tiled('a', [[[1]] * 4]), 1)
  assert memory.targets[:, 0].tolist() == [
    [0.75, 0.25, 0],
    [0, 1, 0],
    [0, 0, 1],
  ]
  memory = reorder(memory, 'abc')
  assert memory.targets[:, 3].tolist() == [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0.25, 0.75],
  ]


def test_a_learner_says_what_it_cannot_do():
  refuse('whole keeps every image', lambda: make_learner('whole'))
  refuse('did you mean herding', lambda: make_learner('hearding'))
  refuse('unknown continual.store', lambda: make_learner(store='int8'))
  refuse('at least 0, got -5', lambda: make_learner(budget_bytes=-5))
  sizes = dataclasses.replace(CONFIG, images_per_class=(1, 4))
  refuse('one number of images', lambda: make_learner(config=sizes))


@pytest.mark.parametrize('network', [None, NETWORK])
def test_a_learner_has_no_cross_entropy_under_random_networks(network):
  made = recipe('trajectory', image_shape=(8, 8, 1), images_per_class=1)
  given = {'config': made.condense, 'network': network}
  refuse('trained networks: set it to 0, or', lambda: make_learner(**given))
  make_learner('random', **given)  # Selects, and has no loss.
  own = dataclasses.replace(NETWORK, init=lambda key: {})
  make_learner(config=made.condense, network=own)


def test_a_first_group_is_normalised_by_itself(stream):
  images, labels = stream(0, 1)
  memory = make_learner('random', store='float32').observe(images, labels)
  data = ClassData.from_arrays(images, labels)
  again = normalise(memory.images_uint8, data.mean, data.std)
  np.testing.assert_allclose(memory.images, again, atol=1e-6)
