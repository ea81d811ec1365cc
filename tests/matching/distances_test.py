"""Distances against NumPy that takes the long way, in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax import ClassData, CondenseConfig, condense_classes, make_network
from dm_jax.errors import InputError
from dm_jax.matching.discrepancy import get_discrepancy
from dm_jax.matching.distances import (
  Real,
  characteristic_distance,
  covariance_difference,
  kernel_difference,
  spread,
)
from dm_jax.matching.objective import make_objective
from dm_jax.types import Outputs

KEY = jax.random.key(0)
REAL, SYNTHETIC, FEATURES = 7, 4, 5
NAMES = ('mean', 'covariance', 'mmd', 'characteristic')


def features(seed, images, far=3.0):
  """Not around the origin, as features after a ReLU are not."""
  normal = np.random.RandomState(seed).standard_normal((images, FEATURES))
  return (normal * np.arange(1, FEATURES + 1) + far).astype(np.float32)


def padded(real, rows=3):
  """The real features with rows of padding in between."""
  shown = np.concatenate([real[:2], features(9, rows, 50), real[2:]])
  weights = np.ones(len(shown), np.float32)
  weights[2 : 2 + rows] = 0
  return Real(jnp.asarray(shown), jnp.asarray(weights))


def distance_at(frequencies, real, synthetic):
  return characteristic_distance(
    *padded(real), jnp.asarray(synthetic), jnp.asarray(frequencies)
  )


@jax.jit
def covariance(real, synthetic):
  return covariance_difference(spread(real), synthetic)


mmd = jax.jit(kernel_difference)


def covariance_by_hand(x, y):
  difference = np.cov(x.T) - np.cov(y.T)  # Of doubles, [F, F], unbiased.
  return np.square(difference).sum() / x.shape[1]


def mmd_by_hand(x, y):
  both = np.concatenate([x, y])
  n, total = len(both), 0.0
  for i in range(n):
    for j in range(n):
      total += ((both[i] - both[j]) ** 2).sum()
  b = total / (n**2 - n)

  def mean_kernel(first, second):
    kernel = 0.0
    for one in first:
      for other in second:
        square = ((one - other) ** 2).sum()
        kernel += sum(np.exp(-square / (b * 2.0**m)) for m in range(-2, 3))
    return kernel / (len(first) * len(second))

  return mean_kernel(x, x) - 2 * mean_kernel(x, y) + mean_kernel(y, y)


def characteristic_by_hand(x, y, frequencies):
  total = 0.0
  for t in frequencies:
    functions = [
      np.mean([np.exp(1j * (t @ f) / np.linalg.norm(f)) for f in of])
      for of in (x, y)
    ]
    total += abs(functions[0] - functions[1])
  return total / len(frequencies) / np.sqrt(2)


@pytest.mark.parametrize(
  ('distance', 'by_hand'),
  [(covariance, covariance_by_hand), (mmd, mmd_by_hand)],
)
def test_it_is_what_the_long_way_gives(distance, by_hand):
  real, synthetic = features(0, REAL), features(1, SYNTHETIC)
  expected = by_hand(real.astype(float), synthetic.astype(float))
  np.testing.assert_allclose(
    distance(padded(real), synthetic), expected, rtol=1e-4
  )


@pytest.mark.parametrize('distance', [covariance, mmd])
def test_it_is_zero_where_the_sets_are_equal(distance):
  real = features(0, REAL)
  turned = jnp.asarray(real[::-1])
  scale = distance(padded(real), features(1, SYNTHETIC))
  np.testing.assert_allclose(
    distance(padded(real), turned), 0, atol=1e-5 * scale
  )


@pytest.mark.parametrize(
  ('distance', 'by_hand'),
  [(covariance, covariance_by_hand), (mmd, None)],
)
def test_the_gradient_is_the_slope(distance, by_hand):
  real, synthetic = features(0, REAL), features(1, SYNTHETIC)
  gradient = jax.grad(distance, argnums=1)(padded(real), synthetic)
  x, y = real.astype(float), synthetic.astype(float)
  if by_hand is None:  # b is a constant: the slope of sums of kernels by hand.
    expected = mmd_slope(x, y)
  else:
    expected = np.zeros_like(y)
    for place in np.ndindex(*y.shape):
      moved = np.zeros_like(y)
      moved[place] = 1e-4
      rise = by_hand(x, y + moved) - by_hand(x, y - moved)
      expected[place] = rise / 2e-4
  np.testing.assert_allclose(
    gradient, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
  )


def mmd_slope(x, y):
  both = np.concatenate([x, y])
  squares = np.square(both[:, None] - both).sum(-1)
  b = squares.sum() / (len(both) ** 2 - len(both))
  slope = np.zeros_like(y)
  for i, one in enumerate(y):
    for others, sign in ((x, -1), (y, 1)):
      for other in others:
        for m in range(-2, 3):
          width = b * 2.0**m
          kernel = np.exp(-((one - other) ** 2).sum() / width)
          share = sign * 2 / (len(y) * len(others))
          slope[i] += share * kernel * -2 * (one - other) / width
  return slope


def test_characteristic_functions_are_those_of_complex_numbers():
  real, synthetic = features(0, REAL), features(1, SYNTHETIC)
  frequencies = np.random.RandomState(2).standard_normal((6, FEATURES))
  frequencies = frequencies.astype(np.float32)
  np.testing.assert_allclose(
    distance_at(frequencies, real, synthetic),
    characteristic_by_hand(real, synthetic, frequencies),
    rtol=1e-4,
  )
  # Scaled features are the same: their lengths count nothing.
  np.testing.assert_allclose(
    distance_at(frequencies, real, 3 * synthetic),
    characteristic_by_hand(real, synthetic, frequencies),
    rtol=1e-4,
  )


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('synthetic', ['equal', 'zero', 'alike'])
def test_gradients_are_finite_where_nothing_differs(name, synthetic):
  real = np.ones((3, FEATURES), np.float32)
  if synthetic == 'equal':
    real = features(0, 3)
  shown = {'equal': real, 'zero': 0 * real, 'alike': real}[synthetic]
  if synthetic == 'zero':  # No image has any feature.
    real = shown
  discrepancy = get_discrepancy(name)
  kept = discrepancy.keep(padded(real))

  def loss(images):
    return discrepancy.compare(KEY, (), kept, images)[0]

  value, gradient = jax.value_and_grad(loss)(jnp.asarray(shown))
  np.testing.assert_allclose(value, 0, atol=1e-4)
  assert np.isfinite(gradient).all()


def test_every_comparison_draws_its_frequencies():
  discrepancy = get_discrepancy('characteristic')
  compare = jax.jit(discrepancy.compare)
  real = padded(features(0, REAL))
  losses = [
    compare(jax.random.key(seed), (), real, features(1, SYNTHETIC))[0]
    for seed in (0, 0, 1)
  ]
  assert losses[0] == losses[1] != losses[2]
  np.testing.assert_allclose(losses[0], losses[2], rtol=0.1)


NETWORK = make_network(
  'convnet', image_shape=(8, 8, 1), classes=2, width=4, depth=1
)


def data_of(*counts):
  labels = np.repeat(np.arange(len(counts)), counts)
  shape = (len(labels), 8, 8, 1)
  images = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
  return ClassData.from_arrays(images, labels)


@pytest.mark.parametrize(
  'text', ['covariance:50', 'mmd', 'characteristic:300', 'mean,mmd:2']
)
def test_images_move_towards_the_real_ones(text):
  """One class is smaller than the batch: some of it is padding."""
  config = CondenseConfig(
    images_per_class=2,
    steps=20,
    batch_real=6,
    augment='none',
    init='noise',
    learning_rate=0.05,
    discrepancy=text,
    log_every=20,
  )
  metrics = []
  condense_classes(
    data_of(6, 4),
    config,
    key=KEY,
    network=NETWORK,
    devices=jax.devices()[:1],
    callback=lambda state, m: metrics.append(m),
  )
  names = [part.partition(':')[0] for part in text.split(',')]
  terms = {n: np.concatenate([m.terms[n] for m in metrics]) for n in names}
  assert set(metrics[-1].terms) == set(names)
  for losses in terms.values():
    assert losses.shape == (20,)
    assert losses[-5:].mean() < losses[:5].mean()


def test_of_one_image_there_is_no_covariance():
  config = CondenseConfig(images_per_class=(1, 2), discrepancy='covariance')
  with pytest.raises(InputError, match='2 synthetic images .* got 1'):
    condense_classes(data_of(3, 3), config, key=KEY, network=NETWORK)
  config = CondenseConfig(images_per_class=2, discrepancy='covariance')
  with pytest.raises(InputError, match='2 real images .* got 1'):
    condense_classes(data_of(3, 1), config, key=KEY, network=NETWORK)


def test_a_weight_multiplies_and_the_paper_is_as_it_was():
  real, synthetic = features(0, REAL), features(1, SYNTHETIC)
  expected = np.square(real.mean(0) - synthetic.mean(0)).sum()

  def losses(text):
    config = CondenseConfig(images_per_class=2, discrepancy=text)
    terms = make_objective(NETWORK, config).terms
    shown = padded(real)
    kept = terms.keep(outputs(shown.features), shown.weights)
    states = dict.fromkeys(terms.names, ())
    return terms.compare(KEY, states, kept, outputs(synthetic), jnp.int32(0))[0]

  plain = losses('mean')
  assert set(plain) == {'mean'}
  np.testing.assert_allclose(plain['mean'], expected, rtol=1e-5)
  several = losses('mean:1,covariance:50')
  assert several['mean'] == plain['mean']
  once = losses('covariance')['covariance']
  np.testing.assert_allclose(several['covariance'], 50 * once, rtol=1e-6)


def outputs(of):
  return Outputs(features=jnp.asarray(of), layers=(), logits=of, variables={})
