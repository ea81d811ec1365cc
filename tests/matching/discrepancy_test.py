import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.matching.discrepancy import (
  check_images,
  get_discrepancy,
  parse_discrepancies,
  register_discrepancy,
)
from dm_jax.matching.distances import Real, mean_difference, mean_features

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


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('mean', [('mean', 1)]),
    ('mean:1', [('mean', 1)]),
    ('mean,covariance:50', [('mean', 1), ('covariance', 50)]),
    (' mmd : 2.5e1 , mean:.5 ', [('mmd', 25), ('mean', 0.5)]),
    ('characteristic:300', [('characteristic', 300)]),
  ],
)
def test_names_and_weights_are_read_in_order(text, expected):
  parsed = parse_discrepancies(text)
  assert [(name, weight) for name, _, weight in parsed] == expected
  for name, discrepancy, _ in parsed:
    assert discrepancy is get_discrepancy(name)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('', "unknown discrepancy ''"),
    ('mean,', "unknown discrepancy ''"),
    ('mean,covarianze:50', "'covarianze': did you mean covariance"),
    ('mean covariance', "'mean covariance': did you mean"),
    ('mean:50:2', "'50:2': write e.g. mean:50"),
    ('mean,mean:2', "'mean,mean:2' has mean twice"),
    *(
      (f'mean,mmd:{weight}', f"weight of mmd .* finite, got '{weight}'")
      for weight in ('', 'x', '0', '-1', 'nan', 'inf')
    ),
  ],
)
def test_what_cannot_be_read_is_refused(text, message):
  with pytest.raises(InputError, match=message) as error:
    parse_discrepancies(text)
  assert error.value.setting == 'condense.discrepancy'
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['a,b', 'a:b', ' a'])
def test_a_name_that_could_not_be_read_is_refused(name):
  with pytest.raises(InputError, match='leave out commas'):
    register_discrepancy(name, get_discrepancy('mean'))


def test_a_covariance_takes_two_images():
  check_images('mean,covariance:50', 2, 2)
  check_images('mean,mmd,characteristic', 1, 1)
  with pytest.raises(InputError, match='2 synthetic .* got 1: raise'):
    check_images('mean,covariance:50', 2, 1)
  with pytest.raises(InputError, match='2 real .* got 1: raise'):
    check_images('covariance', 1, 2)
