"""The seams of the loss: discrepancies with a key and a state, more terms."""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dm_jax import (
  ClassData,
  CondenseConfig,
  condense_classes,
  init_state,
  make_network,
  make_problem,
  make_step,
)
from dm_jax.errors import InputError
from dm_jax.matching.discrepancy import Discrepancy, register_discrepancy
from dm_jax.matching.terms import Term

KEY = jax.random.key(0)
NETWORK = make_network(
  'convnet', image_shape=(8, 8, 1), classes=3, width=4, depth=1
)


def data_of(classes=3):
  labels = np.repeat(np.arange(classes), 6)
  shape = (len(labels), 8, 8, 1)
  images = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
  return ClassData.from_arrays(images, labels)


# A discrepancy that projects features on a random direction and remembers, for
# each class, the mean of what it saw.


def project(key, state, real, synthetic):
  direction = jax.random.normal(key, synthetic.shape[1:])
  seen = 0.5 * state['seen'] + 0.5 * synthetic.mean(0)
  loss = jnp.square((real.features.mean(0) - seen) @ direction)
  return loss, {'seen': seen, 'directions': state['directions'] + direction}


register_discrepancy(
  'projected',
  Discrepancy(
    project,
    init=lambda features: {
      'seen': jnp.zeros(features.shape),
      'directions': jnp.zeros(features.shape),
    },
  ),
)
PROJECTED = CondenseConfig(
  images_per_class=2, steps=4, batch_real=3, discrepancy='projected'
)


@pytest.fixture(scope='module')
def run():
  """All states of a run, and the set that it gave."""
  states = []
  made = condense_classes(
    data_of(),
    PROJECTED,
    key=KEY,
    network=NETWORK,
    devices=jax.devices()[:1],
    callback=lambda state, metrics: states.append(state),
  )
  return states, made


def features_of(images, variables):
  from dm_jax.types import Batch

  outputs = NETWORK.apply(variables, images, Batch(train=True))
  return outputs.features


def test_a_state_starts_with_the_shape_of_the_features():
  state = init_state(data_of(), PROJECTED, KEY, network=NETWORK)
  features = 4 * 4 * 4  # Width 4, and half of 8 pixels each way.
  assert state.terms[0]['projected']['seen'].shape == (3, features)


def test_a_state_is_the_running_mean_by_hand():
  config = CondenseConfig(
    images_per_class=2,
    steps=2,
    batch_real=3,
    augment='none',
    discrepancy='projected',
  )
  data = data_of()
  state = init_state(data, config, KEY, network=NETWORK)
  problem = make_problem(data, KEY, NETWORK.init)
  step = jax.jit(make_step(NETWORK, config))
  seen = np.zeros((3, 64))
  for _ in range(2):
    variables = NETWORK.init(
      jax.random.fold_in(problem.network_key, state.step)
    )
    features = features_of(state.images.reshape(6, 8, 8, 1), variables)
    seen = 0.5 * seen + 0.5 * np.reshape(features, (3, 2, 64)).mean(1)
    state, losses = step(state, problem)
    assert losses['projected'].shape == (3,)
  np.testing.assert_allclose(state.terms[0]['projected']['seen'], seen, 1e-4)


def test_every_class_and_step_has_a_key_of_its_own(run):
  states, _ = run
  sums = np.array([s.terms[0]['projected']['directions'] for s in states])
  directions = np.diff(np.concatenate([np.zeros_like(sums[:1]), sums]), axis=0)
  flat = directions.reshape(-1, directions.shape[-1])
  alike = np.corrcoef(flat) - np.eye(len(flat))
  assert np.abs(alike).max() < 0.6  # Of 64 values; equal ones have 1.


def test_a_resumed_run_has_the_states_of_a_straight_one(run):
  states, straight = run
  middle = next(s for s in states if 0 < int(s.step) < PROJECTED.steps)
  resumed = condense_classes(
    data_of(),
    PROJECTED,
    key=KEY,
    network=NETWORK,
    state=middle,
    devices=jax.devices()[:1],
  )
  np.testing.assert_array_equal(resumed.stored, straight.stored)


