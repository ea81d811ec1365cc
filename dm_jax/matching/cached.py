"""The real images' side of the loss, computed once for a pool of networks.

A pool is finite. So what the terms keep of the real images can be computed
ahead, for each of its networks and each class, under several augmentations. A
step then draws among these and embeds the synthetic images alone.
"""

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from dm_jax.data.class_data import ClassData
from dm_jax.data.mapped import release
from dm_jax.draws import class_keys
from dm_jax.matching.loss import RealSide, embed_real
from dm_jax.matching.objective import Objective
from dm_jax.types import Array, Key, Variables

Keep = Callable[[int, Callable[[], RealSide]], RealSide]

_DRAW = 4  # `loss` folds a class's key of a step by 2 and 3.


def embed_ahead(
  objective: Objective,
  data: ClassData,
  snapshots: Variables,
  draws: int,
  key: Key,
  callback: Callable[[int, int], None] | None = None,
  keep: Keep = lambda label, make: make(),
) -> RealSide:
  """Embeds real images of every class by every network of a pool.

  Args:
    objective: the loss; its `batch_real` is the images of a draw, of which
      more make the targets less noisy. Its network mixes no images.
    data: the real images.
    snapshots: variables, each leaf with a leading P.
    draws: K, of real images and an augmentation, for each network and class.
    key: every draw follows from it and the classes' numbers; is consumed.
    callback: gets (done, in all), counted in networks of each class. What it
      raises ends the work.
    keep: (class, what makes its targets with leading P, K) -> these; may have
      them from an earlier call, and save them for a later one.

  Returns:
    A `RealSide` of NumPy arrays with leading C, P, K.
  """
  count = len(jax.tree.leaves(snapshots)[0])
  total = data.classes * count
  held = jax.tree.map(jnp.asarray, snapshots)
  computed: set[int] = set()

  def make(label: int) -> RealSide:
    # A class at a time: the set may be larger than the device's memory.
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf[label : label + 1]), data)
    release(data.images)
    rows = []
    for number in range(count):
      made = _embed(objective, one, held, key, number, draws)
      rows.append(jax.tree.map(np.asarray, made))
      if callback is not None and number + 1 < count:
        callback(label * count + number + 1, total)
    computed.add(label)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)

  classes = []
  for label in range(data.classes):
    classes.append(keep(label, functools.partial(make, label)))
    if callback is not None and label in computed:  # And kept by now.
      callback((label + 1) * count, total)
  return jax.tree.map(lambda *leaves: np.stack(leaves), *classes)


def ahead_shapes(
  objective: Objective, data: ClassData, snapshots: Variables, draws: int
) -> RealSide:
  """Returns what `embed_ahead` gives as shapes; nothing is computed."""
  count = len(jax.tree.leaves(snapshots)[0])
  make = functools.partial(_embed, objective, draws=draws)
  one = jax.tree.map(lambda leaf: leaf[:1], data)
  made = jax.eval_shape(make, one, snapshots, jax.random.key(0), 0)
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      (data.classes, count, *leaf.shape), leaf.dtype
    ),
    made,
  )


@functools.partial(jax.jit, static_argnames=('objective', 'draws'))
def _embed(
  objective: Objective,
  data: ClassData,
  snapshots: Variables,
  key: Key,
  number: Array | int,
  draws: int,
) -> RealSide:
  """Embeds one class by one network; returns sides with a leading K."""
  networks = jax.tree.map(lambda leaf: leaf[number], snapshots)
  (class_key,) = class_keys(key, data.numbers)
  class_key = jax.random.fold_in(class_key, number)

  def one_draw(i: Array) -> RealSide:
    keys = jax.random.fold_in(class_key, i)[None]
    side = embed_real(objective, data, networks, keys)
    return jax.tree.map(lambda leaf: leaf[0], side)

  return lax.map(one_draw, jnp.arange(draws))


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
    own = jax.random.fold_in(key, _DRAW)
    index = jax.random.randint(own, (), 0, draws, jnp.int32)
    return jax.tree.map(lambda leaf: leaf[number, index], cached)

  return jax.vmap(one)(cached, keys)
