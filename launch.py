"""Condenses a labelled image set: flags and a config in, one run out.

python launch.py --config=configs/digits.py --workdir=runs/digits
"""

import shlex
import sys
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from dm_jax.errors import Diverged, InputError, one_line
from dm_jax.report import compare as comparison
from dm_jax.run import processes, run
from dm_jax.run.config import RunConfig
from dm_jax.run.job import MODES

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  help_string='A file under configs/; some take an argument'
  ' (configs/cifar10.py:ipc=50). Set fields by --config.condense.steps=1000.',
)
_WORKDIR = flags.DEFINE_string(
  'workdir', '', 'The folder of the run. The same command resumes in it.'
)
_MODE = flags.DEFINE_enum(
  'mode',
  'run',
  (*MODES, 'table'),
  'run: make the sets, then evaluate; condense: make them; evaluate: judge the'
  ' set in --synthetic; table: lay finished runs beside the paper.',
)
_WORKDIRS = flags.DEFINE_list('workdirs', [], 'For table: runs, with commas.')
_SYNTHETIC = flags.DEFINE_string('synthetic', None, 'For evaluate: a .npz.')
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed', False, 'One of several processes that share a run.'
)
# JAX finds these itself on TPU pods, under Slurm and Open MPI.
_COORDINATOR = flags.DEFINE_string('coordinator', '', 'HOST:PORT of process 0.')
_PROCESSES = flags.DEFINE_integer('processes', 0, 'How many there are.')
_PROCESS = flags.DEFINE_integer('process', -1, 'The number of this one.')


def _parse(argv: list[str]) -> list[str]:
  """Parses the flags; a config that cannot be read becomes one line."""
  try:
    rest = flags.FLAGS(argv)
    if len(rest) > 1:
      raise InputError(f'unexpected argument {rest[1]!r}: flags begin with --')
    if _MODE.value == 'table':
      return rest
    if _CONFIG.value is None:
      raise InputError('give --config=FILE, e.g. --config=configs/digits.py')
    _CONFIG.value.lock()  # A file that could not be read says so here.
    if not _WORKDIR.value:
      raise InputError('give --workdir=FOLDER, where the run is kept')
  except Exception as error:  # A config file is a program: any kind may come.
    _fail(error)
  return rest


def _fail(error: Exception) -> NoReturn:
  sys.exit(f'error: {one_line(error)}')


def main(_: list[str]) -> None:
  try:
    if _MODE.value == 'table':
      comparison.show(_WORKDIRS.value, _WORKDIR.value)
      return
    config = RunConfig.from_dict(_CONFIG.value.to_dict())
    where = (_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    if _DISTRIBUTED.value or where != ('', 0, -1):
      processes.start(*where)
    run.run(
      config,
      mode=_MODE.value,
      folder=_WORKDIR.value,
      synthetic=_SYNTHETIC.value,
      command=shlex.join(['python', *sys.argv]),
    )
  except (InputError, Diverged, OSError) as error:
    _fail(error)
  except (run.Interrupted, KeyboardInterrupt) as stop:
    print(str(stop) or 'stopped; the same command goes on', file=sys.stderr)
    sys.exit(128 + getattr(stop, 'signal', 2))


if __name__ == '__main__':
  flags.FLAGS.verbosity = logging.WARNING  # Orbax tells of every file.
  app.run(main, flags_parser=_parse)
