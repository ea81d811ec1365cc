"""A stream of classes: its order and groups, and what is forgotten."""

from collections.abc import Sequence
import itertools
from typing import Any

import numpy as np

from dm_jax.errors import InputError
from dm_jax.types import Json


def summary(by_order: Sequence[Sequence[Json]]) -> dict[str, Any]:
  """Returns what one method reached, over orders and networks.

  Args:
    by_order: for each order the row of every step, see `run.continual`.

  Returns:
    For each step the classes seen, mean and deviation of accuracy; the
    forgetting, its mean and deviation over the orders, each of networks' mean
    accuracies on a group; seconds to make and bytes to keep a class.
  """
  steps = list(zip(*by_order, strict=True))
  accuracies = [
    [a for row in rows for a in row['accuracies']] for rows in steps
  ]
  forgotten = [
    forgetting(
      [np.mean(row['group_accuracies'], axis=0).tolist() for row in rows]
    )
    for rows in by_order
  ]
  known = [value for value in forgotten if value is not None]
  spent = [row['seconds_per_class'] for row in itertools.chain(*by_order)]
  timed = [seconds for seconds in spent if seconds is not None]
  last = steps[-1][0]
  return {
    'classes': tuple(rows[0]['classes'] for rows in steps),
    'mean': tuple(float(np.mean(values)) for values in accuracies),
    'std': tuple(float(np.std(values)) for values in accuracies),
    'forgetting_mean': float(np.mean(known)) if known else None,
    'forgetting_std': float(np.std(known)) if known else None,
    'seconds_per_class': float(np.mean(timed)) if timed else None,
    'bytes_per_class': last['bytes'] // last['classes'],
  }


def class_order(order: int, classes: int) -> tuple[int, ...]:
  """Returns the classes in the order in which they arrive.

  Args:
    order: 0, 1, ...; the paper's five are 0 to 4.
    classes: C.
  """
  permutation = np.random.RandomState(order).permutation(classes)
  return tuple(permutation.tolist())


def split_groups(
  classes: Sequence[int], steps: int
) -> tuple[tuple[int, ...], ...]:
  """Splits classes into equally large groups, in their order.

  Raises:
    InputError: they do not divide.
  """
  count = len(classes)
  if steps < 1 or count % steps:
    divisors = [n for n in range(1, count + 1) if count % n == 0]
    raise InputError(
      f'continual.steps {steps} does not divide the {count} classes: use one of'
      f' {divisors}'
    )
  size = count // steps
  return tuple(
    tuple(classes[low : low + size]) for low in range(0, count, size)
  )


def keep_seen(
  labels: np.ndarray, seen: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
  """Finds the images of the classes seen so far.

  Args:
    labels: int [N], of all classes.
    seen: those classes, in the order of their arrival.

  Returns:
    Their rows, ascending, and for each its class's place in `seen`, int32.
  """
  places = np.full(max(labels.max(initial=-1), *seen) + 1, -1, np.int32)
  places[list(seen)] = np.arange(len(seen))
  found = places[labels]
  rows = np.flatnonzero(found >= 0)
  return rows, found[rows]


def group_accuracies(
  correct: Sequence[int], totals: Sequence[int] | np.ndarray, groups: int
) -> tuple[float, ...]:
  """Returns the accuracy on each group of classes, in [0, 1].

  Args:
    correct: right answers for each class seen, in the order of arrival.
    totals: test images of each.
    groups: equally large ones; each has a test image.
  """
  right = np.reshape(correct, (groups, -1)).sum(1)
  return tuple((right / np.reshape(totals, (groups, -1)).sum(1)).tolist())


def forgetting(accuracies: Sequence[Sequence[float]]) -> float | None:
  """Returns how much was lost of what was known before.

  For each group but the last: its best accuracy at any step before the last
  one, less that at the last; the mean over the groups. Below 0 where groups
  have got better.

  Args:
    accuracies: for each step the accuracy on every group seen so far, step t on
      t + 1 of them.

  Returns:
    A difference of accuracies, in [-1, 1]; None for a single step.

  Source: Chaudhry et al., ECCV 2018, Sec. 3.
  """
  *before, last = accuracies
  if not before:
    return None
  return float(
    np.mean(
      [
        max(step[group] for step in before[group:]) - last[group]
        for group in range(len(before))
      ]
    )
  )
