"""Pools of networks in several stages of training, to embed with."""

from collections.abc import Callable
import dataclasses
import json
from pathlib import Path
from typing import Any, Self
import zipfile

import jax
from jax import lax
import numpy as np

from dm_jax.config.fields import differences
from dm_jax.config.sections import EmbedderConfig, PretrainConfig
from dm_jax.data.class_data import ClassData, check_whole
from dm_jax.errors import InputError
from dm_jax.files import write_atomically
from dm_jax.training import pretrain as pretraining
from dm_jax.training.features import accuracy
from dm_jax.types import (
  AnyArray,
  Array,
  Json,
  Key,
  Network,
  Numbered,
  Pair,
  Variables,
)

# What NumPy meets in files that are damaged or something else.
_UNREADABLE = (
  OSError,
  ValueError,
  KeyError,
  TypeError,
  EOFError,
  zipfile.BadZipFile,
)


_UNIFORM = EmbedderConfig(name='pool')
_DEFAULTS = dataclasses.asdict(PretrainConfig())


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
    variables = jax.tree.map(lambda leaf: leaf[inside], self.variables)
    return dataclasses.replace(
      self,
      variables=variables,
      accuracies=self.accuracies[inside],
      epochs=self.epochs[inside],
    )

  def embedder(
    self, config: EmbedderConfig = _UNIFORM
  ) -> jax.tree_util.Partial:
    """Returns key -> variables, or a `Pair`, drawn as the config's name says.

    Where targets are cached, it gives them `Numbered`.

    The networks are leaves of it, so that a compiled step takes them as
    arguments; they take P times the memory of one.

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
      draw = draw if config.cached else _WithoutNumber(draw)
    return jax.tree_util.Partial(
      draw, jax.tree.map(jax.numpy.asarray, variables)
    )


def make_pool(
  network: Network,
  train: ClassData,
  validation_images: AnyArray,
  validation_labels: AnyArray,
  config: EmbedderConfig,
  pretrain: PretrainConfig,
  folder: Path | None,
  key: Key,
  *,
  fingerprint: str = '',
  callback: Callable[[int, int], None] | None = None,
) -> Pool:
  """Trains the networks of a pool one by one, or reads those that are saved.

  Network i follows from `fold_in(key, i)`, so that a pool can grow. It is saved
  when it is finished; an interrupted call goes on after the last finished one.

  Args:
    network: what to train.
    train: the real images.
    validation_images: uint8 [N, H, W, D], not among them.
    validation_labels: int [N].
    config: the number of networks, and which snapshots of each are kept, see
      `snapshot_steps`. `low` and `high` are left to `within`.
    pretrain: how the networks are trained.
    folder: where they are saved; is made. None keeps them in memory alone.
    key: every draw follows from it; is consumed.
    fingerprint: of what the arguments do not tell: the data and the network.
    callback: gets (steps done, steps in all), summed over the networks, about
      once a second. What it raises ends the training.

  Returns:
    All snapshots of all networks, one network after the other.

  Raises:
    InputError: no validation images, fewer steps than snapshots, a network that
      diverged, or a saved one that is damaged or was made in another way.
  """
  check_pool(train, len(validation_labels), config, pretrain)
  total = pretraining.total_steps(train, pretrain)
  validation = (validation_images, validation_labels, train.mean, train.std)
  steps = snapshot_steps(config, pretrain, total)
  epochs = np.array(steps) / total * pretrain.epochs
  parts = []
  for i in range(config.networks):
    network_key = jax.random.fold_in(key, i)

    def report(done, i=i):
      if callback is not None:
        callback(i * total + done, config.networks * total)

    def train_one(network_key=network_key, report=report):
      return _train(
        network, train, validation, steps, pretrain, network_key, report
      )

    if folder is None:
      parts.append(train_one())
      continue
    path = folder / f'network_{i:03d}.npz'
    header = _header(network_key, config, pretrain, fingerprint)
    saved = path.exists()
    if not saved:
      _save(path, header, *train_one())
    parts.append(_load(path, header, network))
    if saved:
      report(total)
  variables, accuracies = zip(*parts, strict=True)
  stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *variables)
  return Pool(
    stacked, np.concatenate(accuracies), np.tile(epochs, config.networks)
  )


def keeps_epochs(config: EmbedderConfig) -> bool:
  """Whether a pool keeps a snapshot of each epoch, from 0 on."""
  return config.name in ('trajectory', 'interpolated')


def snapshots_held(config: EmbedderConfig, pretrain: PretrainConfig) -> int:
  """Returns how many networks an embedder keeps on each device."""
  each = {
    'random': 0,
    'pool': config.snapshots,
    'interpolated': 2,
    'trajectory': pretrain.epochs + 1,
  }
  return config.networks * each[config.name]


def snapshot_steps(
  config: EmbedderConfig, pretrain: PretrainConfig, total: int
) -> list[int]:
  """Returns after which steps of a training its network is kept.

  Args:
    config: `snapshots` of them, evenly spread and the last at the end; or one
      before the first epoch and one after each, see `keeps_epochs`.
    pretrain: how many epochs.
    total: steps of all of them.
  """
  if keeps_epochs(config):
    return [total * i // pretrain.epochs for i in range(pretrain.epochs + 1)]
  # Rounded up, so that none is a network that was not trained at all.
  count = config.snapshots
  return [-(-total * (i + 1) // count) for i in range(count)]


def check_pool(
  train: ClassData,
  validation_images: int,
  config: EmbedderConfig,
  pretrain: PretrainConfig,
) -> None:
  """Raises InputError if no pool can be trained so.

  Args:
    train: the real images.
    validation_images: how many are held out.
    config: as for `make_pool`.
    pretrain: as for `make_pool`.
  """
  check_whole(train, 'a pool of networks')
  if keeps_epochs(config):
    return
  if not validation_images:
    raise InputError(
      'a pool of networks needs validation images to tell their accuracy: set'
      ' data.validation, e.g. 0.1'
    )
  total = pretraining.total_steps(train, pretrain)
  if config.snapshots > total:
    raise InputError(
      f'embedder.snapshots {config.snapshots} is more than the {total} steps of'
      ' training: keep fewer, or train for more pretrain.epochs'
    )


def _train(network, train, validation, stops, pretrain, key, report):
  """Returns the snapshots' variables, one after the other, and accuracies."""
  snapshots, accuracies = [], []
  images, *_ = validation

  def callback(done, _, variables):
    if done in stops:
      snapshots.append(jax.tree.map(np.asarray, variables))
      tested = len(images) > 0
      accuracies.append(
        accuracy(network, variables, *validation) if tested else np.nan
      )
    report(done)

  pretraining.pretrain(
    network, train, pretrain, key, callback=callback, stops=stops
  )
  stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *snapshots)
  return stacked, np.array(accuracies, np.float64)


