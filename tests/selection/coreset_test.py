import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.selection import coreset

RANDOM = np.random.RandomState(0).standard_normal((8, 2)).astype(np.float32)
BY_FEATURES = [coreset.herding, coreset.k_center]


def test_herding_by_hand():
  # The mean is 5. Chosen, with the sum that they should reach:
  #   1 row,  5: of 0 1 2 10 12 the nearest to 5 is 2.
  #   2 rows, 10: 2 and the nearest to 8, 10.
  #   3 rows, 15: 12 and the nearest to 3, 1.
  #   4 rows, 20: 13 and the nearest to 7, of 0 and 12 the 12.
  rows = np.array([[0], [1], [2], [10], [12]])
  assert coreset.herding(rows, 5).tolist() == [2, 3, 1, 4, 0]


def test_herding_is_the_greedy_search_written_out():
  mean, expected = RANDOM.mean(0), []
  for _ in range(len(RANDOM)):
    rest = [i for i in range(len(RANDOM)) if i not in expected]
    distances = [
      np.linalg.norm(RANDOM[[*expected, i]].mean(0) - mean) for i in rest
    ]
    expected.append(rest[int(np.argmin(distances))])
  assert coreset.herding(RANDOM, 8).tolist() == expected


def test_k_center_and_radius_by_hand():
  # The mean is (2.8, 0.8), (3, 0) is nearest to it. From there the others are
  # 3, 5, 7 and 2 away, so (10, 0) is next. Then (0, 4) is 5 from its nearest,
  # (0, 0) is 3 and (1, 0) is 2 away; (0, 4) is next, and (0, 0) after it, since
  # (0, 4) is 4 away. (1, 0) is left, 1 from (0, 0).
  rows = np.array([[0, 0], [3, 0], [0, 4], [10, 0], [1, 0]])
  chosen = coreset.k_center(rows, 5)
  assert chosen.tolist() == [1, 3, 2, 0, 4]
  radii = [coreset.radius(rows, chosen[:size]) for size in range(1, 6)]
  np.testing.assert_allclose(radii, [7, 5, 3, 1, 0], atol=1e-6)


@pytest.mark.parametrize('count', [1, 2, 3, 7])
def test_k_center_is_at_most_twice_the_smallest_radius(count):
  smallest = min(
    coreset.radius(RANDOM, indices)
    for indices in itertools.combinations(range(len(RANDOM)), count)
  )
  radius = coreset.radius(RANDOM, coreset.k_center(RANDOM, count))
  assert smallest - 1e-9 <= radius <= 2 * smallest


@pytest.mark.parametrize('choose', BY_FEATURES)
@pytest.mark.parametrize('far', [0.0, 1e4])
def test_rows_are_chosen_once_and_fewer_are_the_first(choose, far):
  rows = np.random.RandomState(1).standard_normal((30, 5)) + far
  everything = choose(rows, 30)
  assert sorted(everything) == list(range(30))
  for count in (1, 2, 11):
    np.testing.assert_array_equal(choose(rows, count), everything[:count])


@pytest.mark.parametrize('choose', BY_FEATURES)
def test_the_order_of_the_rows_does_not_matter(choose):
  rows = np.random.RandomState(2).standard_normal((30, 5))
  order = np.random.RandomState(3).permutation(30)
  moved = choose(jnp.asarray(rows[order], jnp.float32), 30)
  np.testing.assert_array_equal(order[moved], choose(rows, 30))


@pytest.mark.parametrize('choose', BY_FEATURES)
def test_equal_rows_are_not_chosen_twice(choose):
  rows = np.repeat([[1.1, 2.3], [4.7, 1.9]], 4, axis=0)
  assert sorted(choose(rows, 8)) == list(range(8))


def test_the_input_is_left_alone():
  rows = np.array([[0.0], [1.0], [5.0]])
  for choose in BY_FEATURES:
    choose(rows, 2)
  assert rows.tolist() == [[0.0], [1.0], [5.0]]


def test_the_most_forgotten_come_first_and_before_them_the_never_learned():
  events = np.array([2, 0, 5, 0, 2, 5])
  learned = np.array([True, True, True, False, True, True])
  seen = np.ones(6, bool)
  chosen = coreset.most_forgotten(events, learned, seen, 6)
  assert chosen.tolist() == [3, 2, 5, 0, 4, 1]
  assert coreset.most_forgotten(events, learned, seen, 2).tolist() == [3, 2]


def test_rows_that_were_never_seen_are_no_forgotten_ones():
  events, learned = np.array([0, 0, 1, 0]), np.array([0, 0, 1, 0], bool)
  seen = np.array([False, True, True, False])
  chosen = coreset.most_forgotten(events, learned, seen, 4)
  assert chosen.tolist() == [1, 2, 0, 3]


@pytest.mark.parametrize('count', [0, 4])
def test_no_more_rows_than_there_are(count):
  rows = np.zeros((3, 2))
  for choose in BY_FEATURES:
    with pytest.raises(InputError, match=f'{count} of 3 rows'):
      choose(rows, count)
  all_three = np.ones(3, bool)
  with pytest.raises(InputError, match=f'{count} of 3 rows'):
    coreset.most_forgotten(np.zeros(3), all_three, all_three, count)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_features_must_be_finite(value):
  rows = np.ones((3, 2))
  rows[1, 1] = value
  for choose in BY_FEATURES:
    with pytest.raises(InputError, match='learning rate'):
      choose(rows, 2)
