"""Deals classes, or networks, to devices. The only home of `jax.pmap`.

A function of one device's classes is mapped over the devices: [C, ...] becomes
[devices, C / devices, ...], padded with repeats of the last class where it does
not divide. The repeats compute and are dropped by `gather`, so they reach no
result. One device is the same with a leading axis of 1. Classes that do not fit
at once pass in chunks, one after the other, padded alike.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from dm_jax.types import Array


@dataclasses.dataclass(frozen=True)
class ClassAxis:
  """The mapped axis that classes are dealt over, some devices' rows padded.

  Attributes:
    name: of the axis.
    counts: classes that each device really has, its first rows.
  """

  name: str
  counts: tuple[int, ...]

  def present(self, rows: int) -> Array:
    """Returns float32 [rows], 0 for this device's padding."""
    count = jnp.asarray(self.counts, jnp.int32)[lax.axis_index(self.name)]
    return (jnp.arange(rows) < count).astype(jnp.float32)


_AXIS = 'classes'


@dataclasses.dataclass(frozen=True)
class ClassLayout:
  """Which device holds which classes, and how many at a time.

  Attributes:
    classes: C, of this process.
    devices: of this process that are in use; never more than are needed for
      the same speed.
    per_device: classes that each computes at a time, with padding. Where that
      is not all of them, they pass in chunks, one after the other.
    peers: devices of all processes, where one program spans them; else empty.
    present: classes that each device of the program really has.
  """

  classes: int
  devices: tuple[Any, ...]
  per_device: int
  peers: tuple[Any, ...] = ()
  present: tuple[int, ...] = ()

  @property
  def axis(self) -> ClassAxis | None:
    """The axis that a batch norm spans, if there are several devices."""
    if len(self._mapped) == 1:
      return None
    rows = self.per_device
    counts = self.present or _present(self.classes, rows, len(self.devices))
    return ClassAxis(_AXIS, counts)

  @property
  def platform(self) -> str:
    return self.devices[0].platform

  @property
  def per_chunk(self) -> int:
    """Classes that all devices compute at a time, with padding."""
    return len(self.devices) * self.per_device

  @property
  def chunks(self) -> int:
    """How often the devices must be filled to see every class."""
    return math.ceil(self.classes / self.per_chunk)

  def map(self, fn: Callable, axes: Sequence[Any]) -> Callable:
    """Maps `fn`, which sees the classes of one device.

    Args:
      fn: (state, *rest) -> (state, out). The new state has the axes of the old
        one and takes its memory; out has the classes last.
      axes: for each argument a pytree prefix: 0 where there is a leading class
        axis, None where all devices share the value.

    Returns:
      A function of dealt arguments, compiled when it is first called.
    """
    return jax.pmap(
      fn,
      axis_name=_AXIS,
      in_axes=tuple(axes),
      out_axes=(axes[0], 0),
      devices=self._mapped,
      donate_argnums=0,
    )

  def deal(
    self,
    tree: Any,
    axes: Any,
    *,
    chunk: int = 0,
    donated: bool = False,
    shared: Any = None,
  ) -> Any:
    """Puts a pytree onto the devices.

    Args:
      tree: arrays of all classes of this process.
      axes: see `map`.
      chunk: whose classes, 0 to `chunks` - 1.
      donated: copies even where that is not needed, so that the caller's own
        arrays outlive the call that takes these.
      shared: see `deal_shared`; None puts those there anew.
    """
    leaf = functools.partial(self._deal_leaf, chunk, donated)
    if shared is None:
      return _map_prefix(leaf, axes, tree)
    return _map_prefix(
      lambda axis, x, there: there if axis is None else leaf(axis, x),
      axes,
      tree,
      shared,
    )

  def deal_shared(self, tree: Any, axes: Any) -> Any:
    """Puts what all classes share onto the devices, for all chunks once.

    Args:
      tree: as for `deal`.
      axes: see `map`.

    Returns:
      A pytree like the first one, with 0 for what has a class axis.
    """
    return _map_prefix(
      lambda axis, leaf: (
        self._deal_leaf(0, False, None, leaf) if axis is None else 0
      ),
      axes,
      tree,
    )

  def gather(self, trees: Any, axes: Any) -> Any:
    """Undoes `deal`: [C, ...] again, on the first device; a copy.

    Args:
      trees: what was dealt; a list of all chunks where there are several.
      axes: see `map`.
    """
    if self.chunks == 1:
      return _map_prefix(self._gather_leaf, axes, trees)
    return _map_prefix(self._join_leaves, axes, *trees)

  def gather_last(self, array: Array, chunk: int = 0) -> np.ndarray:
    """Brings `map`'s second output for a chunk to the host: [..., classes]."""
    joined = np.concatenate(np.asarray(_local(array)), axis=-1)
    low, high = self._span(chunk)
    return joined[..., : high - low]

  @property
  def _mapped(self) -> tuple[Any, ...]:
    return self.peers or self.devices

  def _span(self, chunk: int) -> tuple[int, int]:
    """The classes of a chunk, a half-open range."""
    low = chunk * self.per_chunk
    return low, min(low + self.per_chunk, self.classes)

  def _deal_leaf(self, chunk, donated, axis, leaf):
    if axis is not None:
      leaf = self._rows(leaf, chunk)
    # On the host, which belongs to no device: pmap takes it on any. Of a map,
    # a device might read the file, again and again.
    host = _on_host(leaf, donated or isinstance(leaf, np.memmap))
    if axis is not None:
      host = host.reshape(-1, self.per_device, *leaf.shape[1:])
    dummy = np.zeros(len(self.devices), np.int8)
    return _place(self._mapped, axis)(dummy, host)

  def _rows(self, leaf, chunk):
    """The classes of a chunk, the last one repeated to fill the devices."""
    low, high = self._span(chunk)
    missing = self.per_chunk - (high - low)
    if not missing:
      return leaf if high - low == len(leaf) else leaf[low:high]
    index = np.minimum(np.arange(low, low + self.per_chunk), high - 1)
    return leaf[index]

  def _gather_leaf(self, axis, leaf):
    if axis is None:
      # A copy: the next call takes this memory, whichever device it is on.
      return jnp.array(_on_host(leaf, True))
    # A copy: one row alone is not copied by concatenating.
    return jnp.copy(self._on_first(leaf)[: self.classes])

  def _join_leaves(self, axis, *leaves):
    if axis is None:
      return self._gather_leaf(axis, leaves[0])
    rows = [self._on_first(leaf) for leaf in leaves]
    return jnp.concatenate(rows)[: self.classes]

  def _on_first(self, array: Array) -> Array:
    """Brings what this process's devices hold to the first: [classes, ...].

    Not through the host: on an accelerator that would cost as much as steps.
    """
    held = {shard.device: shard.data for shard in array.addressable_shards}
    shape = array.shape[1:]  # Old versions of JAX keep no leading axis.
    rows = [
      jax.device_put(held[device].reshape(shape), self.devices[0])
      for device in self.devices
    ]
    return jnp.concatenate(rows)


