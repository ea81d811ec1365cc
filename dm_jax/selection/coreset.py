"""Chooses images of one class by their features, or by how training went.

Each function gives indices in the order chosen, and the first s of them are
what it chooses when asked for s.
"""

import numpy as np

from dm_jax.errors import InputError
from dm_jax.types import AnyArray


def herding(features: AnyArray, count: int) -> np.ndarray:
  """Chooses rows whose mean stays close to the mean of all.

  Always the row that brings the mean of those chosen so far nearest to it;
  none twice. Takes O(count · N · F) time and O(N · F) memory.

  Args:
    features: float [N, F], of one class.
    count: rows to choose, 1 to N.

  Returns:
    Indices [count], in the order chosen; of equally good rows the first.

  Raises:
    InputError: there are fewer rows, or one is not finite.

  Source: Welling, "Herding dynamical weights to learn", ICML 2009; Rebuffi et
  al., "iCaRL", CVPR 2017, Algorithm 4, there on features of length 1.
  """
  rows, squares = _centred(features, count)
  # With the mean at 0, the chosen rows' sum s should become 0: of the rows x
  # that with least |s + x|² = |s|² + 2 s·x + |x|².
  products = np.zeros(len(rows))
  chosen = np.empty(count, np.int64)
  taken = np.zeros(len(rows))
  for i in range(count):
    chosen[i] = np.argmin(2 * products + squares + taken)
    taken[chosen[i]] = np.inf
    products += rows @ rows[chosen[i]]
  return chosen


def k_center(features: AnyArray, count: int) -> np.ndarray:
  """Chooses rows so that every row has a chosen one near it.

  First the row nearest to the mean, then always the one farthest from all
  chosen. The radius is at most twice the smallest possible. Takes O(count · N ·
  F) time and O(N · F) memory.

  Args:
    features: float [N, F], of one class.
    count: rows to choose, 1 to N.

  Returns:
    Indices [count], in the order chosen; of equally good rows the first.

  Raises:
    InputError: there are fewer rows, or one is not finite.

  Source: Gonzalez, Theoretical Computer Science 38, 1985; Sener & Savarese,
  "Active learning for convolutional neural networks", ICLR 2018, Algorithm 1.
  """
  rows, squares = _centred(features, count)
  chosen = np.empty(count, np.int64)
  chosen[0] = np.argmin(squares)
  nearest = np.full(len(rows), np.inf)
  for i in range(1, count):
    distances = _squared_distances(rows, squares, chosen[i - 1])
    nearest = np.minimum(nearest, distances)
    # Below every distance, that equal rows are not chosen over and over.
    nearest[chosen[:i]] = -1
    chosen[i] = np.argmax(nearest)
  return chosen


def radius(features: AnyArray, indices: AnyArray) -> float:
  """Returns the largest distance of a row to its nearest chosen one.

  Args:
    features: float [N, F].
    indices: of the chosen rows, at least one.
  """
  rows, squares = _centred(features, len(indices))
  nearest = np.full(len(rows), np.inf)
  for center in np.asarray(indices):
    distances = _squared_distances(rows, squares, center)
    nearest = np.minimum(nearest, distances)
  return float(np.sqrt(nearest.max()))


def most_forgotten(
  events: AnyArray, learned: AnyArray, seen: AnyArray, count: int
) -> np.ndarray:
  """Chooses the rows that training forgot most often.

  Rows that it saw and never learned count as forgotten more often than any;
  those that it never saw, as never forgotten.

  Args:
    events: int [N], how often a row went from right to wrong.
    learned: bool [N], whether it was ever right.
    seen: bool [N], whether training ever took it.
    count: rows to choose, 1 to N.

  Returns:
    Indices [count], the most forgotten first; ties in the order of the rows.

  Raises:
    InputError: there are fewer rows.

  Source: Toneva et al., "An empirical study of example forgetting during deep
  neural network learning", ICLR 2019.
  """
  events, learned, seen = map(np.asarray, (events, learned, seen))
  _check_count(count, len(events))
  rank = np.where(seen & ~learned, events.max() + 1, events)
  return np.argsort(-rank, kind='stable')[:count]


def _check_count(count: int, rows: int) -> None:
  if not 1 <= count <= rows:
    raise InputError(
      f'{count} of {rows} rows cannot be chosen: 1 to {rows} can'
    )


def _centred(features: AnyArray, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns rows float64 [N, F] with mean 0, and their squared lengths [N]."""
  _check_count(count, len(features))
  rows = np.array(features, np.float64)
  mean = rows.mean(0)
  if not np.isfinite(mean).all():
    raise InputError(
      'some features are not finite: train the network at a smaller'
      ' learning rate'
    )
  rows -= mean
  return rows, np.einsum('nf,nf->n', rows, rows)


def _squared_distances(
  rows: np.ndarray, squares: np.ndarray, center: int
) -> np.ndarray:
  # Differences would need another [N, F]; rounding may give less than 0.
  distances = squares + squares[center] - 2 * (rows @ rows[center])
  return np.maximum(distances, 0)
