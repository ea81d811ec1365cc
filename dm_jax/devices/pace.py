"""How many steps a compiled call takes, so that it lasts about a second."""

from collections.abc import Callable
import dataclasses
import time


@dataclasses.dataclass(frozen=True)
class Pace:
  """Chooses the length of the next compiled call by that of the last.

  Callbacks come between the calls: long calls waste no time on them, short ones
  let them come soon.

  Attributes:
    aim: seconds that a call should last.
    clock: seconds since some moment, never running back.
  """

  aim: float = 1.0
  clock: Callable[[], float] = time.perf_counter

  def next_count(
    self, count: int, seconds: float, *, most: int, at_least: float = 0.0
  ) -> int:
    """Returns how many steps the next call should take, at least 1.

    Args:
      count: steps of the last call.
      seconds: that they took.
      most: steps that may be taken.
      at_least: seconds that the call should last if that is above the aim.
    """
    aim = max(self.aim, at_least)
    affordable = int(aim * count / max(seconds, 1e-9))
    return max(1, min(affordable, most))


A_SECOND = Pace()
