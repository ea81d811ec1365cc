import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from dm_jax.config.protocols import ALL_OPERATIONS
from dm_jax.data.class_data import ClassData
from dm_jax.draws import draw
from dm_jax.errors import InputError
from dm_jax.images import augment
from dm_jax.images.storage import PLAIN, Storage
from dm_jax.matching import loss as matching
from dm_jax.matching.discrepancy import get_discrepancy
from dm_jax.matching.objective import (
  Objective,
  classes_embedded_together,
  classes_together,
)
from dm_jax.matching.terms import Terms, of_features
from dm_jax.networks.registry import make_network
from dm_jax.types import Network

KEY = jax.random.key(0)
EVERY = augment.parse(ALL_OPERATIONS)


def no_logits(variables, images, *, train):
  return images.reshape(len(images), -1), variables


# Its features are the pixels.
PIXELS = Network.from_functions(
  init=lambda key: (),
  embed=lambda variables, images: images.reshape(len(images), -1),
  logits=no_logits,
)
CONVNET = make_network(
  'convnet', image_shape=(8, 8, 1), classes=3, width=4, depth=1
)


MEAN = Terms((('mean', of_features(get_discrepancy('mean'))),))


def objective(network=PIXELS, **changes):
  defaults = Objective(
    network=network,
    terms=MEAN,
    storage=PLAIN,
    operations=(),
    sizes=(3,),
    batch_real=8,
    micro_batch=8,
  )
  return dataclasses.replace(defaults, **changes)


def make_targets(objective, data, variables, keys):
  labels = jnp.arange(data.classes, dtype=jnp.int32)
  states = ({'mean': ()},)
  real = matching.embed_real(objective, data, variables, keys)
  return matching.make_targets(data, labels, states, real, keys)


def class_losses(objective, images, targets, variables):
  """The losses of all the images as one set."""
  objective = dataclasses.replace(objective, sizes=(images.shape[1],))
  compared = matching.class_losses(objective, images, targets, variables)
  return compared.losses['mean']


def random_data(counts, shape=(8, 8, 1)):
  """Random images, padded with white ones that must never be seen."""
  capacity = max(counts)
  size = (len(counts), capacity, *shape)
  images = np.random.RandomState(0).randint(0, 256, size, np.uint8)
  for image, count in zip(images, counts, strict=True):
    image[count:] = 255
  return ClassData(
    images=images,
    counts=np.array(counts, np.int32),
    mean=(0.5,) * shape[-1],
    std=(0.25,) * shape[-1],
    class_names=tuple(map(str, range(len(counts)))),
  )


def class_keys(data, key=KEY):
  return jax.random.split(key, data.classes)


def normalised(data):
  return jnp.asarray((data.images / 255 - 0.5) / 0.25, jnp.float32)


def test_terms_of_one_name_are_refused():
  mean = MEAN.named[0]
  with pytest.raises(InputError, match='need different names, got mean, mean'):
    Terms((mean, mean))


# How images are drawn.


@pytest.mark.parametrize(
  ('count', 'capacity', 'size'), [(5, 9, 3), (9, 9, 3), (4, 9, 4), (3, 3, 1)]
)
def test_a_batch_holds_distinct_images_of_the_class(count, capacity, size):
  @jax.jit
  def draw_each(keys):
    return jax.vmap(lambda key: draw(key, jnp.int32(count), capacity, size))(
      keys
    )

  indices, weights = draw_each(jax.random.split(KEY, 3000))
  assert indices.shape == weights.shape == (3000, size)
  assert (weights == 1).all()
  assert all(len(set(row)) == len(row) for row in indices.tolist())
  drawn = np.bincount(np.ravel(indices))
  assert len(drawn) == count, 'no padding, and every image'
  expected = 3000 * size / count
  np.testing.assert_allclose(drawn, expected, atol=4.5 * expected**0.5)


@pytest.mark.parametrize('size', [5, 7, 100])
def test_a_class_with_fewer_images_than_the_batch_gives_each_once(size):
  indices, weights = draw(KEY, jnp.int32(3), 7, size)
  assert len(indices) == len(weights) == min(size, 7)
  assert sorted(indices[weights == 1].tolist()) == [0, 1, 2]
  assert set(weights.tolist()) == {0, 1}


# What the loss is.


def test_losses_by_hand():
  # Images of 1 × 2 pixels; normalised they are their levels.
  data = ClassData(
    images=np.array([[[1, 2], [3, 6]], [[5, 5], [255, 255]]], np.uint8).reshape(
      2, 2, 1, 2, 1
    ),
    counts=np.array([2, 1], np.int32),
    mean=(0.0,),
    std=(1 / 255,),
    class_names=('two', 'one'),
  )
  synthetic = jnp.array([[[0.0, 0]], [[5, 7]]]).reshape(2, 1, 1, 2, 1)
  targets = make_targets(objective(), data, (), class_keys(data))
  losses = class_losses(objective(), synthetic, targets, ())
  # Means of the real images: (2, 4) and (5, 5).
  np.testing.assert_allclose(losses, [4 + 16, 0 + 4], rtol=1e-5)


