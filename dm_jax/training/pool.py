"""Trains pools of networks to embed with, and keeps them in files."""

from collections.abc import Callable, Sequence
import dataclasses
import json
import math
from pathlib import Path
import re
from typing import Any

import jax
import numpy as np

from dm_jax.config.fields import differences
from dm_jax.config.sections import EmbedderConfig, PretrainConfig
from dm_jax.data.class_data import ClassData, check_whole
from dm_jax.errors import InputError
from dm_jax.training.embedders import Pool
from dm_jax.training.features import accuracy
from dm_jax.training.leaves import leaves_of, opened, save_leaves
from dm_jax.training.pretrain import pretrain_each, row, total_steps
from dm_jax.types import AnyArray, Json, Key, Network, Variables

_DIGEST = re.compile(r'([0-9a-f]{8})[0-9a-f]{56}')  # Of data, in a fingerprint.
_DEFAULTS = dataclasses.asdict(PretrainConfig())


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
  devices: Sequence[Any] | None = None,
) -> Pool:
  """Trains the networks of a pool, or reads those that are saved.

  As many at a time as there are devices, one on each, which changes no draw:
  network i follows from `fold_in(key, i)`, so that a pool can grow. Each is
  saved when it is finished; an interrupted call trains only those that are
  missing.

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
    devices: which to use; None for all local ones.

  Returns:
    All snapshots of all networks, one network after the other.

  Raises:
    InputError: no validation images, fewer steps than snapshots, a network that
      diverged, or a saved one that is damaged or was made in another way.
  """
  check_pool(train, len(validation_labels), config, pretrain)
  total = total_steps(train, pretrain)
  validation = (validation_images, validation_labels, train.mean, train.std)
  steps = snapshot_steps(config, pretrain, total)
  epochs = np.array(steps) / total * pretrain.epochs
  keys = [jax.random.fold_in(key, i) for i in range(config.networks)]
  headers = [_header(k, config, pretrain, fingerprint) for k in keys]
  paths = [
    None if folder is None else folder / f'network_{i:03d}.npz'
    for i in range(config.networks)
  ]
  parts: dict[int, tuple[Variables, np.ndarray]] = {}

  def report(done: int) -> None:
    if callback is not None:
      callback(len(parts) * total + done, config.networks * total)

  for i, path in enumerate(paths):
    if path is not None and path.exists():
      parts[i] = _load(path, headers[i], network)
  missing = [i for i in range(config.networks) if i not in parts]
  if missing:
    report(0)
  for group in _groups(missing, len(devices or jax.local_devices())):
    trained = _train(
      network,
      train,
      validation,
      steps,
      pretrain,
      jax.numpy.stack([keys[i] for i in group]),
      devices,
      report,
    )
    for i, part in zip(group, trained, strict=True):
      if (path := paths[i]) is not None:
        variables, accuracies = part
        header = json.dumps(headers[i], sort_keys=True)
        save_leaves(
          path,
          'a network of the pool',
          variables,
          header=np.array(header),
          accuracies=accuracies,
        )
        part = _load(path, headers[i], network)
      parts[i] = part
    report(0)  # What it raises comes after the group is saved.
  ordered = [parts[i] for i in range(config.networks)]
  variables, accuracies = zip(*ordered, strict=True)
  stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *variables)
  return Pool(
    stacked, np.concatenate(accuracies), np.tile(epochs, config.networks)
  )


def keeps_epochs(config: EmbedderConfig) -> bool:
  """Whether a pool keeps a snapshot of each epoch, from 0 on."""
  return config.name in ('trajectory', 'interpolated')


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
  total = total_steps(train, pretrain)
  if config.snapshots > total:
    raise InputError(
      f'embedder.snapshots {config.snapshots} is more than the {total} steps of'
      ' training: keep fewer, or train for more pretrain.epochs'
    )


def _groups(missing: list[int], devices: int) -> list[list[int]]:
  """Cuts into as few groups as the devices allow, nearly of one size.

  A group of another size compiles anew.
  """
  rounds = math.ceil(len(missing) / devices)
  size = math.ceil(len(missing) / max(rounds, 1))
  return [missing[i * size : (i + 1) * size] for i in range(rounds)]


def _train(
  network, train, validation, stops, pretrain, keys, devices, report
) -> list[tuple[Variables, np.ndarray]]:
  """Returns of every key the snapshots, one after the other, and accuracies."""
  snapshots, accuracies = [], []
  images, *_ = validation
  numbers = range(len(keys))

  def test(variables):
    return accuracy(network, variables, *validation) if len(images) else np.nan

  def callback(done, total, variables):
    if done in stops:
      snapshots.append(jax.tree.map(np.asarray, variables))
      accuracies.append([test(row(variables, i)) for i in numbers])
    if done < total:
      report(done * len(keys))

  pretrain_each(
    network,
    train,
    pretrain,
    keys,
    callback=callback,
    stops=stops,
    devices=devices,
  )
  return [
    (
      jax.tree.map(
        lambda *leaves, i=i: np.stack([leaf[i] for leaf in leaves]), *snapshots
      ),
      np.array([each[i] for each in accuracies], np.float64),
    )
    for i in numbers
  ]


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


def _load(
  path: Path, header: Json, network: Network
) -> tuple[Variables, np.ndarray]:
  """Returns what was saved, having seen that it is what is wanted."""
  with opened(path, 'a network of a pool') as arrays:
    saved = json.loads(str(arrays['header']))
    # Of an earlier version: it had fewer settings, which were as by default.
    saved['pretrain'] = _DEFAULTS | saved['pretrain']
    accuracies, leaves = arrays['accuracies'], leaves_of(arrays)
  changes = '; '.join(differences(saved, header))
  if changes:
    told = _DIGEST.sub(r'\1…', changes)
    raise InputError(
      f'{path} is of another pool ({told}): choose another embedder.dir'
    )
  like = jax.eval_shape(network.init, jax.random.key(0))
  shapes = [(len(accuracies), *leaf.shape) for leaf in jax.tree.leaves(like)]
  if [leaf.shape for leaf in leaves] != shapes:
    raise InputError(
      f'{path} holds another network: choose another embedder.dir'
    )
  return jax.tree.unflatten(jax.tree.structure(like), leaves), accuracies
