"""Targets that are computed ahead: of which images, and drawn how."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.draws import class_keys
from dm_jax.matching.cached import ahead_shapes, embed_ahead, look_up
from dm_jax.matching.objective import make_objective
from dm_jax.matching.state import make_problem
from dm_jax.matching.step import init_state, make_step
from dm_jax.types import Network, Numbered

# Its features are the pixels, times the only variable.
SCALED = Network.from_functions(
  init=lambda key: jax.random.normal(key, ()),
  embed=lambda variables, images: variables * images.reshape(len(images), -1),
  logits=lambda variables, images, train: (
    images.reshape(len(images), -1)[:, :2],
    variables,
  ),
)
SNAPSHOTS = jnp.array([1.0, 10.0, 100.0])
COUNTS = (5, 3)


@pytest.fixture(scope='module')
def data():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (sum(COUNTS), 4, 4, 1), np.uint8)
  return ClassData.from_arrays(images, np.repeat([0, 1], COUNTS))


def settings(**changes):
  plain: dict[str, Any] = {
    'images_per_class': 1,
    'batch_real': 8,
    'augment': 'none',
  }
  return CondenseConfig(**plain | changes)


def ahead(data, draws=2, key=0, **changes):
  objective = make_objective(SCALED, settings(**changes))
  return embed_ahead(objective, data, SNAPSHOTS, draws, jax.random.key(key))


def test_a_batch_of_all_images_keeps_their_mean(data):
  made = ahead(data)
  for number, scale in enumerate(SNAPSHOTS):
    for label, count in enumerate(COUNTS):
      pixels = np.asarray(data.images[label][:count], np.float64) / 255
      mean = (pixels.mean(0) - data.mean[0]) / data.std[0]
      np.testing.assert_allclose(
        made.kept['mean'][label, number],
        np.stack(2 * [float(scale) * mean.ravel()]),
        rtol=1e-4,
        atol=1e-4,
      )


def test_draws_differ_and_follow_from_the_key(data):
  one = ahead(data, batch_real=1, augment='color+crop')
  same = ahead(data, batch_real=1, augment='color+crop')
  other = ahead(data, batch_real=1, augment='color+crop', key=1)
  means = one.kept['mean']
  assert not np.allclose(means[:, :, 0], means[:, :, 1])
  assert not np.allclose(means, other.kept['mean'])
  jax.tree.map(np.testing.assert_array_equal, one, same)


def test_an_augmentation_is_kept_with_the_mean_under_it(data):
  made = ahead(data, draws=1, augment='crop')
  rows, columns = made.augmentation[0].values[0, 0, 0, :2].astype(int)
  pixels = np.asarray(data.images[0][: COUNTS[0]], np.float64) / 255
  mean = ((pixels.mean(0) - data.mean[0]) / data.std[0])[..., 0]
  shifted = np.zeros_like(mean)
  for row in range(4):
    for column in range(4):
      if 0 <= row + rows < 4 and 0 <= column + columns < 4:
        shifted[row, column] = mean[row + rows, column + columns]
  found = made.kept['mean'][0, 0, 0].reshape(4, 4)
  np.testing.assert_allclose(found, shifted, rtol=1e-4, atol=1e-4)


def test_a_class_alone_has_the_targets_it_has_among_others(data):
  last = jax.tree.map(lambda leaf: leaf[1:], data)
  alone = ahead(last, batch_real=2)
  among = jax.tree.map(lambda leaf: leaf[1:], ahead(data, batch_real=2))
  jax.tree.map(np.testing.assert_array_equal, alone, among)


def test_a_class_is_kept_before_its_last_network_is_told_of(data):
  objective = make_objective(SCALED, settings())
  calls, kept = [], []

  def keep(label, make):
    made = make()
    kept.append(label)
    return made

  def note(done, total):
    calls.append((done, total, len(kept)))

  embed_ahead(objective, data, SNAPSHOTS, 1, jax.random.key(0), note, keep=keep)
  every = [(1, 6, 0), (2, 6, 0), (3, 6, 1), (4, 6, 1), (5, 6, 1), (6, 6, 2)]
  assert calls == every


def test_shapes_are_those_of_what_is_made(data):
  objective = make_objective(SCALED, settings(augment='color'))
  shapes = ahead_shapes(objective, data, SNAPSHOTS, 2)
  made = ahead(data, augment='color')
  assert jax.tree.structure(shapes) == jax.tree.structure(made)
  for shape, leaf in zip(
    jax.tree.leaves(shapes), jax.tree.leaves(made), strict=True
  ):
    assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)


def test_every_draw_of_the_right_network_is_looked_up(data):
  made = ahead(data, draws=3, batch_real=1)
  keys = class_keys(jax.random.key(5), np.arange(200))
  found = [set(), set()]
  lookup = jax.jit(look_up)
  for step in range(100):
    real = lookup(made, jnp.int32(1), keys[2 * step : 2 * step + 2])
    for label in range(2):
      row = np.asarray(real.kept['mean'][label])
      same = np.all(made.kept['mean'][label, 1] == row, axis=1)
      assert same.any()
      found[label].add(int(np.argmax(same)))
  distinct = [len(np.unique(made.kept['mean'][c, 1], axis=0)) for c in range(2)]
  assert [len(each) for each in found] == distinct


def test_a_step_is_the_one_that_draws_all_images_itself(data):
  """Where a batch is the whole class, a draw of it is no draw."""
  config = settings(steps=1, learning_rate=0.1)
  key = jax.random.key(2)
  state = init_state(data, config, key, network=SCALED)
  step = make_step(SCALED, config)
  fresh = make_problem(data, key, lambda key: SNAPSHOTS[1])
  number = jnp.int32(1)
  cached = make_problem(
    data,
    key,
    lambda key: Numbered(SNAPSHOTS[1], number),
    cached=ahead(data),
  )
  assert cached.data.images.shape[1] == 1  # No real image is read.
  one, losses = step(state, fresh)
  other, same = step(state, cached)
  np.testing.assert_allclose(one.images, other.images, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(losses['mean'], same['mean'], rtol=1e-4)
  assert not np.allclose(one.images, state.images)
