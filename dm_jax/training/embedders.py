"""Embedders: networks drawn from pools of them in stages of training."""

import dataclasses
from typing import Self

import jax
from jax import lax
import numpy as np

from dm_jax.config.sections import EmbedderConfig, PretrainConfig
from dm_jax.errors import InputError
from dm_jax.types import Array, Key, Numbered, Pair, Variables

_UNIFORM = EmbedderConfig(name='pool')


@dataclasses.dataclass(frozen=True)
class Pool:
  """Networks in several stages of training.

  Attributes:
    variables: of all snapshots, NumPy, each leaf with a leading P: those of one
      training after the other, from early to late.
    accuracies: on the validation images, float64 [P], in [0, 1]; NaN where
      there are none.
    epochs: float64 [P], those that each was trained for.
  """

  variables: Variables
  accuracies: np.ndarray
  epochs: np.ndarray

  def within(self, low: float, high: float) -> Self:
    """Returns the networks with accuracies in [low, high).

    Raises:
      InputError: there is none.
    """
    # A range up to 1 takes networks that make no mistake.
    below_high = (self.accuracies < high) | (high >= 1)
    inside = (self.accuracies >= low) & below_high
    if not inside.any():
      below = int((self.accuracies < low).sum())
      above = int((self.accuracies >= high).sum())
      raise InputError(
        f'no network of the pool has a validation accuracy in [{low}, {high}):'
        f' theirs are {self.accuracies.min():.3f} to'
        f' {self.accuracies.max():.3f}, {below} below and {above} above; change'
        ' embedder.low or embedder.high, or keep more embedder.snapshots'
      )
    return self._only(inside)

  def trained(self) -> Self:
    """Returns the last network of each training."""
    return self._only(self.epochs == self.epochs.max())

  def _only(self, chosen: np.ndarray) -> Self:
    """Returns some of the networks, bool [P]."""
    return dataclasses.replace(
      self,
      variables=jax.tree.map(lambda leaf: leaf[chosen], self.variables),
      accuracies=self.accuracies[chosen],
      epochs=self.epochs[chosen],
    )

  def embedder(
    self, config: EmbedderConfig = _UNIFORM
  ) -> jax.tree_util.Partial:
    """Returns key -> networks, drawn as the config's name says.

    A snapshot, or a `Pair` of them, is `Numbered`; an interpolated pair is not.

    The networks are leaves of it, so that a compiled step takes them as
    arguments; they take P times the memory of one. They are NumPy: who calls a
    compiled step often with them puts them onto the device first.

    Args:
      config: `name` is pool, trajectory or interpolated; for the latter two the
        pool must hold each training whole.

    Source: TGDD (trajectory), DANCE (interpolated).
    """
    variables = self.variables
    if config.name == 'interpolated':
      last = self.epochs == self.epochs.max()
      ends = (self.epochs == 0) | last
      variables = jax.tree.map(lambda leaf: leaf[ends], variables)
      draw = _interpolate
    else:
      draw = _draw
      if config.name == 'trajectory':
        per_network = len(self.epochs) // config.networks
        draw = _Trajectory(config.networks, per_network, config.ahead)
    # They stay on the host: whoever compiles a step deals them to its devices,
    # and a second copy would stay on the first one for the whole run.
    return jax.tree_util.Partial(draw, variables)


def snapshots_held(config: EmbedderConfig, pretrain: PretrainConfig) -> int:
  """Returns how many networks an embedder keeps on each device."""
  each = {
    'random': 0,
    'pool': config.snapshots,
    'interpolated': 2,
    'trajectory': pretrain.epochs + 1,
  }
  return config.networks * each[config.name]


def _draw(variables: Variables, key: Key) -> Numbered:
  index = _draw_index(key, 0, _count(variables))
  return Numbered(_take(variables, index), index)


@dataclasses.dataclass(frozen=True)
class _Trajectory:
  """Draws a snapshot of a training, and one of the same that is not earlier.

  Attributes:
    networks: trainings.
    per_network: snapshots of each.
    ahead: snapshots that the second is later, at the most.
  """

  networks: int
  per_network: int
  ahead: int

  def __call__(self, variables: Variables, key: Key) -> Numbered:
    network_key, first_key, second_key = jax.random.split(key, 3)
    start = _draw_index(network_key, 0, self.networks) * self.per_network
    first = _draw_index(first_key, 0, self.per_network)
    number = start + first
    if not self.ahead:  # One pass through one network serves both.
      return Numbered(_take(variables, number), number)
    end = jax.numpy.minimum(first + self.ahead, self.per_network - 1)
    second = _draw_index(second_key, first, end + 1)
    pair = Pair(_take(variables, number), _take(variables, start + second))
    return Numbered(pair, number)


def _interpolate(variables: Variables, key: Key) -> Pair:
  """Mixes a network before and after its training, by one weight for all."""
  network_key, weight_key = jax.random.split(key)
  index = 2 * _draw_index(network_key, 0, _count(variables) // 2)
  fresh, trained = _take(variables, index), _take(variables, index + 1)
  share = jax.random.uniform(weight_key, (), jax.numpy.float32)

  def mix(a: Array, b: Array) -> Array:
    if not jax.numpy.issubdtype(a.dtype, jax.numpy.floating):
      return b
    return share * a + (1 - share) * b

  return Pair(jax.tree.map(mix, fresh, trained), trained)


def _draw_index(key: Key, low: Array | int, high: Array | int) -> Array:
  """Draws int32 [] in [low, high), whatever the caller's default type is."""
  return jax.random.randint(key, (), low, high, jax.numpy.int32)


def _count(variables: Variables) -> int:
  return len(jax.tree.leaves(variables)[0])


def _take(variables: Variables, index: Array) -> Variables:
  return jax.tree.map(
    lambda leaf: lax.dynamic_index_in_dim(leaf, index, keepdims=False),
    variables,
  )
