"""Labels by trained networks, against NumPy and by hand."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dm_jax
from dm_jax.config.sections import EvalConfig
from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.embedders import Pool
from dm_jax.training.evaluate import evaluate
from dm_jax.training.teacher import label_by_teacher, mean_probabilities
from dm_jax.types import Network

RANDOM = np.random.RandomState(0)
SHAPE = (4, 4, 1)
CLASSES, TEACHERS = 3, 4
WEIGHTS = RANDOM.normal(0, 1, (TEACHERS, 16, CLASSES)).astype(np.float32)
DATA = ClassData.from_arrays(
  np.zeros((CLASSES, *SHAPE), np.uint8), range(CLASSES), mean=[0.5], std=[0.25]
)


def flat(images):
  return images.reshape(len(images), -1)


def linear(classes=CLASSES, shift=0.0):
  """A network of one matrix; in training mode its logits are others."""

  def logits(variables, images, *, train):
    wrong = 100.0 if train else 0.0
    answer = flat(images) @ variables + shift + wrong * images[:, 0, 0]
    return answer, variables

  return Network.from_functions(
    init=lambda key: jnp.zeros((16, classes)),
    embed=lambda variables, images: flat(images),
    logits=logits,
  )


LINEAR = linear()


def make_set(per_class=2, storage='plain'):
  shape = (CLASSES, per_class, *SHAPE)
  stored = np.random.RandomState(1).normal(0, 1, shape).astype(np.float32)
  return SyntheticSet.from_classes(
    jnp.asarray(stored), DATA, {'seed': 3}, storage
  )


def by_numpy(images, weights=WEIGHTS):
  """The mean of softmaxes, in float64 and with loops."""
  rows = []
  for image in np.asarray(images, np.float64):
    each = []
    for matrix in np.asarray(weights, np.float64):
      powers = np.exp(image.reshape(-1) @ matrix)
      each.append(powers / powers.sum())
    rows.append(sum(each) / len(each))
  return np.array(rows)


@pytest.mark.parametrize('count', [1, 6, 300])
def test_probabilities_are_the_mean_of_softmaxes(count):
  images = RANDOM.normal(0, 1, (count, *SHAPE)).astype(np.float32)
  found = mean_probabilities(LINEAR, WEIGHTS, jnp.asarray(images), CLASSES)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, by_numpy(images), rtol=2e-5, atol=1e-7)
  np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


def test_two_teachers_by_hand():
  """Logits ln 1, ln 3 and ln 1, ln 1: the mean of (¼, ¾) and (½, ½)."""
  weights = np.zeros((2, 16, 2), np.float32)
  weights[0, 0, 1] = np.log(3)
  image = jnp.zeros((1, *SHAPE)).at[0, 0, 0, 0].set(1)
  found = mean_probabilities(linear(2), weights, image, 2)
  np.testing.assert_allclose(found, [[0.375, 0.625]], rtol=1e-6)


def test_a_class_that_the_set_does_not_have_gets_no_share():
  weights = np.zeros((1, 16, 3), np.float32)
  image = jnp.zeros((1, *SHAPE))
  found = mean_probabilities(LINEAR, weights, image, 2)
  np.testing.assert_allclose(found, [[0.5, 0.5]])


def test_large_logits_are_no_nan():
  found = mean_probabilities(
    linear(shift=1e4), WEIGHTS, jnp.ones((2, *SHAPE)), 3
  )
  assert np.isfinite(found).all()


def test_a_plain_set_gets_a_row_for_each_image():
  made = make_set()
  labelled = label_by_teacher(made, LINEAR, WEIGHTS)
  assert labelled.targets.shape == (6, CLASSES)
  assert labelled.targets.dtype == jnp.float32
  np.testing.assert_allclose(
    labelled.training_targets, by_numpy(made.stored), rtol=2e-5
  )
  np.testing.assert_array_equal(labelled.class_of, made.class_of)
  np.testing.assert_array_equal(labelled.stored, made.stored)
  assert labelled.provenance == {'seed': 3, 'teachers': TEACHERS}


def test_each_tile_gets_its_own_probabilities():
  made = make_set(storage='tiles:2')
  labelled = label_by_teacher(made, LINEAR, WEIGHTS)
  assert labelled.targets.shape == (6, 4, CLASSES)
  expected = by_numpy(made.images)
  np.testing.assert_allclose(labelled.training_targets, expected, rtol=5e-5)
  # Tile t of stored image n is number 4 n + t.
  np.testing.assert_allclose(labelled.targets[2, 3], expected[11], rtol=5e-5)
  assert abs(expected[8] - expected[11]).max() > 0.05


def test_a_nested_set_has_the_labels_of_its_images():
  labelled = label_by_teacher(make_set(3, 'tiles:2'), LINEAR, WEIGHTS)
  first = labelled.first(2)
  again = label_by_teacher(make_set(3, 'tiles:2').first(2), LINEAR, WEIGHTS)
  np.testing.assert_allclose(first.targets, again.targets, rtol=1e-5)
  plain = first.as_plain()
  assert plain.targets.shape == (24, CLASSES)
  np.testing.assert_array_equal(plain.targets, first.training_targets)


def test_the_same_labels_twice():
  one, two = (label_by_teacher(make_set(), LINEAR, WEIGHTS) for _ in range(2))
  assert one.fingerprint() == two.fingerprint()
  assert one.fingerprint() != make_set().fingerprint()


def test_labels_of_other_teachers_take_the_place_of_labels():
  before = label_by_teacher(make_set(), LINEAR, WEIGHTS)
  labelled = label_by_teacher(before, LINEAR, WEIGHTS[:2])
  assert labelled.provenance == {'seed': 3, 'teachers': 2}
  expected = by_numpy(make_set().stored, WEIGHTS[:2])
  np.testing.assert_allclose(labelled.targets, expected, rtol=2e-5)


def test_the_teachers_are_told_one_by_one():
  told = []
  label_by_teacher(
    make_set(), LINEAR, WEIGHTS, callback=lambda *done: told.append(done)
  )
  assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


class Classifier(nn.Module):
  """A Linen module of one layer."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(CLASSES, use_bias=False)(flat(x))


