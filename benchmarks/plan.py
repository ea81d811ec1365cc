"""Runs of a table, one after the other in one process, each resumable.

Programs that are compiled for one run serve the next ones, too. Scripts that
measure something else run before them, each in a process of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import importlib.util
import itertools
import os
from pathlib import Path
import subprocess
import sys
import time

from benchmarks.commit import commit
from dm_jax.errors import Diverged, InputError, one_line
from dm_jax.files import read_json, write_json
from dm_jax.records.evaluations import Case
from dm_jax.records.results import FILE_NAME, read_results
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
    program: dm_jax; or torch, the plain loop of `torch_run`.
  """

  name: str
  config: RunConfig
  folder: Path
  synthetic: Path | None = None
  program: str = 'dm_jax'


@dataclasses.dataclass(frozen=True)
class Script:
  """One script of a plan.

  Attributes:
    name: by which it is told.
    arguments: of python; it writes what it measures to --record=FILE.
    environment: variables that it is given beside those of this process.
    folder: of its record, and of what it took.
  """

  name: str
  arguments: tuple[str, ...]
  environment: Mapping[str, str]
  folder: Path


MEASURED, TOOK, COMMITS = 'record.json', 'took.json', 'commits.json'
_ROOT = Path(__file__).resolve().parents[1]


def has_run(script: Script) -> bool:
  """Says by its folder whether a script is finished."""
  return (script.folder / TOOK).exists()


def run_cells(
  cells: Sequence[Cell],
  command: str,
  say: Callable[[str], None] = print,
  mode: str = 'run',
  scripts: Sequence[Script] = (),
  foretell: Callable[[Sequence[Cell]], Iterable[str]] = lambda left: (),
) -> list[str]:
  """Runs what is not finished yet, in order.

  Args:
    cells: of the plan.
    command: that all of it was started by, for the reports.
    say: gets each line for the person who watches.
    mode: run; or condense, which leaves the evaluations to a later call.
    scripts: run before the cells, which then have the device to themselves.
    foretell: returns lines of how long the cells that are left will take.

  Returns:
    A line for each run that diverged or could not be made, e.g. as its folder
    has one of another config, and for each script that failed; the others went
    on.

  Raises:
    InputError: PyTorch is missing.
    Interrupted: by a signal; the same call goes on where it was.
  """
  if mode == 'condense':
    cells = [cell for cell in cells if cell.synthetic is None]
  left = [cell for cell in cells if _is_left(cell)]
  _check_torch(left)
  to_run = [script for script in scripts if not has_run(script)]
  done = [each for each in (*scripts, *cells) if each not in (*to_run, *left)]
  if done:
    say(f'finished: {_names(done)}')
  if to_run:
    say(f'left before the cells: {_names(to_run)}')
  for line in foretell(left):
    say(line)
  failed = _run_scripts(to_run, say)
  for number, cell in enumerate(left):
    say(f'{cell.name}; left: {_names(left[number + 1 :]) or "nothing more"}')
    try:
      _run(cell, command, say, mode)
    except (Diverged, InputError) as error:
      failed.append(f'{cell.name}: {one_line(error)}')
      say(failed[-1])
  return failed


def _run_scripts(
  scripts: Sequence[Script], say: Callable[[str], None]
) -> list[str]:
  """Runs scripts from the repository's folder; returns what failed."""
  failed = []
  path = os.pathsep.join(
    filter(None, (str(_ROOT), os.environ.get('PYTHONPATH')))
  )
  for script in scripts:
    say(script.name)
    script.folder.mkdir(parents=True, exist_ok=True)
    record = script.folder / MEASURED
    record.unlink(missing_ok=True)  # Of an attempt that failed.
    started = time.perf_counter()
    ended = subprocess.run(
      [sys.executable, *script.arguments, f'--record={record}'],
      cwd=_ROOT,
      env={**os.environ, 'PYTHONPATH': path, **script.environment},
      check=False,
    )
    seconds = time.perf_counter() - started
    found = read_json(record)
    why = ''
    if ended.returncode or not found:
      why = f'ended with {ended.returncode}'
    elif found.get('passed') is False:
      why = 'what it checks is not so'
    if why:  # It is not finished: the same call tries again.
      failed.append(f'{script.name}: {why}')
      say(failed[-1])
      continue
    # Written last: where it is, the script is finished.
    write_json(script.folder / TOOK, {'seconds': seconds, 'commit': commit()})
  return failed


def _run(
  cell: Cell, command: str, say: Callable[[str], None], mode: str
) -> None:
  with _commit_kept(cell.folder):
    _run_cell(cell, command, say, mode)


def _run_cell(
  cell: Cell, command: str, say: Callable[[str], None], mode: str
) -> None:
  if cell.program == 'torch':
    from benchmarks.torch_run import run_in_torch

    run_in_torch(cell.config, cell.folder, mode=mode, command=command, say=say)
    return
  run(
    cell.config,
    mode=mode if cell.synthetic is None else 'evaluate',
    folder=cell.folder,
    synthetic=cell.synthetic,
    command=command,
    say=say,
  )


@contextlib.contextmanager
def _commit_kept(folder: Path) -> Iterator[None]:
  """Writes which commits a cell was run with, unless there was nothing to do.

  First of all, as a process that is killed or stopped has run, too. A run that
  is refused, or finds all made that its mode makes, leaves the results alone.
  """
  file, now = folder / COMMITS, commit()
  before, results = read_json(file), read_json(folder / FILE_NAME)
  known = before.get('commits', [])
  if now is not None and now not in known:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, {'commits': [*known, now]})

  def forget_idle() -> None:
    if read_json(folder / FILE_NAME) != results:
      return
    if before:
      write_json(file, before)
    else:
      file.unlink(missing_ok=True)

  try:
    yield
  except InputError:
    forget_idle()
    raise
  forget_idle()


def _check_torch(cells: Iterable[Cell]) -> None:
  """Raises InputError before hours are spent on what comes first."""
  needed = [cell.name for cell in cells if cell.program == 'torch']
  if needed and importlib.util.find_spec('torch') is None:
    raise InputError(
      f'{", ".join(needed)} needs PyTorch: pip install -e .[bench], or leave it'
      ' out of --cells'
    )


def _is_left(cell: Cell) -> bool:
  """Says whether there is something to run, or to say why it cannot be."""
  try:
    return not is_finished(cell)
  except InputError:
    return True


def is_finished(cell: Cell) -> bool:
  """Says by the records alone whether all of a run is done.

  Raises:
    InputError: the folder holds a run with other settings.
  """
  refuse_others(cell.folder, cell.config)
  # Written last of all; the plain loop writes none.
  written = (cell.folder / 'report.html').exists() or cell.program == 'torch'
  return written and _all_evaluated(cell)


def _all_evaluated(cell: Cell) -> bool:
  config, results = cell.config, read_results(cell.folder)
  if config.application == 'continual':
    return bool(results.continual and results.continual.methods)
  if config.application == 'search':
    return bool(results.search and results.search.agreement)
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


def _names(those: Iterable[Cell | Script]) -> str:
  return ', '.join(each.name for each in those)