@functools.lru_cache(maxsize=16)
def _place(devices: tuple[Any, ...], axis: int | None) -> Callable:
  """Gives an array the placement that `map`'s results have, in every JAX.

  With another one, `map`'s program would be compiled once more, and an array
  of the host would be sent again at every call. The first argument is what
  `pmap` needs to map over where the second has no axis.
  """
  return jax.pmap(
    lambda _, leaf: leaf,
    axis_name=_AXIS,
    in_axes=(0, axis),
    out_axes=axis,
    devices=devices,
    # Else what is dealt would lie on the devices twice for a while.
    donate_argnums=() if axis is None else 1,
  )


def _on_host(leaf: Any, copy: bool) -> Any:
  """Copies an array to the host; PRNG keys, which NumPy lacks, stay keys."""
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    data = np.array(jax.random.key_data(leaf))
    return jax.random.wrap_key_data(
      jnp.asarray(data), impl=jax.random.key_impl(leaf)
    )
  return np.array(leaf) if copy else np.asarray(leaf)


def _local(array: Array) -> Any:
  """Brings what this process's devices hold to the host: [devices, ...].

  Other processes' parts of a mapped array cannot be read from here.
  """
  if array.is_fully_addressable:
    return jax.device_get(array)
  shape = array.shape[1:]  # Old versions of JAX keep no leading axis.
  shards = sorted(array.addressable_shards, key=lambda s: s.device.id)
  return np.stack([np.asarray(shard.data).reshape(shape) for shard in shards])


