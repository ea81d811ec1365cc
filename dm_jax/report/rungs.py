"""The rungs of a ladder, read from what their runs left."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import itertools
from pathlib import Path
import statistics
from typing import Any, Self

from dm_jax.files import read_json
from dm_jax.records.json_values import decode, encode
from dm_jax.records.metrics import read_metrics
from dm_jax.records.results import (
  CONFIG_NAME,
  FILE_NAME,
  Results,
  read_results,
)


@dataclasses.dataclass(frozen=True)
class Rung:
  """One run of a ladder, as far as it has come.

  Attributes:
    name: of the rung.
    adds: what it adds to the one before, in words.
    results: of its run.
    epochs: that each network is trained for; None where it is not known.
    seconds: by set and by step, as text, those that condensing had taken then;
      of the steps with accuracies on held-out images.
  """

  name: str
  adds: str
  results: Results
  epochs: int | None = None
  seconds: Mapping[str, Mapping[str, float]] = dataclasses.field(
    default_factory=dict
  )

  @classmethod
  def read(cls, folder: Path, name: str, adds: str) -> Self | None:
    """Reads the run in the folder of that name; None where there is none."""
    workdir = folder / name
    if not (workdir / FILE_NAME).exists():
      return None
    results = read_results(workdir)
    evaluation = read_json(workdir / CONFIG_NAME).get('evaluate', {})
    judged = {row.step for row in results.validation}
    seconds = {}
    for number in range(results.sets):
      path = workdir / f'set_{number}' if number else workdir
      spent = {0: 0.0, **_seconds_by_step(path)}
      seconds[str(number)] = {
        str(step): spent[step] for step in sorted(judged & spent.keys())
      }
    return cls(name, adds, results, evaluation.get('epochs'), seconds)

  @property
  def condense_seconds(self) -> float | None:
    """Of one set, the mean over all."""
    spent = [row.condense_seconds for row in self.results.condensing.values()]
    known = [seconds for seconds in spent if seconds is not None]
    return statistics.fmean(known) if known else None

  @property
  def curve(self) -> dict[float, float]:
    """Accuracy on held-out images by seconds of condensing, means over sets."""
    return mean_curve(
      (row.step, spent, row.mean)
      for row in self.results.validation
      for spent in [self.seconds.get(str(row.set), {}).get(str(row.step))]
      if spent is not None
    )


def mean_curve(
  points: Iterable[tuple[int, float, float]],
) -> dict[float, float]:
  """Returns accuracy by seconds, each the mean over sets, in order.

  Args:
    points: step, seconds and accuracy of each set. Steps that not all sets have
      reached are left out: other sets than all would make a mean of their own.
  """
  steps: dict[int, list[tuple[float, float]]] = {}
  for step, seconds, accuracy in points:
    steps.setdefault(step, []).append((seconds, accuracy))
  most = max(map(len, steps.values()), default=0)
  return {
    statistics.fmean(spent): statistics.fmean(means)
    for _, each in sorted(steps.items())
    if len(each) == most
    for spent, means in [zip(*each, strict=True)]
  }


def to_record(rungs: Sequence[Rung]) -> dict[str, Any]:
  """Returns all that table and figure are made of, as JSON holds it."""
  return {'rungs': encode(rungs)}


def from_record(record: Mapping[str, Any]) -> list[Rung]:
  """Returns the rungs that `to_record` was given.

  Raises:
    KeyError, TypeError, AttributeError: the record is of another kind.
  """
  return [decode(Rung, rung) for rung in record['rungs']]


def pool_seconds(rungs: Sequence[Rung]) -> float | None:
  """Returns what the pool took the rung that trained it; others read it.

  Args:
    rungs: that share the pool; None is returned if none used one.
  """
  known = [rung.results.pool_seconds for rung in rungs]
  spent = [seconds for seconds in known if seconds is not None]
  return max(spent, default=None)


def _seconds_by_step(folder: Path) -> dict[int, float]:
  rows = [row for row in read_metrics(folder) if row.get('seconds') is not None]
  total = itertools.accumulate(row['seconds'] for row in rows)
  return dict(zip((row['step'] for row in rows), total, strict=True))
