"""Chooses where the real images lie and how many classes pass at a time."""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

import jax

from dm_jax.config.sections import PLACEMENTS, CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.devices import free_memory as memory
from dm_jax.matching import loss as matching
from dm_jax.types import InputError, Network, choose
from dm_jax.words import format_bytes

_SHARE = 0.8  # Of the free memory: estimates are rough, others need some.
_FLOAT = 4  # Bytes.


@dataclasses.dataclass(frozen=True)
class Plan:
  """How a run fits into memory.

  Attributes:
    placement: device or host, see `DataConfig.placement`.
    at_once: the most classes that a device computes at a time; None is all.
    micro_batch: real images of a class embedded at a time.
    data_bytes: of all real images of this process.
    needed: bytes on the fullest device, an estimate.
    free: bytes there; None if it is not known.
  """

  placement: str
  at_once: int | None
  micro_batch: int
  data_bytes: int
  needed: int
  free: int | None

  def describe(self) -> str:
    """Returns a line for the person who watches."""
    size = format_bytes(self.data_bytes)
    where = {
      'device': f'the real images ({size}) lie on the device',
      'host': f'the real images ({size}) stay on the host and come in chunks',
    }[self.placement]
    count = 'all classes' if self.at_once is None else f'{self.at_once} classes'
    simple = self.placement == 'device' and self.at_once is None
    # What is free at the moment says something only where it decided.
    told = self.free is not None and not simple
    free = f' of {format_bytes(self.free or 0)} free' if told else ''
    return (
      f'{where}; a device computes {count} at a time, embedding'
      f' {self.micro_batch} real images of each at once, in about'
      f' {format_bytes(self.needed)}{free}'
    )


@dataclasses.dataclass(frozen=True)
class _Needs:
  """Bytes that condensing takes.

  Attributes:
    fixed: whatever the classes.
    per_class: computed at a time.
    state: of a class, on the device all the time.
    images: of a class's real images.
  """

  fixed: int
  per_class: int
  state: int
  images: int


def plan(
  config: CondenseConfig,
  data: ClassData,
  network: Network,
  placement: str = 'auto',
  devices: Sequence[Any] | None = None,
) -> Plan:
  """Chooses the fastest way that fits.

  Args:
    config: with `micro_batch` and `batch_real` as they will be used.
    data: the real images of this process.
    network: what embeds them.
    placement: see `DataConfig.placement`.
    devices: of this process; None is all local ones.

  Raises:
    InputError: not even one class fits, or the classes cannot pass in chunks.
  """
  choose('data.placement', placement, PLACEMENTS)
  devices = devices or jax.local_devices()
  needs = _needs(config, data, network)
  free = memory.free_bytes(devices[0])
  if network.mixes_images and network.embed_batch is None:
    devices = devices[:1]  # It knows no batch that spans devices.
  # What fewer classes would split: one batch of a batch norm.
  together = _together(config, data.classes, network, len(devices))
  share = math.ceil(data.classes / len(devices) / together) * together
  if free is not None and devices[0].platform == 'cpu':
    free //= math.ceil(data.classes / share)  # All in use share the host's.
  wanted = config.classes_at_once or share
  wanted = min(math.ceil(wanted / together) * together, share)

  def needed(placement: str, at_once: int) -> int:
    held = share if placement == 'device' else min(2 * at_once, share)
    computing = at_once * needs.per_class + held * needs.images
    return needs.fixed + computing + share * needs.state

  def fitting(placement: str) -> Plan | None:
    at_once = wanted
    while needed(placement, at_once) > _SHARE * (
      math.inf if free is None else free
    ):
      if at_once == together or config.classes_at_once:
        return None
      at_once = max(at_once // 2 // together, 1) * together
    return Plan(
      placement,
      None if at_once >= share else at_once,
      min(config.micro_batch or config.batch_real, config.batch_real),
      data.images.nbytes,
      needed(placement, at_once),
      free,
    )

  tried = ('device', 'host') if placement == 'auto' else (placement,)
  for name in tried:
    if (fits := fitting(name)) is not None:
      return fits
  least = config.classes_at_once or together
  raise InputError(
    f'{_too_little(needed(tried[-1], least), least, free)}: '
    f'{_remedy(config, placement, network)}'
  )


def _together(
  config: CondenseConfig, classes: int, network: Network, devices: int
) -> int:
  """Classes that must be on a device at once."""
  if not network.mixes_images:
    return 1
  # A batch of all classes spans the devices.
  return config.batch_norm_classes or math.ceil(classes / devices)


def _needs(config: CondenseConfig, data: ClassData, network: Network) -> _Needs:
  each = memory.activations(network, data.image_shape, config.precision)
  pixels = math.prod(data.image_shape)
  size, batch = config.largest, config.batch_real
  micro = config.micro_batch or batch
  # Of the arrays on the way, a gradient keeps less than half.
  kept = each.all // 2
  passing = micro * 3 * each.largest
  per_class = batch * (each.features + 2 * pixels * _FLOAT)
  if network.mixes_images:  # All real images are one batch, and all others.
    per_class += size * kept + batch * 3 * each.largest
  elif config.rematerialise:
    passing += min(micro, size) * kept
  else:  # As many whole classes as come near a micro-batch.
    passing += min(max(micro, size), matching.AT_ONCE) * kept
  return _Needs(
    fixed=2 * each.network + passing,
    per_class=per_class + size * (2 * pixels * _FLOAT + each.features),
    # Pixels and momentum, their successors, the gradient, copies on the way.
    state=size * pixels * _FLOAT * 6,
    images=data.images.nbytes // data.classes,
  )


def _too_little(needed: int, classes: int, free: int | None) -> str:
  what = 'one class needs' if classes == 1 else f'{classes} classes need'
  return (
    f'{what} about {format_bytes(needed)}, of {format_bytes(free or 0)}'
    f' that are free at most {_SHARE:.0%} may be used'
  )


def _remedy(config: CondenseConfig, placement: str, network: Network) -> str:
  """Names the settings that would help, and that are not set so already."""
  lower = ('micro_batch', 'batch_real', 'images_per_class')
  if config.classes_at_once > 1:
    lower = ('classes_at_once', *lower)
  remedy = f'lower {", ".join(f"condense.{name}" for name in lower)} or'
  remedy += ' network.width'
  if placement == 'device':
    remedy += ', set data.placement=auto'
  if not network.mixes_images:
    more = '' if config.rematerialise else 'set condense.rematerialise=True'
  elif network.embed_batch is None:  # Its classes are one batch.
    more = ''
  else:
    more = 'set condense.batch_norm_classes, or lower it'
  return f'{remedy}, or {more}' if more else remedy