@functools.partial(jax.jit, static_argnums=0)
def step_losses(objective, data, images, variables):
  """The losses of one step [C]."""
  keys = class_keys(data)
  targets = make_targets(objective, data, variables, keys)
  return class_losses(objective, images, targets, variables)


@pytest.fixture(scope='module')
def augmented_losses():
  """(data, images, draw the same for both sets) -> losses of 40 draws."""
  convnet = objective(CONVNET, operations=EVERY)

  @jax.jit
  def call(data, images, shared):
    def one(key):
      variables = CONVNET.init(key)
      keys = class_keys(data, key)
      targets = make_targets(convnet, data, variables, keys)
      drawn = targets.augmentation
      others = jax.tree.map(lambda x: jnp.roll(x, 1, 0), drawn)
      used = jax.tree.map(lambda a, b: jnp.where(shared, a, b), drawn, others)
      targets = targets._replace(augmentation=used)
      return class_losses(convnet, images, targets, variables)

    return jax.lax.map(one, jax.random.split(KEY, 40))

  return call


def test_the_loss_is_zero_where_the_sets_are_equal(augmented_losses):
  data = random_data([6, 6, 6])
  losses = augmented_losses(data, normalised(data), True)
  assert losses.shape == (40, 3)
  assert losses.max() < 1e-6


def test_real_and_synthetic_images_share_their_augmentation(augmented_losses):
  data = random_data([6, 6, 6])
  losses = augmented_losses(data, normalised(data), False)
  # Equal images, but each class's augmented like those of another class.
  assert np.mean(losses > 1e-3) > 0.9


def test_the_order_of_images_changes_nothing(augmented_losses):
  data = random_data([6, 6, 6])
  images = normalised(data)[:, :, ::-1]
  turned = dataclasses.replace(data, images=data.images[:, ::-1])
  losses = augmented_losses(data, images, True)
  np.testing.assert_allclose(
    augmented_losses(turned, images[:, ::-1], True), losses, rtol=1e-3
  )
  assert losses.min() > 1e-4


@pytest.mark.parametrize('network', [PIXELS, CONVNET], ids=['pixels', 'conv'])
def test_padding_reaches_no_loss(network):
  data = random_data([2, 5, 3])
  blank = np.where(data.images == 255, np.uint8(0), data.images)
  images = jnp.zeros((3, 2, 8, 8, 1))
  variables = jax.jit(network.init)(KEY)
  losses = step_losses(objective(network), data, images, variables)
  other = dataclasses.replace(data, images=blank)
  np.testing.assert_allclose(
    step_losses(objective(network), other, images, variables), losses
  )
  for c, count in enumerate(data.counts):
    mean = normalised(data)[c, :count].mean(0)
    if network is PIXELS:
      np.testing.assert_allclose(losses[c], (mean**2).sum(), rtol=1e-5)


def test_micro_batches_change_nothing():
  data, images = random_data([7, 4]), jnp.zeros((2, 1, 8, 8, 1))
  variables = jax.jit(CONVNET.init)(KEY)
  whole, *others = (
    step_losses(
      objective(CONVNET, batch_real=5, micro_batch=size),
      data,
      images,
      variables,
    )
    for size in (0, 3, 100)
  )
  for losses in others:
    np.testing.assert_allclose(losses, whole, rtol=1e-5)


def test_stored_images_are_decoded_before_they_are_compared():
  data, images = random_data([4, 4]), jax.random.normal(KEY, (2, 1, 8, 8, 1))

  def turn(stored, grey):
    del grey
    return jnp.stack([stored, 3 * stored])

  turned = objective(storage=Storage('turned', 2, turn))
  both = jnp.concatenate([images, 3 * images], 1)
  np.testing.assert_allclose(
    step_losses(turned, data, images, ()),
    step_losses(objective(), data, both, ()),
    rtol=1e-6,
  )


# Its gradient.


def test_the_gradient_is_a_finite_difference():
  data = random_data([4, 4], (6, 5, 1))
  images = jax.random.normal(KEY, (2, 2, 6, 5, 1))
  drawn = objective(operations=(('color', 'crop'),))
  targets = make_targets(drawn, data, (), class_keys(data))

  @jax.jit
  def loss(images):
    return class_losses(drawn, images, targets, ()).sum()

  # Quadratic in the pixels, so that large steps are exact.
  check_grads(loss, (images,), order=1, modes=['rev'], eps=0.1)


