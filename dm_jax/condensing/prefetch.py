"""Prefetches the next chunk of the problem while the current one computes."""

from collections.abc import Callable
import concurrent.futures
from typing import Any

import jax

from dm_jax.data.mapped import release
from dm_jax.devices.layout import ClassLayout
from dm_jax.devices.pace import A_SECOND


def deal_chunk(
  layout: ClassLayout, problem: Any, axes: Any, shared: Any, chunk: int
) -> Any:
  """Puts one chunk of the problem onto the devices.

  Args:
    layout: the devices.
    problem: of all classes.
    axes: of the problem, see `ClassLayout.map`.
    shared: what is there of it, see `ClassLayout.deal_shared`.
    chunk: its number.
  """
  dealt = layout.deal(problem, axes, chunk=chunk, shared=shared)
  for leaf in jax.tree.leaves(problem):
    release(leaf)  # Pages of a mapped file are read again when needed.
  return dealt


class Prefetcher:
  """Hands out each chunk of the problem, on the devices.

  Either all of them lie there, or the next one is copied by a thread while the
  current one computes.

  Attributes:
    streams: whether chunks are copied again for each round.
  """

  def __init__(
    self,
    deal: Callable[[int], Any],
    chunks: int,
    resident: bool,
    clock: Callable[[], float] = A_SECOND.clock,
  ):
    """Begins with chunk 0.

    Args:
      deal: chunk -> what of it lies on the devices.
      chunks: how many there are.
      resident: whether all of them are kept there.
      clock: what measures the copying and waiting, in seconds.
    """
    self._deal, self._chunks, self._clock = deal, chunks, clock
    self.streams = chunks > 1 and not resident
    self._copied = self._waited = 0.0
    self._held = [] if self.streams else [deal(i) for i in range(chunks)]
    self._copier = concurrent.futures.ThreadPoolExecutor(1)
    self._next = self._copier.submit(self._copy, 0) if self.streams else None

  def first(self) -> Any:
    """Returns chunk 0 without moving on."""
    return self._next.result() if self._next else self._held[0]

  def take(self, chunk: int) -> Any:
    """Returns the next chunk, 0, 1, ..., and 0 after the last."""
    if self._next is None:
      return self._held[chunk]
    started = self._clock()
    dealt = self._next.result()
    self._waited += self._clock() - started
    following = (chunk + 1) % self._chunks
    self._next = self._copier.submit(self._copy, following)
    return dealt

  def seconds(self) -> tuple[float, float]:
    """Returns how long it copied and was waited for since the last time."""
    seconds = self._copied, self._waited
    self._copied = self._waited = 0.0
    return seconds

  def _copy(self, chunk: int) -> Any:
    started = self._clock()
    dealt = jax.block_until_ready(self._deal(chunk))
    self._copied += self._clock() - started
    return dealt

  def close(self) -> None:
    """Ends the thread that copies."""
    self._next = None
    self._copier.shutdown(cancel_futures=True)
