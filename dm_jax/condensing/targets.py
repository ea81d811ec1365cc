"""Targets that are computed ahead, in memory or as files beside their pool."""

from collections.abc import Callable
import functools
import hashlib
import json
from pathlib import Path

import jax
import numpy as np

from dm_jax.condensing.plan import Plan
from dm_jax.config.sections import EmbedderConfig
from dm_jax.data.class_data import ClassData, check_whole
from dm_jax.matching.cached import ahead_shapes, embed_ahead
from dm_jax.matching.loss import RealSide
from dm_jax.training.leaves import leaves_of, opened, save_leaves
from dm_jax.types import Json, Key, Variables

_TARGETS = 2**31  # More than there are networks.
_FORMAT = 2  # Of what a term keeps, and of the draws.


def make_targets_ahead(
  plan: Plan,
  data: ClassData,
  snapshots: Variables,
  config: EmbedderConfig,
  key: Key,
  folder: Path | None = None,
  *,
  fingerprint: str = '',
  callback: Callable[[int, int], None] | None = None,
) -> RealSide:
  """Computes what steps compare with, or reads what is saved of it.

  Each class is saved when it is done, so that a stop costs one at the most.

  Every set that is condensed of the same data with the same networks, whatever
  its size, storage and number, can use them.

  Args:
    plan: the loss, and how many images pass at a time.
    data: the real images.
    snapshots: variables of the pool's networks, each leaf with a leading P.
    config: `draws` for each network and class.
    key: every draw follows from it; is consumed.
    folder: where they are saved; None keeps them in memory alone. Targets of
      other settings, networks or data get another folder there.
    fingerprint: of the data.
    callback: as for `embed_ahead`.

  Returns:
    See `embed_ahead`.

  Raises:
    InputError: not all classes are held here, or a file that is damaged or
      cannot be written.
  """
  check_whole(data, 'targets that are computed ahead')
  # The pool's networks are drawn from the key, too, by their number.
  key = jax.random.fold_in(key, _TARGETS)
  embed = functools.partial(
    embed_ahead, plan.objective, data, snapshots, config.draws, key, callback
  )
  if folder is None:
    return embed()
  header = _header(plan, snapshots, config, key, fingerprint)
  text = json.dumps(header, sort_keys=True)
  own = folder / f'targets_{hashlib.sha256(text.encode()).hexdigest()}'
  shapes = ahead_shapes(plan.objective, data, snapshots, config.draws)

  def keep(label: int, make: Callable[[], RealSide]) -> RealSide:
    path = own / f'class_{label:04d}.npz'
    if path.exists():
      return _load(path, shapes)
    made = make()
    save_leaves(path, 'targets', made, header=np.array(text))
    return made

  return embed(keep)


def _header(
  plan: Plan,
  snapshots: Variables,
  config: EmbedderConfig,
  key: Key,
  fingerprint: str,
) -> Json:
  """Returns all that determines the targets."""
  networks = hashlib.sha256()
  for leaf in jax.tree.leaves(snapshots):
    networks.update(np.ascontiguousarray(leaf).data)
  objective = plan.objective
  return {
    'data': fingerprint,
    'networks': networks.hexdigest(),
    'key': jax.random.key_data(key).tolist(),
    'draws': config.draws,
    'batch_real': objective.batch_real,
    'augment': objective.operations,
    'precision': objective.precision,
    'terms': objective.terms.kept_names,
    'format': _FORMAT,
  }


def _load(path: Path, shapes: RealSide) -> RealSide:
  """Returns what was saved of a class; its name says that it is what is wanted.

  Args:
    path: of the file.
    shapes: of all classes.
  """
  expected = [(leaf.shape[1:], leaf.dtype) for leaf in jax.tree.leaves(shapes)]
  with opened(path, 'targets') as arrays:
    leaves = leaves_of(arrays)
    if [(leaf.shape, leaf.dtype) for leaf in leaves] != expected:
      raise ValueError('its arrays have other shapes')
  return jax.tree.unflatten(jax.tree.structure(shapes), leaves)
