"""Chooses where the real images lie and how many classes pass at a time."""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

import jax

from dm_jax.condensing import loop
from dm_jax.condensing.footprint import activations, count_needs
from dm_jax.config.sections import PLACEMENTS, CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.devices import free_memory as memory
from dm_jax.devices import layout as parallel
from dm_jax.errors import InputError, choose
from dm_jax.images import augment
from dm_jax.matching.discrepancy import get_discrepancy
from dm_jax.matching.optimizer import fill_in
from dm_jax.matching.state import (
  check_start,
)
from dm_jax.types import Network
from dm_jax.words import format_bytes

_CPU_CACHE = 2**22  # Bytes; what the largest activations of a batch may take.
_CPU_MICRO_BATCH = (4, 64)  # Images, at least and at most.


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


def make_plan(
  config: CondenseConfig,
  data: ClassData,
  network: Network,
  place: str = 'auto',
  devices: Sequence[Any] | None = None,
) -> Plan:
  """Says how these images will be condensed, see `fit_into_memory`.

  Args:
    config: as for `condense`.
    data: the real images.
    network: what embeds them.
    place: see `DataConfig.placement`.
    devices: as for `condense_classes`.

  Raises:
    InputError: not even one class fits.
  """
  devices = devices or jax.local_devices()
  resolved = dataclasses.replace(
    resolve(config, data, network, devices[0].platform),
    classes_at_once=config.classes_at_once,
  )
  return fit_into_memory(resolved, data.own, network, place, devices)


def check_condensable(config: CondenseConfig, data: ClassData) -> None:
  """Raises InputError if these images cannot be condensed so."""
  augment.parse(config.augment)
  get_discrepancy(config.discrepancy)
  check_start(config, data)


def check_network(
  config: CondenseConfig, data: ClassData, network: Network
) -> None:
  """Raises InputError if these images cannot be condensed with the network."""
  classes, together = data.classes, config.batch_norm_classes
  if not network.mixes_images:
    return
  if together and network.needs_whole_batch:
    raise InputError(
      f'condense.batch_norm_classes {together} needs one of the built-in'
      ' networks: leave it at 0 for one of your own'
    )
  if together and (together < 2 or classes % together):
    divisors = [n for n in range(2, classes + 1) if classes % n == 0]
    raise InputError(
      f'condense.batch_norm_classes {together} must divide the {classes}'
      f' classes and be at least 2: use one of {divisors}, or 0 for all'
    )
  per_batch = (together or classes) * min(
    config.largest, config.batch_real, int(data.counts.max())
  )
  if per_batch < 2:
    raise InputError(
      'batch norm needs more than one image in a batch, these settings give'
      f' {classes} class of {per_batch}: raise condense.images_per_class and'
      " condense.batch_real, or use network.norm 'instance'"
    )


def spans_all(network: Network, config: CondenseConfig) -> bool:
  """Whether batch norm takes all classes as one batch."""
  return network.mixes_images and not config.batch_norm_classes


def lay_out_classes(
  config: CondenseConfig,
  data: ClassData,
  network: Network,
  devices: Sequence[Any] | None,
  at_once: int | None,
  peers: loop.Peers,
) -> parallel.ClassLayout:
  if peers.classes and spans_all(network, config):
    return parallel.lay_out_peers(peers.classes)
  if network.needs_whole_batch:
    # It knows of no padding and no axis: all classes are one batch, here.
    devices = (devices or jax.local_devices())[:1]
  together = config.batch_norm_classes if network.mixes_images else 0
  low, high = data.held_range
  return parallel.lay_out(high - low, devices, together or 1, at_once)


def resolve(
  config: CondenseConfig, data: ClassData, network: Network, platform: str
) -> CondenseConfig:
  """Fills in what depends on platform, data and network; drops what is left.

  What the step does not read is at its default, so that runs share programs.
  """
  default = CondenseConfig()
  batch = config.batch_real
  if network.needs_whole_batch:
    # Padding would enter the batch's statistics: no class may need it.
    batch = min(batch, int(data.counts.min()))
  automatic = _cached(data, network) if platform == 'cpu' else batch
  return dataclasses.replace(
    fill_in(config, network),
    batch_real=batch,
    micro_batch=config.micro_batch or automatic,
    steps=default.steps,
    init=default.init,
    classes_at_once=default.classes_at_once,
    log_every=default.log_every,
  )


def _cached(data: ClassData, network: Network) -> int:
  """Images whose activations stay in a CPU's cache."""
  largest = activations(network, data.image_shape).largest
  least, most = _CPU_MICRO_BATCH
  return min(max(_CPU_CACHE // max(largest, 1), least), most)


_SHARE = 0.8  # Of the free memory: estimates are rough, others need some.


def fit_into_memory(
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
  needs = count_needs(config, data, network)
  free = memory.free_bytes(devices[0])
  if network.needs_whole_batch:
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
  elif network.needs_whole_batch:  # Its classes are one batch.
    more = ''
  else:
    more = 'set condense.batch_norm_classes, or lower it'
  return f'{remedy}, or {more}' if more else remedy
