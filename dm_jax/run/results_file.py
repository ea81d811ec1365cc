"""The one value that a run changes: what it has found so far, and its file."""

from pathlib import Path

from dm_jax.records.results import Results, write_results


class ResultsFile:
  """Holds the results of a run, and writes each new value of them.

  Attributes:
    now: what is known.
  """

  def __init__(self, folder: Path, results: Results):
    """Starts from results without writing them: nothing new is known yet.

    Args:
      folder: the workdir.
      results: of the run so far.
    """
    self._folder = folder
    self.now = results

  def keep(self, results: Results) -> None:
    """Puts these in place of what was known, in memory and in results.json."""
    self.now = results
    write_results(self._folder, results)
