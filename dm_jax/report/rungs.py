"""The rungs of a ladder, read from what their runs left."""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
from pathlib import Path
import statistics
from typing import Any, Self

from dm_jax.records.json_values import encode
from dm_jax.records.metrics import read_metrics
from dm_jax.records.results import FILE_NAME, Results, read_results
from dm_jax.report.sizes import stored_bytes


@dataclasses.dataclass(frozen=True)
class Rung:
  """One run of a ladder, as far as it has come.

  Attributes:
    name: of the rung.
    adds: what it adds to the one before, in words.
    results: of its run.
    seconds: by set, those that condensing had taken at the steps of the lines
      of metrics, ascending.
  """

  name: str
  adds: str
  results: Results
  seconds: Mapping[int, Mapping[int, float]] = dataclasses.field(
    default_factory=dict
  )

  @classmethod
  def read(cls, folder: Path, name: str, adds: str) -> Self | None:
    """Reads the run in the folder of that name; None where there is none."""
    workdir = folder / name
    if not (workdir / FILE_NAME).exists():
      return None
    results = read_results(workdir)
    folders = {
      number: workdir / f'set_{number}' if number else workdir
      for number in range(results.sets)
    }
    seconds = {n: _seconds_by_step(path) for n, path in folders.items()}
    return cls(name, adds, results, seconds)

  @property
  def condense_seconds(self) -> float | None:
    """Of one set, the mean over all."""
    spent = [row.condense_seconds for row in self.results.condensing.values()]
    known = [seconds for seconds in spent if seconds is not None]
    return statistics.fmean(known) if known else None

  @property
  def curve(self) -> dict[float, float]:
    """Accuracy on held-out images by seconds of condensing, means over sets."""
    steps: dict[int, list[tuple[float, float]]] = {}
    for row in self.results.validation:
      seconds = {0: 0.0, **self.seconds.get(row.set, {})}
      if row.step in seconds:
        point = seconds[row.step], row.mean
        steps.setdefault(row.step, []).append(point)
    # Others than all sets would make a mean of their own.
    most = max(map(len, steps.values()), default=0)
    return {
      statistics.fmean(spent): statistics.fmean(means)
      for _, points in sorted(steps.items())
      if len(points) == most
      for spent, means in [zip(*points, strict=True)]
    }


def ladder_record(rungs: Sequence[Rung]) -> dict[str, Any]:
  """Returns all that table and figure are made of, as JSON holds it.

  Args:
    rungs: in order.
  """
  first = rungs[0].results
  return {
    'command': first.command,
    'seed': first.seed,
    'versions': dict(first.versions),
    'device': first.device,
    'data': first.data.name,
    'images_per_class': first.images_per_class,
    'pool_seconds': pool_seconds(rungs),
    'rungs': [
      {'name': rung.name, 'adds': rung.adds, **run_record(rung)}
      for rung in rungs
    ],
  }


def run_record(rung: Rung) -> dict[str, Any]:
  """Returns what one run took and reached, as JSON holds it."""
  results = rung.results
  return {
    'command': results.command,
    'device': results.device,
    'plan': encode(results.plan),
    'condense_seconds': {
      number: row.condense_seconds for number, row in results.condensing.items()
    },
    'compile_seconds': results.compile_seconds,
    'evaluate_seconds': results.evaluate_seconds,
    'pool_seconds': results.pool_seconds,
    'evaluations': [
      {
        **encode(evaluation),
        'bytes': stored_bytes(
          results, evaluation.method, evaluation.images_per_class
        ),
      }
      for evaluation in results.evaluations
    ],
    'validation': [
      {
        **encode(row),
        'seconds': {0: 0.0, **rung.seconds.get(row.set, {})}.get(row.step),
      }
      for row in results.validation
    ],
  }


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