def test_a_linen_module_teaches_from_the_public_name():
  variables = {'params': {'Dense_0': {'kernel': WEIGHTS}}}
  labelled = dm_jax.label_by_teacher(make_set(), Classifier(), variables)
  expected = by_numpy(make_set().stored)
  np.testing.assert_allclose(labelled.targets, expected, rtol=2e-5)


@pytest.mark.parametrize(
  ('variables', 'network'),
  [
    (WEIGHTS[0], LINEAR),  # Of one network, without an axis over networks.
    (WEIGHTS[:0], LINEAR),
    (WEIGHTS[:, :5], LINEAR),
    ([WEIGHTS, WEIGHTS], LINEAR),
    (np.float32(1), LINEAR),
  ],
)
def test_variables_of_no_such_networks_are_refused(variables, network):
  with pytest.raises(InputError, match='leading axis .* stack them') as error:
    label_by_teacher(make_set(), network, variables)
  assert '\n' not in str(error.value)


def test_a_teacher_of_fewer_classes_is_refused():
  with pytest.raises(
    InputError, match='2 outputs, the images are of 3 classes'
  ):
    label_by_teacher(make_set(), linear(2), WEIGHTS[..., :2])


def test_the_last_network_of_each_training_teaches():
  """Two trainings of three snapshots each, one after the other."""
  pool = Pool(
    {'w': np.arange(6)}, np.linspace(0, 1, 6), np.tile([0.0, 1.0, 2.0], 2)
  )
  trained = pool.trained()
  assert trained.variables['w'].tolist() == [2, 5]
  assert trained.epochs.tolist() == [2, 2]
  np.testing.assert_allclose(trained.accuracies, [0.4, 1.0])


@pytest.mark.parametrize('protocol', ['dm', 'idc'])
def test_networks_learn_probabilities(protocol):
  """Of certain ones, they learn what they learn of the classes; also mixed."""
  certain = make_set(4, 'tiles:2')
  shares = jnp.broadcast_to(
    jax.nn.one_hot(certain.class_of, CLASSES)[:, None], (12, 4, CLASSES)
  )
  soft = dataclasses.replace(certain, targets=shares)
  tests = RANDOM.randint(0, 256, (30, *SHAPE)).astype(np.uint8)
  config = EvalConfig(
    protocol, networks=2, epochs=3, batch_size=8, augment='flip'
  )
  results = [
    evaluate(
      each,
      tests,
      np.arange(30) % CLASSES,
      config,
      key=jax.random.key(0),
      network=dm_jax.make_network(
        'mlp', image_shape=SHAPE, classes=CLASSES, width=8
      ),
    )
    for each in (certain, soft)
  ]
  assert results[0].correct == results[1].correct
