"""The command: `dm_jax`, and `python launch.py` in a clone.

  dm_jax --config=digits --workdir=runs/digits

Condenses a labelled image set: flags and a config in, one run out. Configs go
by name, with an argument after a colon: --config=cifar10:ipc=50.
"""

from pathlib import Path
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from dm_jax.run import command
from dm_jax.run.given import SetFile

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  help_string='A name (digits) or a file (configs/digits.py); some take an'
  ' argument (cifar10:ipc=50). Set fields by --config.condense.steps=1000.',
)
_WORKDIR = flags.DEFINE_string(
  'workdir',
  '',
  'The folder of the run, by default runs/NAME of the config. The same command'
  ' resumes in it.',
)
_MODE = flags.DEFINE_enum(
  'mode',
  'run',
  command.COMMANDS,
  'run: make the sets, then evaluate; condense: make them; evaluate: judge the'
  ' set in --synthetic; score: judge it as DD-Ranking does; export: write it'
  ' for other tools; table: lay finished runs beside the paper.',
)
_WORKDIRS = flags.DEFINE_list('workdirs', [], 'For table: runs, with commas.')
_SYNTHETIC = flags.DEFINE_string(
  'synthetic',
  None,
  'For evaluate, score and export: a synthetic.npz, or a set that others'
  ' released, such as a .pt.',
)
_FORMAT = flags.DEFINE_string(
  'format',
  '',
  'For export: folder, npz, parquet, pt or ddranking; READ:WRITE, e.g. idc:npz,'
  ' names that of --synthetic, too, where it is not recognised. Else that of'
  ' --synthetic.',
)
_TO = flags.DEFINE_string('to', '', 'For export: the file or folder to make.')
_FACTOR = flags.DEFINE_integer(
  'factor', 1, 'Tiles a side of each image of --synthetic; IDC releases 2.'
)
_EXPERIMENT = flags.DEFINE_integer(
  'experiment', 0, 'Which of the sets in a file of DM, from 0.'
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed', False, 'One of several processes that share a run.'
)
# JAX finds these itself on TPU pods, under Slurm and Open MPI.
_COORDINATOR = flags.DEFINE_string('coordinator', '', 'HOST:PORT of process 0.')
_PROCESSES = flags.DEFINE_integer('processes', 0, 'How many there are.')
_PROCESS = flags.DEFINE_integer('process', -1, 'The number of this one.')


def main() -> None:
  """Runs the command line of this process; exits with its code."""
  flags.FLAGS.verbosity = logging.WARNING  # Orbax tells of every file.
  # absl's help is that of the program that was started, which imports this.
  for flag in flags.FLAGS.get_key_flags_for_module(__name__):
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
  program = sys.modules['__main__']
  program.__doc__ = program.__doc__ or __doc__
  with command.exit_in_one_line():
    app.run(_run, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
  # A config file is a program: any kind of error may come.
  with command.exit_in_one_line(Exception):
    rest = flags.FLAGS(command.find_config(argv))
    known = ('config', *command.MODES_OF)
    given = {name for name in known if flags.FLAGS[name].present}
    command.check_arguments(rest, _MODE.value, given)
    if _CONFIG.present:
      _CONFIG.value.lock()  # A file that could not be read says so here.
  return rest


def _run(_: list[str]) -> None:
  given = _CONFIG.present
  command.execute(
    _CONFIG.value.to_dict() if given else {},
    config_flags.get_config_filename(flags.FLAGS['config']) if given else '',
    mode=_MODE.value,
    workdir=_WORKDIR.value,
    workdirs=_WORKDIRS.value,
    synthetic=_given(),
    layout=_FORMAT.value,
    to=_TO.value,
    cluster=(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value),
    distributed=_DISTRIBUTED.value,
  )


def _given() -> SetFile | None:
  if _SYNTHETIC.value is None:
    return None
  path, factor = Path(_SYNTHETIC.value), _FACTOR.value
  return SetFile(path, factor=factor, experiment=_EXPERIMENT.value)
