"""The command: from the values of its flags to a run, or to one line."""

from collections.abc import Iterator, Sequence
import contextlib
import io
import shlex
import signal
import sys

from dm_jax.errors import Diverged, InputError, one_line
from dm_jax.report import compare
from dm_jax.run import processes
from dm_jax.run.config import RunConfig
from dm_jax.run.interrupts import Interrupted
from dm_jax.run.job import MODES
from dm_jax.run.run import run
from dm_jax.run.workdir import default_folder
from dm_jax.types import Json

TABLE = 'table'
COMMANDS = (*MODES, TABLE)


@contextlib.contextmanager
def exit_in_one_line(*kinds: type[Exception]) -> Iterator[None]:
  """Ends the process with one line where an error or a stop comes.

  Args:
    kinds: the errors; others pass.
  """
  try:
    yield
  except (Interrupted, KeyboardInterrupt) as stop:
    print(str(stop) or 'stopped; the same command goes on', file=sys.stderr)
    sys.exit(128 + getattr(stop, 'signal', signal.SIGINT))
  except kinds as error:
    sys.exit(f'error: {one_line(error)}')


def check_arguments(rest: Sequence[str], mode: str, has_config: bool) -> None:
  """Raises InputError for a command line that cannot be meant.

  Args:
    rest: what is left of it without the flags.
    mode: one of `COMMANDS`.
    has_config: whether a config file is given.
  """
  if len(rest) > 1:
    raise InputError(f'unexpected argument {rest[1]!r}: flags begin with --')
  if mode != TABLE and not has_config:
    raise InputError('give --config=FILE, e.g. --config=configs/digits.py')


def execute(
  config: Json,
  config_file: str,
  *,
  mode: str,
  workdir: str,
  workdirs: Sequence[str],
  synthetic: str | None,
  cluster: tuple[str, int, int],
  distributed: bool,
) -> None:
  """Does what the flags say; ends the process where it cannot.

  Args:
    config: all settings.
    config_file: the file that they are from, with its argument.
    mode: one of `COMMANDS`.
    workdir: of the run; empty is `default_folder`. For a table, where it is
      written; empty is nowhere.
    workdirs: the runs of a table.
    synthetic: the file of the set that is evaluated.
    cluster: coordinator, processes and process, see `processes.start`.
    distributed: whether this is one of several processes, found by JAX where
      `cluster` does not tell.
  """
  if isinstance(sys.stdout, io.TextIOWrapper):
    # Names and signs that a terminal lacks must not end a run that prints them.
    sys.stdout.reconfigure(errors='backslashreplace')
  with exit_in_one_line(InputError, Diverged, OSError):
    if mode == TABLE:
      compare.show(workdirs, workdir)
      return
    settings = RunConfig.from_dict(config)
    if distributed or cluster != ('', 0, -1):
      processes.start(*cluster)
    folder = workdir or default_folder(config_file)
    if not workdir and processes.is_lead():
      print(f'workdir: {folder}')
    run(
      settings,
      mode=mode,
      folder=folder,
      synthetic=synthetic,
      command=shlex.join(['python', *sys.argv]),
    )
