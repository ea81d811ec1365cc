"""The real images' side of the loss, computed once for a pool of networks.

A pool is finite. So what the terms keep of the real images can be computed
ahead, for each of its networks and each class, under several augmentations. A
step then draws among these and embeds the synthetic images alone.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from dm_jax.data.class_data import ClassData
from dm_jax.draws import class_keys
from dm_jax.matching.loss import RealSide, embed_real
from dm_jax.matching.objective import Objective
from dm_jax.types import Array, Key, Variables

_DRAW = 4  # `loss` folds a class's key of a step by 2 and 3.


def embed_ahead(
  objective: Objective,
  data: ClassData,
  snapshots: Variables,
  draws: int,
  key: Key,
  callback: Callable[[int, int], None] | None = None,
) -> RealSide:
  """Embeds real images of every class by every network of a pool.

  Args:
    objective: the loss; its `batch_real` is the images of a draw, of which
      more make the targets less noisy. Its network mixes no images.
    data: the real images.
    snapshots: variables, each leaf with a leading P.
    draws: K, of real images and an augmentation, for each network and class.
    key: every draw follows from it and the classes' numbers; is consumed.
    callback: gets (draws done, draws in all). What it raises ends the work.

  Returns:
    A `RealSide` of NumPy arrays with leading C, P, K.
  """
  keys = class_keys(key, data.numbers)
  held = jax.tree.map(jnp.asarray, (data, snapshots))
  count = len(jax.tree.leaves(snapshots)[0])
  rows = []
  for number in range(count):
    row = []
    for i in range(draws):
      made = _embed(objective, *held, keys, number, i)
      row.append(jax.tree.map(np.asarray, made))
      if callback is not None:
        callback(number * draws + i + 1, count * draws)
    rows.append(_stack(row))
  return _stack(rows)


def ahead_shapes(
  objective: Objective, data: ClassData, snapshots: Variables, draws: int
) -> RealSide:
  """Returns what `embed_ahead` gives as shapes; nothing is computed."""
  count = len(jax.tree.leaves(snapshots)[0])
  keys = class_keys(jax.random.key(0), data.numbers)
  make = functools.partial(_embed, objective)
  one = jax.eval_shape(make, data, snapshots, keys, 0, 0)
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      (data.classes, count, draws, *leaf.shape[1:]), leaf.dtype
    ),
    one,
  )


@functools.partial(jax.jit, static_argnums=0)
def _embed(objective, data, snapshots, keys, number, draw) -> RealSide:
  fold = jax.vmap(jax.random.fold_in, (0, None))
  networks = jax.tree.map(lambda leaf: leaf[number], snapshots)
  return embed_real(objective, data, networks, fold(fold(keys, number), draw))


def _stack(parts: list[RealSide]) -> RealSide:
  """Joins sides along a new axis behind that of the classes."""
  return jax.tree.map(lambda *leaves: np.stack(leaves, 1), *parts)


def look_up(cached: RealSide, number: Array, keys: Key) -> RealSide:
  """Draws one of the targets of every class.

  Args:
    cached: with leading C, P, K.
    number: int32 [], of the network.
    keys: of the classes in this step [C], see `loss.make_targets`.

  Returns:
    A `RealSide` with a leading C.
  """
  draws = jax.tree.leaves(cached)[0].shape[2]

  def one(cached: RealSide, key: Key) -> RealSide:
    index = jax.random.randint(jax.random.fold_in(key, _DRAW), (), 0, draws)
    return jax.tree.map(lambda leaf: leaf[number, index], cached)

  return jax.vmap(one)(cached, keys)
