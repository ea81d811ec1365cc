"""The command: from the values of its flags to a run, or to one line."""

from collections.abc import Collection, Iterator, Sequence
import contextlib
import io
from pathlib import Path
import re
import shlex
import signal
import sys

from dm_jax.errors import Diverged, InputError, choose, one_line
from dm_jax.files import full_path
from dm_jax.report import compare
from dm_jax.run import processes
from dm_jax.run.config import RunConfig
from dm_jax.run.export import export
from dm_jax.run.given import SetFile
from dm_jax.run.interrupts import Interrupted
from dm_jax.run.job import JUDGING, MODES
from dm_jax.run.run import run
from dm_jax.run.workdir import default_folder
from dm_jax.types import Json

TABLE = 'table'
EXPORT = 'export'
COMMANDS = (*MODES, TABLE, EXPORT)
_OF_A_SET = (*JUDGING, EXPORT)
# Where a flag means something; others do in every mode.
MODES_OF: dict[str, tuple[str, ...]] = {
  'synthetic': _OF_A_SET,
  'format': _OF_A_SET,
  'factor': _OF_A_SET,
  'experiment': _OF_A_SET,
  'to': (EXPORT,),
  'workdir': (*MODES, TABLE),
  'workdirs': (TABLE,),
}
CONFIGS = Path(__file__).parents[1] / 'configs'
_INSTALLED = 'dm_jax'  # The command that an installation adds.
_NO_CONFIG = 'give --config=FILE or a name, e.g. --config=digits'


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


def find_config(argv: Sequence[str]) -> list[str]:
  """Returns a command line in which --config has the whole path of its file.

  Args:
    argv: e.g. [dm_jax, --config=cifar10:ipc=10], with a name of `CONFIGS` or a
      file.

  Raises:
    InputError: there is no config of that name, and near ones are named; or no
      such file, and the message says where it was looked for.
  """
  found, follows = [], False
  for argument in argv:
    flag, joined, value = argument.partition('=')
    is_config = flag in ('--config', '-config')
    if follows:
      argument = _config_file(argument)
    elif is_config and joined:
      argument = f'{flag}={_config_file(value)}'
    follows = is_config and not joined and not follows
    found.append(argument)
  return found


def _config_file(value: str) -> str:
  """Returns a config's whole path and argument."""
  name, *argument = value.split(':', 1)
  if not name:
    raise InputError(_NO_CONFIG)
  is_name = re.fullmatch(r'[^./~\\][^/\\]*', name) and not name.endswith('.py')
  path = _preset(name) if is_name else _existing(name)
  return ':'.join((str(path), *argument))


def _preset(name: str) -> Path:
  """Returns the file of a config that the package has."""
  choose('config', name, sorted(f.stem for f in CONFIGS.glob('[!_]*.py')))
  return CONFIGS / f'{name}.py'


def _existing(name: str) -> Path:
  """Returns the whole path of a config that is given as a file."""
  path = full_path(name, '--config')
  if not path.is_file():
    relative = not Path(name).expanduser().is_absolute()
    looked = f'{name} in {Path.cwd()}' if relative else path
    raise InputError(
      f'--config: no file {looked}: give its whole path, or start the command'
      ' in the folder that its path begins in'
    )
  return path


def check_arguments(
  rest: Sequence[str], mode: str, given: Collection[str]
) -> None:
  """Raises InputError for a command line that cannot be meant.

  Args:
    rest: what is left of it without the flags.
    mode: one of `COMMANDS`.
    given: the names of its flags.
  """
  if len(rest) > 1:
    raise InputError(f'unexpected argument {rest[1]!r}: flags begin with --')
  if mode not in (TABLE, EXPORT) and 'config' not in given:
    raise InputError(_NO_CONFIG)
  for flag, modes in MODES_OF.items():
    if flag in given and mode not in modes:
      raise InputError(
        f'--{flag} goes with --mode={" or ".join(modes)}, not {mode}: leave it'
        ' out, or give the mode'
      )


def execute(
  config: Json,
  config_file: str,
  *,
  mode: str,
  workdir: str,
  workdirs: Sequence[str],
  synthetic: SetFile | None,
  layout: str,
  to: str,
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
    synthetic: the file of the set that is judged or exported.
    layout: of the file; for an export that of the one to write.
    to: what an export writes; '' is a file or folder beside the set.
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
    if mode == EXPORT:
      export(synthetic, layout, to, config or None)
      return
    settings = RunConfig.from_dict(config)
    if distributed or cluster != ('', 0, -1):
      processes.start(*cluster)
    folder = full_path(workdir or default_folder(config_file), '--workdir')
    if not workdir and processes.is_lead():
      print(f'workdir: {folder}')
    run(
      settings,
      mode=mode,
      folder=folder,
      synthetic=synthetic and synthetic._replace(format=layout),
      command=_command_line(),
    )


def _command_line() -> str:
  """Returns what was typed, for a shell."""
  program, *arguments = sys.argv
  called = Path(program).name
  start = [called] if called == _INSTALLED else ['python', program]
  return shlex.join([*start, *arguments])
