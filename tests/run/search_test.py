"""What a search says of rankings, from what its networks reached."""

import dataclasses

import pytest

from dm_jax.records.applications import Search, Trainings
from dm_jax.records.results import Condensing, Results
from dm_jax.run.search import with_agreement

SECONDS = {'mlp': 0.5, 'lenet': 1.5}
RESULTS = Results(
  method='dm',
  condensing={'0': Condensing(compile_seconds=2.0, condense_seconds=5.0)},
  search=Search(
    space='small',
    networks=('mlp', 'lenet'),
    real=Trainings(
      {'mlp': (0.7, 0.9), 'lenet': (0.9,)}, {'mlp': 40.0, 'lenet': 60.0}
    ),
    sets={
      'dm': Trainings({'mlp': (0.5,), 'lenet': (0.25,)}, SECONDS),
      'random': Trainings({'mlp': (0.5,), 'lenet': (0.75,)}, SECONDS),
      'early_stopping': Trainings({'mlp': (0.1,), 'lenet': (0.2,)}, SECONDS),
    },
  ),
)


def agreement_of(results):
  search = with_agreement(results).search
  assert search is not None
  return search.agreement


def test_each_set_picks_a_network_beside_the_real_best():
  found = agreement_of(RESULTS)
  picked = {name: outcome.picked for name, outcome in found.items()}
  assert picked == {'dm': 'mlp', 'random': 'lenet', 'early_stopping': 'lenet'}
  assert found['dm'].picked_accuracy == pytest.approx(0.8)
  assert (found['dm'].best, found['dm'].best_accuracy) == ('lenet', 0.9)
  every, *_ = found['dm'].groups
  assert (every.share, every.networks) == (1.0, 2)
  assert every.spearman == pytest.approx(-1)


def test_a_ranking_takes_what_making_its_set_and_training_take():
  found = agreement_of(RESULTS)
  assert found['dm'].seconds == 2 + 5 + 2
  assert found['dm'].real_seconds == 100
  # It makes no set.
  assert found['early_stopping'].seconds == 2


def test_a_time_that_is_not_known_is_not_counted_as_none():
  """Of the random set it is not known what it took to make."""
  assert agreement_of(RESULTS)['random'].seconds is None
  partly = {'0': Condensing(compile_seconds=2.0)}
  results = dataclasses.replace(RESULTS, condensing=partly)
  assert agreement_of(results)['dm'].seconds is None
