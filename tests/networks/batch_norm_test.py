from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.networks.batch_norm import BatchNorm, batch_statistics
from dm_jax.types import Batch

LAYER = BatchNorm()
# Two images of one pixel row, two pixels, one channel.
IMAGES = jnp.array([1.0, 3, 5, 7]).reshape(2, 1, 2, 1)


def fresh(images):
  return LAYER.init(jax.random.key(0), images, Batch(train=False))


def train(variables, images) -> tuple[Any, Any]:
  return LAYER.apply(
    variables, images, Batch(train=True), mutable=['batch_stats']
  )


def test_running_averages_by_hand():
  """Mean 4; squares 9, 1, 1, 9: variance 5, unbiased 20 / 3."""
  variables = fresh(IMAGES)
  stats = variables['batch_stats']
  assert (stats['mean'], stats['var']) == (0, 1)
  output, updated = train(variables, IMAGES)
  expected = np.array([-3, -1, 1, 3]) / np.sqrt(5 + 1e-5)
  np.testing.assert_allclose(output.reshape(-1), expected, rtol=1e-6)
  stats = updated['batch_stats']
  np.testing.assert_allclose(stats['mean'], [0.9 * 0 + 0.1 * 4], rtol=1e-6)
  np.testing.assert_allclose(stats['var'], [0.9 + 0.1 * 20 / 3], rtol=1e-6)
  # A second batch, twice the first: mean 8, unbiased variance 80 / 3.
  _, updated = train({**variables, **updated}, 2 * IMAGES)
  stats = updated['batch_stats']
  np.testing.assert_allclose(stats['mean'], [0.9 * 0.4 + 0.8], rtol=1e-6)
  expected = 0.9 * (0.9 + 2 / 3) + 0.1 * 80 / 3
  np.testing.assert_allclose(stats['var'], [expected], rtol=1e-6)


def test_testing_uses_the_running_averages():
  variables = fresh(IMAGES)
  stats = {'mean': jnp.array([3.0]), 'var': jnp.array([4.0])}
  params = {'scale': jnp.array([10.0]), 'bias': jnp.array([1.0])}
  variables = {**variables, 'params': params, 'batch_stats': stats}
  output: Any = LAYER.apply(variables, IMAGES, Batch(train=False))
  expected = 1 + 10 * (np.array([1, 3, 5, 7]) - 3) / np.sqrt(4 + 1e-5)
  np.testing.assert_allclose(output.reshape(-1), expected, rtol=1e-6)


def test_images_of_weight_0_do_not_count():
  padded = jnp.concatenate([IMAGES, jnp.full((3, 1, 2, 1), 99.0)])
  batch = Batch(train=True, weights=jnp.array([1.0, 1, 0, 0, 0]))
  mean, variance, count = batch_statistics(padded, batch)
  assert (mean, variance, count) == (4, 5, 4)


@pytest.mark.parametrize('weights', [[1, 1, 1, 0], [1, 0, 0, 0]])
def test_devices_share_their_statistics(weights):
  """The second device holds less, or nothing, that counts."""
  images = jax.random.normal(jax.random.key(0), (4, 2, 2, 3))
  weights = jnp.asarray(weights, jnp.float32)
  expected = batch_statistics(images, Batch(train=True, weights=weights))

  def on_each(images, weights):
    return batch_statistics(images, Batch(True, weights, 'devices'))

  shared = jax.pmap(on_each, 'devices', devices=jax.devices()[:2])(
    images.reshape(2, 2, 2, 2, 3), weights.reshape(2, 2)
  )
  for got, wanted in zip(shared, expected, strict=True):
    for device in range(2):
      np.testing.assert_allclose(got[device], wanted, rtol=1e-5)
