"""Which classes of a set a process holds, where several processes share it."""

from collections.abc import Callable
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Part:
  """The share of one process in what all of them load.

  Attributes:
    held: number of classes C -> the half-open range [low, high) of the classes
      that this process holds. The ranges of all processes cover every class
      once; a range may be empty.
    total: int64 [...] -> the same shape, added up over all processes. All of
      them call it equally often, with arrays of the same shape.
  """

  held: Callable[[int], tuple[int, int]]
  total: Callable[[np.ndarray], np.ndarray]


# One process alone holds everything.
WHOLE = Part(held=lambda classes: (0, classes), total=lambda sums: sums)
