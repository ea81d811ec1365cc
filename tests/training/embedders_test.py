import dataclasses

import jax
import numpy as np
import pytest

from dm_jax.config.sections import EmbedderConfig
from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError
from dm_jax.matching.state import make_problem
from dm_jax.training.embedders import Pool

KEY = jax.random.key(0)

# Drawing from it.

ACCURACIES = np.array([0.1, 0.5, 0.3, 0.7, 0.5, 0.9])
BY_NUMBER = Pool(
  {'number': np.arange(6), 'weights': np.arange(12.0).reshape(6, 2)},
  ACCURACIES,
  np.arange(6.0),
)


def test_the_range_holds_its_low_end_and_not_its_high_one():
  inside = BY_NUMBER.within(0.5, 0.7)
  assert inside.variables['number'].tolist() == [1, 4]
  assert inside.variables['weights'].tolist() == [[2, 3], [8, 9]]
  assert inside.accuracies.tolist() == [0.5, 0.5]
  assert len(BY_NUMBER.within(0, 1).accuracies) == 6


def test_a_range_without_networks_tells_where_they_are():
  with pytest.raises(InputError) as error:
    BY_NUMBER.within(0.51, 0.7)
  for part in ('[0.51, 0.7)', '0.100 to 0.900', '4 below', '2 above'):
    assert part in str(error.value)
  assert 'embedder.low' in str(error.value)


def test_the_embedder_draws_evenly_from_the_range_alone():
  embedder = BY_NUMBER.within(0.3, 0.9).embedder()
  keys = jax.random.split(KEY, 400)
  drawn, _ = jax.jit(jax.vmap(embedder))(keys)
  numbers, counts = np.unique(drawn['number'], return_counts=True)
  assert numbers.tolist() == [1, 2, 3, 4]
  assert counts.min() > 60
  expected = np.stack([2 * drawn['number'], 2 * drawn['number'] + 1], axis=1)
  np.testing.assert_array_equal(drawn['weights'], expected)
  again, _ = jax.jit(embedder)(keys[0])
  assert int(again['number']) == int(drawn['number'][0])


def test_networks_are_arguments_of_a_compiled_program():
  traced = []

  @jax.jit
  def draw(embedder, key):
    traced.append(1)
    return embedder(key).networks['number']

  low, high = BY_NUMBER.within(0, 0.4), BY_NUMBER.within(0.7, 1)
  assert int(draw(low.embedder(), KEY)) in (0, 2)
  assert int(draw(high.embedder(), KEY)) in (3, 5)
  assert len(traced) == 1


@pytest.mark.parametrize('name', ['pool', 'trajectory', 'interpolated'])
def test_the_networks_of_an_embedder_stay_on_the_host(name):
  """What condenses deals them to its devices: a copy would lie there twice."""
  config = EmbedderConfig(name=name, networks=1)
  leaves = jax.tree.leaves(BY_NUMBER.embedder(config))
  assert leaves
  assert {type(leaf) for leaf in leaves} == {np.ndarray}


def test_the_draw_is_a_slice_not_a_copy_of_all():
  variables = {'number': np.zeros((64, 4096), np.float32)}
  pool = Pool(variables, np.zeros(64), np.zeros(64))
  draw = jax.jit(lambda embedder, key: embedder(key))
  analysis = draw.lower(pool.embedder(), KEY).compile().memory_analysis()
  assert analysis is not None
  assert analysis.output_size_in_bytes < 2 * 4096 * 4
  assert analysis.temp_size_in_bytes < 2 * 4096 * 4


def test_networks_are_arguments_of_the_condensing_step():
  data = ClassData.from_arrays(np.zeros((2, 1, 1, 1), np.uint8), [0, 1])
  problems = [
    make_problem(data, KEY, BY_NUMBER.within(*range_).embedder())
    for range_ in ((0, 0.4), (0.7, 1))
  ]
  for problem in problems:
    assert len(jax.tree.leaves(problem.embedder)) > 0
  structures = {jax.tree.structure(problem) for problem in problems}
  assert len(structures) == 1, 'two pools share a program'


def test_a_range_up_to_1_takes_the_faultless():
  pool = Pool({'number': np.arange(3)}, np.array([0.5, 0.9, 1.0]), np.zeros(3))
  assert pool.within(0.6, 1.0).accuracies.tolist() == [0.9, 1.0]
  assert pool.within(0.0, 0.9).accuracies.tolist() == [0.5]


# Of whole trainings.

TRAJECTORY = EmbedderConfig(name='trajectory', networks=2, ahead=1)


def test_both_of_a_trajectory_are_of_one_training_and_in_order():
  # 2 trainings of 3 epochs: snapshots 0 to 3 and 4 to 7.
  numbers = {'number': np.arange(8)}
  pool = Pool(numbers, np.zeros(8), np.tile(np.arange(4.0), 2))
  embedder = jax.jit(jax.vmap(pool.embedder(TRAJECTORY)))
  pair, drawn = embedder(jax.random.split(KEY, 800))
  first, second = (np.asarray(n['number']) for n in pair)
  np.testing.assert_array_equal(drawn, first)
  pairs, counts = np.unique(
    np.stack([first, second], 1), axis=0, return_counts=True
  )
  assert pairs.tolist() == [
    [n, m] for n in range(8) for m in (n, n + 1) if n // 4 == m // 4
  ]
  # Each first one is as likely; the last of a training has no later one.
  shares = np.bincount(first, minlength=8) / 800
  np.testing.assert_allclose(shares, 1 / 8, atol=0.05)
  alone = pairs[:, 0] % 4 == 3
  assert counts[alone].mean() > 1.5 * counts[~alone].mean()


def test_no_epoch_ahead_gives_one_network_for_both():
  pool = Pool({'number': np.arange(8)}, np.zeros(8), np.zeros(8))
  config = dataclasses.replace(TRAJECTORY, ahead=0)
  drawn = pool.embedder(config)(KEY)
  assert drawn.networks == {'number': drawn.number}


def test_interpolated_networks_lie_between_the_ends_of_a_training():
  # Epochs 0, 1, 2 of two trainings.
  variables = {
    'weights': np.array([0.0, 50, 1, 10, 50, 14])[:, None],
    'steps': np.array([0, 5, 10] * 2),
  }
  pool = Pool(variables, np.zeros(6), np.tile(np.arange(3.0), 2))
  config = dataclasses.replace(TRAJECTORY, name='interpolated')
  embedder = jax.jit(jax.vmap(pool.embedder(config)))
  mixed, trained = embedder(jax.random.split(KEY, 400))
  assert trained['steps'].tolist() == mixed['steps'].tolist() == [10] * 400
  last = np.asarray(trained['weights'])[:, 0]
  assert set(last.tolist()) == {1, 14}
  low, span = np.where(last == 1, 0, 10), np.where(last == 1, 1, 4)
  share = (np.asarray(mixed['weights'])[:, 0] - low) / span
  assert 0 <= share.min() < 0.05
  assert 0.95 < share.max() <= 1
  assert abs(share.mean() - 0.5) < 0.05
