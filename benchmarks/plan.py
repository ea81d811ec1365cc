"""Runs of a table, one after the other in one process, each resumable.

Programs that are compiled for one run serve the next ones, too.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import itertools
from pathlib import Path

from dm_jax.errors import Diverged, one_line
from dm_jax.records.evaluations import Case
from dm_jax.records.results import read_results
from dm_jax.run.config import RunConfig
from dm_jax.run.run import run
from dm_jax.run.workdir import refuse_others


@dataclasses.dataclass(frozen=True)
class Cell:
  """One run of a plan.

  Attributes:
    name: by which it is told.
    config: of the run.
    folder: its workdir.
    synthetic: file of the set that it judges, which a cell before makes; None
      for one that makes its own.
  """

  name: str
  config: RunConfig
  folder: Path
  synthetic: Path | None = None


def run_cells(
  cells: Sequence[Cell],
  command: str,
  say: Callable[[str], None] = print,
  mode: str = 'run',
) -> list[str]:
  """Runs what is not finished yet, in order.

  Args:
    cells: of the plan.
    command: that all of it was started by, for the reports.
    say: gets each line for the person who watches.
    mode: run; or condense, which leaves the evaluations to a later call.

  Returns:
    A line for each run that diverged; the others went on.

  Raises:
    InputError: a run cannot be made, or its folder has another config.
    Interrupted: by a signal; the same call goes on where it was.
  """
  if mode == 'condense':
    cells = [cell for cell in cells if cell.synthetic is None]
  left = [cell for cell in cells if not is_finished(cell)]
  done = [cell for cell in cells if cell not in left]
  if done:
    say(f'finished: {_names(done)}')
  failed = []
  for number, cell in enumerate(left):
    say(f'{cell.name}; left: {_names(left[number + 1 :]) or "nothing more"}')
    try:
      run(
        cell.config,
        mode=mode if cell.synthetic is None else 'evaluate',
        folder=cell.folder,
        synthetic=cell.synthetic,
        command=command,
        say=say,
      )
    except Diverged as error:
      failed.append(f'{cell.name}: {one_line(error)}')
      say(failed[-1])
  return failed


def is_finished(cell: Cell) -> bool:
  """Says by the records alone whether all of a run is done.

  Raises:
    InputError: the folder holds a run with other settings.
  """
  refuse_others(cell.folder, cell.config)
  # Written last of all.
  written = (cell.folder / 'report.html').exists()
  return written and _all_evaluated(cell)


def _all_evaluated(cell: Cell) -> bool:
  config, results = cell.config, read_results(cell.folder)
  evaluate = config.evaluate
  trained = {e.case: len(e.flat) for e in results.evaluations}
  methods = dict.fromkeys((config.method, *evaluate.selections))
  for method, network, protocol, size in itertools.product(
    methods, results.networks, evaluate.protocols, config.condense.sizes
  ):
    wanted = config.sets * evaluate.networks
    case = Case(method, network, size, protocol)
    if method == 'whole':
      wanted = evaluate.whole_set_networks
      case = dataclasses.replace(case, images_per_class=None)
    if trained.get(case, 0) < wanted:
      return False
  return bool(results.networks)


def _names(cells: Iterable[Cell]) -> str:
  return ', '.join(cell.name for cell in cells)
