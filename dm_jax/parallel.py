"""Maps work over classes on one or more devices. The only home of devices.

One device runs a function of all C classes under `jit`. Several run it under
`pmap`, each on its own classes: [C, ...] becomes [devices, C / devices, ...],
padded with repeats of the last class where it does not divide. The repeats
compute and are dropped by `gather`, so they reach no result.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dm_jax.matching import ClassAxis
from dm_jax.types import Array

_AXIS = 'classes'


@dataclasses.dataclass(frozen=True)
class ClassLayout:
  """Which device holds which classes.

  Attributes:
    classes: C.
    devices: those in use; never more than are needed for the same speed.
    per_device: classes that each holds, with padding.
  """

  classes: int
  devices: tuple[Any, ...]
  per_device: int

  @property
  def axis(self) -> ClassAxis | None:
    """The axis that `map` maps over, if there are several devices."""
    return ClassAxis(_AXIS, self.classes) if len(self.devices) > 1 else None

  @property
  def platform(self) -> str:
    return self.devices[0].platform

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
    if len(self.devices) == 1:
      return jax.jit(fn, donate_argnums=0)
    return jax.pmap(
      fn,
      axis_name=_AXIS,
      in_axes=tuple(axes),
      out_axes=(axes[0], 0),
      devices=self.devices,
      donate_argnums=0,
    )

  def deal(self, tree: Any, axes: Any, *, donated: bool = False) -> Any:
    """Puts a pytree onto the devices.

    Args:
      tree: arrays of all classes.
      axes: see `map`.
      donated: copies even where that is not needed, so that the caller's own
        arrays outlive the call that takes these.
    """
    leaf = functools.partial(self._deal_leaf, donated)
    return _map_prefix(leaf, axes, tree)

  def gather(self, tree: Any, axes: Any) -> Any:
    """Undoes `deal`: [C, ...] again, on the first device; a copy."""
    return _map_prefix(self._gather_leaf, axes, tree)

  def gather_last(self, array: Array) -> np.ndarray:
    """Brings `map`'s second output to the host: [..., C]."""
    if len(self.devices) == 1:
      return np.asarray(array)
    joined = np.concatenate(np.asarray(array), axis=-1)
    return joined[..., : self.classes]

  def _deal_leaf(self, donated, axis, leaf):
    if len(self.devices) == 1:
      alias = False if donated else None
      return jax.device_put(leaf, self.devices[0], may_alias=alias)
    # A copy that belongs to no device: pmap refuses what another one holds.
    leaf = _on_host(leaf)
    if axis is None:
      return leaf
    padded = len(self.devices) * self.per_device
    index = np.minimum(np.arange(padded), self.classes - 1)
    dealt = leaf[index].reshape(-1, self.per_device, *leaf.shape[1:])
    # An identity gives the placement that pmap expects, in every JAX.
    return jax.pmap(lambda x: x, devices=self.devices)(dealt)

  def _gather_leaf(self, axis, leaf):
    if len(self.devices) == 1:
      return jnp.copy(leaf)
    if axis is None:
      # The next call takes this memory, whichever device it is on.
      return jnp.array(_on_host(leaf))
    return jnp.asarray(_flatten(leaf))[: self.classes]


def _on_host(leaf: Any) -> Any:
  """Returns a NumPy copy, and keys as keys."""
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    data = np.array(jax.random.key_data(leaf))
    return jax.random.wrap_key_data(
      jnp.asarray(data), impl=jax.random.key_impl(leaf)
    )
  return np.array(leaf)


def _flatten(array: Array) -> Array:
  host = jax.device_get(array)
  return host.reshape(-1, *host.shape[2:])


def _map_prefix(fn: Callable, axes: Any, tree: Any) -> Any:
  """Maps fn(axis, leaf), where `axes` is a pytree prefix of `tree`."""

  def subtree(axis, sub):
    return jax.tree.map(functools.partial(fn, axis), sub)

  return jax.tree.map(subtree, axes, tree, is_leaf=lambda x: x is None)


def lay_out(
  classes: int, devices: Sequence[Any] | None = None, together: int = 1
) -> ClassLayout:
  """Chooses how to deal C classes to devices.

  Args:
    classes: C.
    devices: None for all local ones.
    together: consecutive classes that must lie on one device.

  Returns:
    A layout on the fewest devices that give the smallest share per device: 10
    classes on 8 devices use 5, two classes each.
  """
  devices = tuple(devices or jax.local_devices())
  share = math.ceil(classes / len(devices) / together) * together
  return ClassLayout(classes, devices[: math.ceil(classes / share)], share)


def on_one_device(tree: Any) -> Any:
  """Commits a pytree to the first local device.

  Committed and uncommitted arrays compile anew, so all inputs of a program
  should be the one or the other.
  """
  return jax.device_put(tree, jax.local_devices()[0])
