"""Where the real images lie and how many classes pass at a time: what fits."""

import dataclasses
import math
from typing import Any

import optax

from dm_jax.condensing.footprint import count_needs
from dm_jax.config.sections import PLACEMENTS
from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError, choose
from dm_jax.matching.objective import Objective
from dm_jax.words import format_bytes

_SHARE = 0.8  # Of the free memory: estimates are rough, others need some.


@dataclasses.dataclass(frozen=True)
class Fit:
  """How a run fits into memory.

  Attributes:
    placement: device or host, see `DataConfig.placement`.
    at_once: the most classes that a device computes at a time; None is all.
    data_bytes: of all real images of this process; 0 where targets made ahead
      stand for them.
    needed: bytes on the fullest device, an estimate.
    free: bytes there; None if it is not known.
  """

  placement: str
  at_once: int | None
  data_bytes: int
  needed: int
  free: int | None


def fit_into_memory(
  objective: Objective,
  optimizer: optax.GradientTransformation,
  data: ClassData,
  devices: tuple[Any, ...],
  free: int | None,
  placement: str = 'auto',
  classes_at_once: int = 0,
  networks: int = 0,
  targets: int = 0,
) -> Fit:
  """Chooses the fastest way that fits.

  Args:
    objective: the loss, and how many images pass at a time.
    optimizer: of the pixels of one class.
    data: the real images of this process.
    devices: of this process.
    free: bytes that the first device can still give; None if it is not known.
    placement: see `DataConfig.placement`.
    classes_at_once: the most that a device computes at a time; 0 is what fits.
    networks: that the embedder keeps.
    targets: of each class that are computed ahead.

  Raises:
    InputError: not even one class fits, or the classes cannot pass in chunks.
  """
  choose('data.placement', placement, PLACEMENTS)
  needs = count_needs(objective, optimizer, data, networks, targets)
  # Fewer classes than these would split a batch of a batch norm.
  together = _together(objective, data.classes, len(devices))
  share = math.ceil(data.classes / len(devices) / together) * together
  if free is not None and devices[0].platform == 'cpu':
    free //= math.ceil(data.classes / share)  # CPU devices share the host's.
  wanted = classes_at_once or share
  wanted = min(math.ceil(wanted / together) * together, share)
  usable = math.inf if free is None else _SHARE * free

  def needed(placement: str, at_once: int) -> int:
    held = share if placement == 'device' else min(2 * at_once, share)
    computing = at_once * needs.per_class + held * needs.images
    return needs.fixed + computing + share * needs.state

  def fitting(placement: str) -> Fit | None:
    at_once = wanted
    while needed(placement, at_once) > usable:
      if at_once == together or classes_at_once:
        return None
      at_once = max(at_once // 2 // together, 1) * together
    return Fit(
      placement,
      None if at_once >= share else at_once,
      needs.images * data.classes,
      needed(placement, at_once),
      free,
    )

  tried = ('device', 'host') if placement == 'auto' else (placement,)
  for name in tried:
    if (fits := fitting(name)) is not None:
      return fits
  least = wanted if classes_at_once else together
  raise InputError(
    f'{_too_little(needed(tried[-1], least), least, free)}: '
    f'{_remedy(objective, placement, classes_at_once, targets > 0)}'
  )


def _together(objective: Objective, classes: int, devices: int) -> int:
  """Classes that must be on a device at once."""
  if not objective.network.mixes_images:
    return 1
  # A batch of all classes spans the devices.
  return objective.batch_norm_classes or math.ceil(classes / devices)


def _too_little(needed: int, classes: int, free: int | None) -> str:
  what = 'one class needs' if classes == 1 else f'{classes} classes need'
  return (
    f'{what} about {format_bytes(needed)}, of {format_bytes(free or 0)}'
    f' that are free at most {_SHARE:.0%} may be used'
  )


def _remedy(
  objective: Objective, placement: str, classes_at_once: int, ahead: bool
) -> str:
  """Names the settings that would help, and that are not set so already."""
  lower = ('micro_batch', 'batch_real', 'images_per_class')
  if classes_at_once > 1 and not objective.network.mixes_images:
    lower = ('classes_at_once', *lower)
  remedy = f'lower {", ".join(f"condense.{name}" for name in lower)} or'
  remedy += ' network.width'
  if placement == 'device':
    remedy += ', set data.placement=auto'
  if ahead:
    remedy += ', set embedder.targets=fresh or lower embedder.draws'
  network = objective.network
  if not network.mixes_images:
    kept_less = objective.rematerialise
    more = '' if kept_less else 'set condense.rematerialise=True'
  elif network.needs_whole_batch:  # Its classes are one batch.
    more = ''
  else:
    more = 'set condense.batch_norm_classes, or lower it'
  return f'{remedy}, or {more}' if more else remedy
