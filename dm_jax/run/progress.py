"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Callable, Iterator
import contextlib
import sys
import time
from typing import Self, SupportsFloat, TextIO

import tqdm

from dm_jax.run.interrupts import Request
from dm_jax.words import format_seconds

SECONDS_BETWEEN_LINES = 10.0


class Progress:
  """Tells a person how far a long loop is and how long it still takes.

  On a terminal this is a bar. Into a file, a pipe or a notebook it writes plain
  lines: the first and the last update, and between them one in ten seconds.

  Steps done before a resume count as done, but not as work: the time left
  follows from the steps and the time since the first new count. That leaves out
  compilation too, and means that the first line has no time left yet.

  Example:
    with Progress(20_000, description='condense', initial=state.step) as bar:
      bar.update(100, loss=4.2, images_per_second=51_200.0)
  """

  def __init__(
    self,
    total: int,
    *,
    description: str,
    unit: str = 'step',
    initial: int = 0,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Shows the bar, if there is one.

    Args:
      total: count at the end, at least 0.
      description: what is being done, in a word or two.
      unit: what is counted, in the singular.
      initial: count done before, at a resume.
      stream: written to; None is `sys.stderr`.
      clock: seconds, from any start.
    """
    self._total = total
    self._description = description
    self._unit = unit
    self._initial = initial
    self._stream = sys.stderr if stream is None else stream
    self._clock = clock
    self._first: tuple[float, int] | None = None
    self._printed_at: float | None = None
    self._pending: str | None = None
    self._bar = self._open_bar() if self._stream.isatty() else None

  def update(self, done: int, **fields: SupportsFloat) -> None:
    """Shows a new count.

    Args:
      done: the count so far, those before a resume included.
      **fields: numbers shown beside it, e.g. loss; x_per_second reads x/s.
    """
    now = self._clock()
    facts = [_field(name, value) for name, value in fields.items()]
    left = self._seconds_left(now, done)
    if left is not None and done < self._total:
      facts.append(f'{format_seconds(left)} left')
    if self._first is None and done > self._initial:
      self._first = (now, done)
    if self._bar is not None:
      self._bar.set_postfix_str(', '.join(facts), refresh=False)
      self._bar.update(done - self._bar.n)
    else:
      self._line(now, done, facts)

  def close(self) -> None:
    """Leaves the last count visible. Closing twice is fine."""
    if self._bar is not None:
      self._bar.close()
    elif self._pending is not None:
      self._print(self._pending)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, error_type, error, traceback) -> None:
    # Half a bar in front of a traceback helps nobody: it is wiped.
    if self._bar is not None and error_type is not None:
      self._bar.leave = False
    self.close()

  def _open_bar(self) -> tqdm.tqdm:
    return tqdm.tqdm(
      total=self._total,
      initial=self._initial,
      desc=self._description,
      file=self._stream,
      dynamic_ncols=True,
      bar_format='{desc} {percentage:3.0f} % |{bar}| {n:,}/{total:,} '
      f'{self._unit}s{{postfix}}',
    )

  def _seconds_left(self, now: float, done: int) -> float | None:
    """Returns None until something was done that can be timed."""
    if self._first is None:
      return None
    then, before = self._first
    if done <= before or now <= then:
      return None
    return (now - then) / (done - before) * (self._total - done)

  def _line(self, now: float, done: int, facts: list[str]) -> None:
    """Prints a line if it is the first, the last, or one is due."""
    percent = 100 * done // self._total if self._total else 100
    count = f'{done:,}/{self._total:,} {self._unit}s ({percent} %)'
    line = f'{self._description}: {", ".join([count, *facts])}'
    if (
      self._printed_at is None
      or done >= self._total
      or now - self._printed_at >= SECONDS_BETWEEN_LINES
    ):
      self._print(line)
      self._printed_at = now
    else:
      self._pending = line

  def _print(self, line: str) -> None:
    print(line, file=self._stream, flush=True)
    self._pending = None


@contextlib.contextmanager
def progress(
  description: str, unit: str, request: Request
) -> Iterator[Callable[[int, int], None]]:
  """Gives (done, total) -> None, which shows it and meets requests to end.

  Args:
    description: what is being done.
    unit: what is counted, in the singular.
    request: ends it; who keeps what on the way, goes on from there.
  """
  bars: list[Progress] = []

  def update(done: int, total: int) -> None:
    if not bars:  # Until now the total was not known.
      bars.append(Progress(total, description=description, unit=unit))
    bars[0].update(done)
    if done < total:  # All done: what follows is short.
      request.meet(f'{description}, what is finished is kept')

  try:
    yield update
  finally:
    for bar in bars:
      bar.close()


def _field(name: str, value: SupportsFloat) -> str:
  number = float(value)
  if name.endswith('_per_second'):
    thing = name.removesuffix('_per_second').replace('_', ' ')
    return f'{number:,.0f} {thing}/s'
  return f'{name.replace("_", " ")} {number:.4g}'