def test_states_go_with_their_classes_to_other_devices(run):
  _, straight = run
  spread = condense_classes(
    data_of(), PROJECTED, key=KEY, network=NETWORK, devices=jax.devices()[:2]
  )
  np.testing.assert_allclose(spread.stored, straight.stored, atol=1e-4)


# A second term: the cross entropy of the synthetic images.


def classify(key, state, kept, synthetic, label):
  del key
  assert kept is None, 'it reads no real image'
  losses = optax.softmax_cross_entropy_with_integer_labels(
    synthetic.logits, jnp.broadcast_to(label, synthetic.logits.shape[:1])
  )
  return losses.mean(), state


CROSS_ENTROPY = ('cross_entropy', Term(classify, reads=('logits',), weight=2.5))
CONFIG = CondenseConfig(
  images_per_class=2, steps=2, batch_real=3, augment='none'
)


def test_a_second_term_is_named_weighted_and_added():
  data = data_of()
  problem = make_problem(data, KEY, NETWORK.init)
  options = {'terms': (CROSS_ENTROPY,)}
  state = init_state(data, CONFIG, KEY, network=NETWORK, **options)
  step = jax.jit(make_step(NETWORK, CONFIG, **options))
  after, losses = step(state, problem)
  assert set(losses) == {'mean', 'cross_entropy'}

  variables = NETWORK.init(jax.random.fold_in(problem.network_key, 0))

  def by_hand(images):
    from dm_jax.types import Batch

    flat = images.reshape(6, 8, 8, 1)
    outputs = NETWORK.apply(variables, flat, Batch(train=True))
    logits = outputs.logits.reshape(3, 2, 3)
    chosen = jnp.stack([logits[c, :, c] for c in range(3)])
    return (jax.nn.logsumexp(logits, -1) - chosen).mean(1)

  expected = 2.5 * by_hand(state.images)
  np.testing.assert_allclose(losses['cross_entropy'], expected, 1e-4)

  plain = jax.jit(make_step(NETWORK, CONFIG))
  without, alone = plain(
    init_state(data, CONFIG, KEY, network=NETWORK), problem
  )
  np.testing.assert_allclose(losses['mean'], alone['mean'], 1e-5)
  # SGD at rate 1: what the term adds to the step is its gradient.
  gradient = jax.grad(lambda images: 2.5 * by_hand(images).sum())(state.images)
  np.testing.assert_allclose(
    without.images - after.images, gradient, rtol=1e-3, atol=1e-5
  )


def test_class_numbers_do_not_depend_on_devices():
  metrics = []
  made = [
    condense_classes(
      data_of(),
      CONFIG,
      key=KEY,
      network=NETWORK,
      terms=(CROSS_ENTROPY,),
      devices=jax.devices()[:count],
      callback=lambda state, m: metrics.append(m),
    )
    for count in (1, 2)
  ]
  np.testing.assert_allclose(made[0].stored, made[1].stored, atol=1e-4)
  assert set(metrics[0].terms) == {'mean', 'cross_entropy'}
  for one in metrics:
    np.testing.assert_allclose(
      one.losses, one.terms['mean'] + one.terms['cross_entropy']
    )


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'terms': ()}, 'other terms of the loss'),
    ({'optimizer': ()}, "another optimiser's"),
    (
      {'images': jnp.zeros((3, 9, 8, 8, 1))},
      r'images of shape \(3, 9, 8, 8, 1',
    ),
  ],
)
def test_a_state_of_another_run_is_refused(changes, message):
  state = init_state(data_of(), PROJECTED, KEY, network=NETWORK)
  other = dataclasses.replace(state, **changes)
  with pytest.raises(InputError, match=message + '.*pass state=None'):
    condense_classes(
      data_of(), PROJECTED, key=KEY, network=NETWORK, state=other
    )


def test_what_is_no_state_is_refused():
  with pytest.raises(InputError, match='pass one that a callback got, or None'):
    condense_classes(
      data_of(), PROJECTED, key=KEY, network=NETWORK, state=cast(Any, {})
    )