@pytest.mark.parametrize('norm', ['instance', 'batch'])
def test_only_batch_norm_lets_a_class_move_the_images_of_another(norm):
  network = make_network(
    'convnet', image_shape=(8, 8, 1), classes=3, width=4, depth=1, norm=norm
  )
  data = random_data([4, 4, 4])
  images = jax.random.normal(KEY, (3, 2, 8, 8, 1))
  convnet = objective(network)

  @jax.jit
  def jacobian(images):
    variables = network.init(KEY)
    keys = class_keys(data)
    targets = make_targets(convnet, data, variables, keys)
    return jax.jacrev(
      lambda images: class_losses(convnet, images, targets, variables)
    )(images)

  moves = np.abs(jacobian(images)).max((2, 3, 4, 5)) > 0
  expected = np.ones((3, 3)) if norm == 'batch' else np.eye(3)
  np.testing.assert_array_equal(moves, expected)


# What is computed.


def branches_in(jaxpr):
  """Yields how many branches each switch of a program has, loops included."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'cond':
      yield len(equation.params['branches'])
    for parameter in equation.params.values():
      inner = getattr(parameter, 'jaxpr', parameter)
      if hasattr(inner, 'eqns'):
        yield from branches_in(inner)


def test_each_class_computes_only_the_augmentation_it_drew():
  data = random_data([4, 4])
  drawn = objective(operations=EVERY)

  def losses(data, images, keys):
    targets = make_targets(drawn, data, (), keys)
    return class_losses(drawn, images, targets, ())

  images = jnp.zeros((2, 2, 8, 8, 1))
  program = jax.make_jaxpr(losses)(data, images, class_keys(data))
  # One switch for the real images, one for the synthetic ones: mapped over its
  # index, it would be a selection among all branches.
  assert [*branches_in(program.jaxpr)] == [len(EVERY[0])] * 2


@pytest.mark.parametrize('micro_batch', [1, 6, 9])
def test_classes_pass_together_or_one_by_one(micro_batch):
  """Of 4 classes of 3 images groups of 1, 2, and 2 classes."""
  data = random_data([5] * 4)
  variables = CONVNET.init(KEY)
  few = objective(CONVNET, micro_batch=micro_batch)
  targets = make_targets(few, data, variables, class_keys(data))
  images = normalised(data)[:, :3]

  def total(images):
    return class_losses(few, images, targets, variables).sum()

  gradient, compared = matching.class_gradients(few, images, targets, variables)
  losses = compared.losses['mean']
  np.testing.assert_allclose(
    gradient, jax.grad(total)(images), rtol=1e-4, atol=1e-5
  )
  np.testing.assert_allclose(losses.sum(), total(images), rtol=1e-5)
  assert losses.shape == (4,)


@pytest.mark.parametrize('classes', [2, 3, 5, 9])
def test_classes_that_are_embedded_together_draw_what_they_draw_alone(classes):
  """Of 5 classes groups of 2, 2 and 1, of 3 and 2, and all."""
  data = random_data([7, 4, 6, 9, 5])
  variables = jax.jit(CONVNET.init)(KEY)
  images = normalised(data)[:, :3]
  alone = objective(CONVNET, operations=EVERY, micro_batch=8)

  @functools.partial(jax.jit, static_argnums=0)
  def compute(objective):
    targets = make_targets(objective, data, variables, class_keys(data))
    return matching.class_gradients(objective, images, targets, variables)

  together = dataclasses.replace(
    alone,
    classes_embedded=classes,
    micro_batch=8 * classes,
    differentiated=3 * classes,
  )
  expected, compared = compute(alone)
  gradient, ours = compute(together)
  np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
    ours.losses['mean'], compared.losses['mean'], rtol=1e-5
  )


def test_a_micro_batch_holds_the_classes_that_are_embedded_together():
  wanted = objective(classes_embedded=4, batch_real=8)
  found = [
    classes_embedded_together(dataclasses.replace(wanted, micro_batch=m), 8)
    for m in (4, 8, 16, 31, 32, 1000)
  ]
  # Of 8 classes; 3 would leave 2 alone, 2 leave none.
  assert found == [1, 1, 2, 2, 4, 4]


def test_synthetic_images_have_a_bound_of_their_own():
  few = objective(micro_batch=100, differentiated=6)
  assert classes_together(few, 10, 3) == 2
  unbounded = dataclasses.replace(few, differentiated=0)
  assert classes_together(unbounded, 10, 3) == 10


def test_many_synthetic_images_pass_in_parts():
  """Loss and gradient are those of one batch; the last part is smaller."""
  data = random_data([5, 5, 5])
  variables = CONVNET.init(KEY)
  targets = make_targets(objective(CONVNET), data, variables, class_keys(data))
  images = normalised(data)[:, :3]

  def loss(at_once, images):
    parts = objective(CONVNET, micro_batch=at_once, rematerialise=True)
    losses = class_losses(parts, images, targets, variables)
    return losses.sum()

  expected = jax.value_and_grad(functools.partial(loss, 9))(images)
  few = functools.partial(loss, 4)
  actual = jax.value_and_grad(few)(images)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
    actual,
    expected,
  )
