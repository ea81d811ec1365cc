import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.matching.discrepancy import (
  Real,
  get_discrepancy,
  mean_difference,
  mean_features,
)

FEATURES = jnp.array([[1.0, 2], [3, 4], [8, 9]])
SYNTHETIC = jnp.array([[0.0, 1], [2, 1]])
WEIGHTS = jnp.array([1.0, 1, 0])  # The third image is padding.
KEY = jax.random.key(0)


def compare(features, synthetic, weights):
  """The paper's discrepancy, by its name."""
  mean = get_discrepancy('mean')
  kept = mean.keep(Real(features, weights))
  loss, state = mean.compare(KEY, (), kept, synthetic)
  assert state == ()
  return loss


def test_the_difference_of_means_by_hand():
  # Means (2, 3) and (1, 1); squares are summed over features.
  assert compare(FEATURES, SYNTHETIC, WEIGHTS) == 1 + 4
  # Means (4, 5) and (1, 1).
  assert compare(FEATURES, SYNTHETIC, jnp.ones(3)) == 9 + 16


def test_of_the_real_features_their_mean_is_kept():
  kept = mean_features(Real(FEATURES, WEIGHTS))
  np.testing.assert_array_equal(kept, [2, 3])
  assert mean_difference(kept, SYNTHETIC) == 5


def test_it_is_zero_where_the_means_agree():
  assert compare(FEATURES, FEATURES[:2], WEIGHTS) == 0
  assert compare(FEATURES, jnp.array([[2.0, 3]]), WEIGHTS) == 0


def test_the_order_of_images_changes_nothing():
  turned = compare(FEATURES[::-1], SYNTHETIC[::-1], WEIGHTS[::-1])
  np.testing.assert_allclose(turned, compare(FEATURES, SYNTHETIC, WEIGHTS))


def test_the_gradient_by_hand():
  gradient = jax.grad(compare, argnums=(0, 1))(FEATURES, SYNTHETIC, WEIGHTS)
  # 2 · (difference of means) / (number of images), and 0 for padding.
  np.testing.assert_allclose(gradient[0], [[1, 2], [1, 2], [0, 0]])
  np.testing.assert_allclose(gradient[1], [[-1, -2], [-1, -2]])


def test_an_unknown_name_brings_near_ones():
  with pytest.raises(InputError, match='did you mean mean'):
    get_discrepancy('maen')
