import pytest

from dm_jax.applications.rankings import compare_rankings
from dm_jax.errors import InputError


def test_correlations_by_hand():
  small = {'a': 0.5, 'b': 0.4, 'c': 0.3, 'd': 0.2, 'e': 0.1}
  real = {'a': 0.8, 'b': 0.9, 'c': 0.6, 'd': 0.7, 'e': 0.5}
  found = compare_rankings(small, real)
  whole, five, ten, twenty = found.groups
  # Squared differences of ranks add up to 4: 1 - 6·4 / (5·24). Two of ten pairs
  # are the other way round.
  assert (whole.share, whole.networks) == (1.0, 5)
  assert whole.spearman == pytest.approx(0.8)
  assert whole.kendall == pytest.approx(0.6)
  # A fifth of five is one network, which has no order.
  for group in (five, ten, twenty):
    assert (group.networks, group.spearman, group.kendall) == (1, None, None)
  assert (found.picked, found.picked_accuracy) == ('a', 0.8)
  assert (found.best, found.best_accuracy) == ('b', 0.9)


def test_the_best_are_the_small_sets_own():
  names = [f'n{i:02d}' for i in range(20)]
  small = {name: 1 - i / 100 for i, name in enumerate(names)}
  # The same order, but the small set's best four are the other way round.
  order = [3, 2, 1, 0, *range(4, 20)]
  real = {names[place]: 1 - i / 100 for i, place in enumerate(order)}
  found = compare_rankings(small, real)
  groups = {group.share: group for group in found.groups}
  assert groups[0.2].networks == 4
  assert groups[0.2].spearman == pytest.approx(-1)
  assert groups[0.1].networks == 2
  assert groups[0.1].kendall == pytest.approx(-1)
  assert (groups[1.0].spearman or 0) > 0.9


def test_rankings_are_of_the_same_networks():
  with pytest.raises(InputError, match='got 2 and 1, 1 of them in both'):
    compare_rankings({'a': 0.5, 'b': 0.5}, {'a': 0.4})


def test_a_constant_ranking_has_no_correlation():
  same, real = {'a': 0.5, 'b': 0.5}, {'a': 0.4, 'b': 0.6}
  for small, whole in ((same, real), (real, same)):
    found = compare_rankings(small, whole).groups[0]
    assert (found.spearman, found.kendall) == (None, None)


def test_ties_go_to_the_first():
  found = compare_rankings({'a': 0.5, 'b': 0.5}, {'a': 0.4, 'b': 0.6})
  assert found.picked == 'a'
