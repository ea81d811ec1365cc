"""Networks are trained a group at a time: a stop loses those of one alone."""

from collections.abc import Iterator
import contextlib
import dataclasses
import math
import warnings

import jax

from dm_jax.config.sections import EvalConfig
from dm_jax.run.interrupts import Request
from dm_jax.run.progress import Progress
from dm_jax.training.evaluate import (
  EvalResult,
  NetworksDiverged,
  networks_together,
  told_of_diverged,
)

_MOST = 5  # Networks that a device trains between two saves, one by one.


class Watch:
  """Tells how far networks are that are trained by one protocol, and stops.

  It warns of those that diverged at the first group that has any, as one may
  want to stop, and of all at the end: not of every group, and Python tells
  equal warnings once.
  """

  def __init__(
    self,
    title: str,
    config: EvalConfig,
    request: Request,
    bar: Progress,
    networks: int,
    trained: int,
  ):
    """See `watch`.

    Args:
      title: what is done.
      config: the protocol.
      request: ends it.
      bar: counts epochs.
      networks: in all.
      trained: how many of them are.
    """
    self._title, self._config, self._request = title, config, request
    self._bar, self._networks, self._kept = bar, networks, trained
    self._results: list[EvalResult] = []
    self._told = ''

  def callback(self, done: int, total: int) -> None:
    """Is that of `evaluate` for a group.

    Raises:
      Interrupted: a signal has come, and the group still trains.
    """
    self._bar.update(self._kept * self._config.epochs_run + done)
    if done < total:  # All trained: only the test is left.
      self._meet()

  def keep(self, result: EvalResult) -> None:
    """Counts a group that has been saved.

    Args:
      result: what its networks reached.

    Raises:
      Interrupted: a signal has come.
    """
    self._kept += len(result.accuracies)
    self._results.append(result)
    if not self._told:
      self.tell()
    self._meet()

  def tell(self) -> None:
    """Warns of networks that diverged, unless all of them were told of."""
    diverged = sum(result.diverged for result in self._results)
    networks = sum(len(result.accuracies) for result in self._results)
    rate = self._config.training.learning_rate
    line = f'{self._title}: {told_of_diverged(diverged, networks, rate)}'
    if diverged and line != self._told:
      self._told = line
      warnings.warn(line, NetworksDiverged, stacklevel=3)

  def _meet(self) -> None:
    self._request.meet(
      f'{self._title}: {self._kept} of {self._networks} networks are kept'
    )


@contextlib.contextmanager
def watch(
  title: str,
  config: EvalConfig,
  request: Request,
  *,
  sets: int = 1,
  trained: int = 0,
) -> Iterator[Watch]:
  """Watches over the groups of one protocol.

  Args:
    title: what is done, for the person who watches.
    config: the protocol; its networks are trained on each set.
    request: ends it at the next safe point.
    sets: K.
    trained: networks that an earlier start has trained, over all sets.

  Example:
    with watch(title, config, request, trained=trained) as watched:
      for first, group in groups(config, trained, images):
        result = evaluate(..., group, first=first, callback=watched.callback)
        save(result)
        watched.keep(result)
  """
  networks, epochs = sets * config.networks, config.epochs_run
  with Progress(
    networks * epochs,
    description=title,
    unit='epoch',
    initial=trained * epochs,
  ) as bar:
    watched = Watch(title, config, request, bar, networks, trained)
    try:
      yield watched
    finally:
      watched.tell()


def groups(
  config: EvalConfig, trained: int, images: int, devices: int | None = None
) -> Iterator[tuple[int, EvalConfig]]:
  """Parts the networks that are left of one set into groups.

  Args:
    config: the protocol.
    trained: how many of its networks are.
    images: N of the set.
    devices: that networks are spread over; None is all of the run.

  Yields:
    The number of a group's first network, and the protocol with as many
    networks as the group has.
  """
  left = config.networks - trained
  if not left:
    return
  together = networks_together(config, images, jax.local_devices()[0].platform)
  size = group_size(left, devices or jax.device_count(), together)
  for first in range(trained, config.networks, size):
    networks = min(size, config.networks - first)
    yield first, dataclasses.replace(config, networks=networks)


def group_size(networks: int, devices: int, together: int = 1) -> int:
  """Returns how many networks to train between two saves.

  Args:
    networks: those not yet trained.
    devices: that they are spread over.
    together: networks that a device trains at once.

  Returns:
    Of the sizes that give no device more than five networks, or than it trains
    at once, the one that is done soonest. Of several such a divisor, as a last
    group of another size is compiled anew, and the smallest, as a stop loses
    what a group has begun.
  """

  def turns(size: int) -> int:
    """How often the busiest device trains, one time after the other."""
    whole, rest = divmod(networks, size)
    return sum(
      count * math.ceil(math.ceil(group / devices) / together)
      for count, group in ((whole, size), (1, rest))
    )

  most = max(_MOST, together) * devices
  sizes = range(1, min(networks, most) + 1)
  return min(sizes, key=lambda s: (turns(s), networks % s > 0, s))
