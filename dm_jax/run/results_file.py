"""The one value that a run changes: what it has found so far, and its file."""

import dataclasses
from pathlib import Path
from typing import Any

from dm_jax.records.results import (
  FILE_NAME,
  Results,
  read_results,
  write_results,
)
from dm_jax.types import Json

_THEN = ', then '  # Between the devices of a run that went on elsewhere.


class ResultsFile:
  """Holds the results of a run, and writes each new value of them.

  Attributes:
    now: what is known.
    has_worked: whether this start of the run has found any of it.
  """

  def __init__(self, folder: Path, facts: Json):
    """Reads what is known, without writing: nothing new is known yet.

    Args:
      folder: the workdir.
      facts: fields of `Results` that tell how this start of the run works, e.g.
        on which device. They are kept with the first thing that it finds: what
        earlier ones found was found by theirs.
    """
    self._folder, self._facts = folder, facts
    self.now = read_results(folder)
    self.has_worked = False
    if not (folder / FILE_NAME).exists():
      self._begin(self.now)

  def keep(self, results: Results) -> None:
    """Puts these in place of what was known, in memory and in results.json."""
    if self.has_worked or _work(results) == _work(self.now):
      self.now = results
    else:
      self._begin(results)
    write_results(self._folder, self.now)

  def _begin(self, results: Results) -> None:
    self.has_worked = True
    facts = {**self._facts}
    if 'device' in facts:
      facts['device'] = _and_then(results.device, facts['device'])
    self.now = dataclasses.replace(results, **facts)


def _and_then(earlier: str | None, now: str) -> str:
  """Returns on which devices a run has worked, in the order of their firsts."""
  known = earlier.split(_THEN) if earlier else []
  return _THEN.join(known if now in known else [*known, now])


def _work(results: Results) -> tuple[Any, ...]:
  """Returns what changes with all work: mostly the seconds that it takes.

  Means, rankings and the like are made of it anew by every start.
  """
  return (
    results.condensing,
    results.resumed_from,
    results.selecting_seconds,
    results.pool_seconds,
    results.validation,
    results.evaluate_seconds,
  )