def _header(
  key: Key, config: EmbedderConfig, pretrain: PretrainConfig, fingerprint: str
) -> dict[str, Any]:
  """Returns all that determines one network, as JSON gives it back."""
  return {
    'fingerprint': fingerprint,
    'key': jax.random.key_data(key).tolist(),
    'embedder': {
      'snapshots': 'epochs' if keeps_epochs(config) else config.snapshots
    },
    'pretrain': dataclasses.asdict(pretrain),
  }


def _save(path: Path, header: Json, variables: Variables, accuracies) -> None:
  leaves = jax.tree.leaves(variables)
  arrays: dict[str, Any] = {
    'header': np.array(json.dumps(header, sort_keys=True)),
    'accuracies': accuracies,
    **{f'leaf_{i:03d}': leaf for i, leaf in enumerate(leaves)},
  }
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: np.savez(file, **arrays))
  except OSError as error:
    raise InputError(
      f'a network of the pool cannot be written to {path}: {error}; make room,'
      ' or choose another embedder.dir'
    ) from error


def _load(
  path: Path, header: Json, network: Network
) -> tuple[Variables, np.ndarray]:
  """Returns what `_save` wrote, having seen that it is what is wanted."""
  try:
    with open(path, 'rb') as raw, np.load(raw, allow_pickle=False) as file:
      saved = json.loads(str(file['header']))
      # Of an earlier version: it had fewer settings, which were as by default.
      saved['pretrain'] = _DEFAULTS | saved['pretrain']
      accuracies = file['accuracies']
      leaves = [file[name] for name in sorted(file.files) if 'leaf' in name]
  except _UNREADABLE as error:
    raise InputError(
      f'{path} cannot be read as a network of a pool: {error}; delete it, or'
      ' choose another embedder.dir'
    ) from error
  changes = differences(saved, header)
  if changes:
    raise InputError(
      f'{path} is of another pool ({"; ".join(changes)}): choose another'
      ' embedder.dir'
    )
  like = jax.eval_shape(network.init, jax.random.key(0))
  shapes = [(len(accuracies), *leaf.shape) for leaf in jax.tree.leaves(like)]
  if [leaf.shape for leaf in leaves] != shapes:
    raise InputError(
      f'{path} holds another network: choose another embedder.dir'
    )
  return jax.tree.unflatten(jax.tree.structure(like), leaves), accuracies


@dataclasses.dataclass(frozen=True)
class _WithoutNumber:
  """What `draw` gives, without the number."""

  draw: Callable[[Variables, Key], Numbered]

  def __call__(self, variables: Variables, key: Key) -> Variables | Pair:
    return self.draw(variables, key).networks


def _draw(variables: Variables, key: Key) -> Numbered:
  index = jax.random.randint(key, (), 0, _count(variables))
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
    draw = jax.random.randint
    start = draw(network_key, (), 0, self.networks) * self.per_network
    first = draw(first_key, (), 0, self.per_network)
    number = start + first
    if not self.ahead:  # One pass through one network serves both.
      return Numbered(_take(variables, number), number)
    end = jax.numpy.minimum(first + self.ahead, self.per_network - 1)
    second = draw(second_key, (), first, end + 1)
    pair = Pair(_take(variables, number), _take(variables, start + second))
    return Numbered(pair, number)


def _interpolate(variables: Variables, key: Key) -> Pair:
  """Mixes a network before and after its training, by one weight for all."""
  network_key, weight_key = jax.random.split(key)
  index = 2 * jax.random.randint(network_key, (), 0, _count(variables) // 2)
  fresh, trained = _take(variables, index), _take(variables, index + 1)
  share = jax.random.uniform(weight_key)

  def mix(a: Array, b: Array) -> Array:
    if not jax.numpy.issubdtype(a.dtype, jax.numpy.floating):
      return b
    return share * a + (1 - share) * b

  return Pair(jax.tree.map(mix, fresh, trained), trained)


def _count(variables: Variables) -> int:
  return len(jax.tree.leaves(variables)[0])


def _take(variables: Variables, index: Array) -> Variables:
  return jax.tree.map(
    lambda leaf: lax.dynamic_index_in_dim(leaf, index, keepdims=False),
    variables,
  )
