import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.matching.discrepancy import get_discrepancy, mean_difference

REAL = jnp.array([[1.0, 2], [3, 4], [8, 9]])
SYNTHETIC = jnp.array([[0.0, 1], [2, 1]])
WEIGHTS = jnp.array([1.0, 1, 0])  # The third image is padding.


def test_mean_difference_by_hand():
  # Means (2, 3) and (1, 1); squares are summed over features.
  assert mean_difference(REAL, SYNTHETIC, WEIGHTS) == 1 + 4
  # Means (4, 5) and (1, 1).
  assert mean_difference(REAL, SYNTHETIC, jnp.ones(3)) == 9 + 16


def test_it_is_zero_where_the_means_agree():
  assert mean_difference(REAL, REAL[:2], WEIGHTS) == 0
  assert mean_difference(REAL, jnp.array([[2.0, 3]]), WEIGHTS) == 0


def test_the_order_of_images_changes_nothing():
  turned = mean_difference(REAL[::-1], SYNTHETIC[::-1], WEIGHTS[::-1])
  np.testing.assert_allclose(turned, mean_difference(REAL, SYNTHETIC, WEIGHTS))


def test_the_gradient_by_hand():
  gradient = jax.grad(mean_difference, argnums=(0, 1))(REAL, SYNTHETIC, WEIGHTS)
  # 2 · (difference of means) / (number of images), and 0 for padding.
  np.testing.assert_allclose(gradient[0], [[1, 2], [1, 2], [0, 0]])
  np.testing.assert_allclose(gradient[1], [[-1, -2], [-1, -2]])


def test_an_unknown_name_brings_near_ones():
  assert get_discrepancy('mean') is mean_difference
  with pytest.raises(InputError, match='did you mean mean'):
    get_discrepancy('maen')