def slice_classes(tree: Any, axes: Any, low: int, high: int) -> Any:
  """Returns classes low to high - 1 of a pytree, see `ClassLayout.map`."""
  return _map_prefix(
    lambda axis, leaf: leaf if axis is None else leaf[low:high], axes, tree
  )


def join_classes(trees: Sequence[Any], axes: Any) -> Any:
  """Joins pytrees of successive classes; what they share is the first's."""
  return _map_prefix(
    lambda axis, *leaves: jnp.asarray(
      leaves[0] if axis is None else np.concatenate(leaves)
    ),
    axes,
    *trees,
  )


def _map_prefix(fn: Callable, axes: Any, *trees: Any) -> Any:
  """Maps fn(axis, *leaves), where `axes` is a pytree prefix of the trees."""

  def subtree(axis, *subtrees):
    return jax.tree.map(functools.partial(fn, axis), *subtrees)

  return jax.tree.map(subtree, axes, *trees, is_leaf=lambda x: x is None)


def _present(classes: int, per_device: int, devices: int) -> tuple[int, ...]:
  """The classes that each device really has, without padding."""
  return tuple(
    min(max(classes - i * per_device, 0), per_device) for i in range(devices)
  )


def lay_out(
  classes: int,
  devices: Sequence[Any] | None = None,
  together: int = 1,
  at_once: int | None = None,
) -> ClassLayout:
  """Chooses how to deal C classes to this process's devices.

  Args:
    classes: C.
    devices: None for all local ones.
    together: consecutive classes that must be computed at once by one device;
      a divisor of C.
    at_once: the most classes that a device computes at a time; None is all.

  Returns:
    A layout on the fewest devices that give the smallest share per device: 10
    classes on 8 devices use 5, two classes each. Where a share is more than
    `at_once`, it is cut into equal chunks.
  """
  devices = tuple(devices or jax.local_devices())
  groups = math.ceil(classes / together)
  share = math.ceil(groups / len(devices))
  used = math.ceil(groups / share)
  if at_once is not None:
    share = math.ceil(share / math.ceil(share / max(at_once // together, 1)))
  return ClassLayout(classes, devices[:used], share * together)


def lay_out_peers(shares: Sequence[int]) -> ClassLayout:
  """Deals classes to the devices of all processes, for one program on them.

  Args:
    shares: the classes of each process; every process gives the same.

  Returns:
    This process's layout; it uses every device.
  """
  peers = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
  devices = [
    [d for d in peers if d.process_index == i] for i in range(len(shares))
  ]
  per_device = max(
    math.ceil(share / len(own))
    for share, own in zip(shares, devices, strict=True)
  )
  present = tuple(
    count
    for share, own in zip(shares, devices, strict=True)
    for count in _present(share, per_device, len(own))
  )
  own = jax.process_index()
  return ClassLayout(
    shares[own], tuple(devices[own]), per_device, tuple(peers), present
  )


def on_one_device(tree: Any) -> Any:
  """Commits a pytree to the first local device.

  Committed and uncommitted arrays compile anew, so all inputs of a program
  should be the one or the other.
  """
  return jax.device_put(tree, jax.local_devices()[0])
