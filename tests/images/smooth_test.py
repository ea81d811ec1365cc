import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import ndimage

from dm_jax.images.smooth import smooth, smoothing

IMAGES = jnp.asarray(
  np.random.default_rng(0).standard_normal((2, 12, 9, 3), np.float32)
)


@pytest.mark.parametrize('deviation', [1.5, 2.5])
def test_it_is_a_gaussian_over_rows_and_columns(deviation):
  """As scipy filters with mirrored borders."""
  expected = ndimage.gaussian_filter(
    IMAGES, (0, deviation, deviation, 0), mode='reflect', truncate=8
  )
  np.testing.assert_allclose(smooth(IMAGES, deviation), expected, atol=1e-5)


def test_constant_images_stay():
  images = jnp.full((1, 5, 7, 3), 0.3)
  np.testing.assert_allclose(smooth(images, 2.0), images, rtol=1e-6)


def test_a_deviation_of_nothing_changes_nothing():
  np.testing.assert_array_equal(smooth(IMAGES, 0.0), IMAGES)


def test_a_smoothed_gradient_leads_downhill():
  assert float((smooth(IMAGES, 2.0) * IMAGES).sum()) > 0


def test_in_a_chain_the_optimizer_gets_what_is_smoothed():
  descent = optax.chain(smoothing(1.5), optax.sgd(0.5))
  found, _ = descent.update(IMAGES, descent.init(IMAGES), IMAGES)
  np.testing.assert_allclose(
    np.asarray(found), -0.5 * smooth(IMAGES, 1.5), atol=1e-6
  )
