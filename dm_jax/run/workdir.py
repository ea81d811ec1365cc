"""The folder of one run: whose it is, and that no other run writes into it."""

from collections.abc import Iterator
import contextlib
import errno
from pathlib import Path
import re

from dm_jax.config.fields import differences
from dm_jax.errors import InputError
from dm_jax.files import lock, read_json, remove_left, write_json
from dm_jax.records.results import CONFIG_NAME, read_results
from dm_jax.run.config import RunConfig
from dm_jax.run.inputs import changed_inputs
from dm_jax.types import Json

_UNWRITABLE = (
  errno.ENOSPC,
  errno.EDQUOT,
  errno.EFBIG,
  errno.EROFS,
  errno.EACCES,
  errno.EIO,
)

# Where a run writes below its workdir, at any depth.
_OWN_FOLDERS = re.compile(
  r'(set|order|step|targets)_\w+|baselines|figures|images|pool'
)
_LOCK = '.lock'


def default_folder(config_file: str) -> Path:
  """Returns runs/NAME of a config file and its argument.

  Args:
    config_file: e.g. configs/cifar10.py:ipc=1,10, for runs/cifar10_ipc=1-10.
  """
  file, _, argument = config_file.partition(':')
  names = filter(None, (Path(file).stem, argument))
  return Path('runs', re.sub(r'[^\w=.-]+', '-', '_'.join(names)))


@contextlib.contextmanager
def claim(path: Path, config: RunConfig, inputs: Json) -> Iterator[None]:
  """Holds a run's folder, made if need be, for as long as the context lasts.

  Args:
    path: of the folder.
    config: of the run; kept as `config.json`, so that a later run sees it.
    inputs: what the run reads, see `describe_inputs`; kept beside the config.

  Raises:
    InputError: the folder belongs to another config or other data, another run
      is in it, or it cannot be written.
  """
  refuse_others(path, config, inputs)  # Before anything is written.
  with contextlib.ExitStack() as stack:
    try:
      path.mkdir(parents=True, exist_ok=True)
      file = stack.enter_context(open(path / _LOCK, 'ab'))
    except OSError as error:
      raise InputError(
        f'workdir {path} cannot be written: {error.strerror}; choose another'
        ' with --workdir'
      ) from error
    try:
      lock(file)
    except BlockingIOError:
      raise InputError(
        f'another run is in workdir {path}: wait for it or choose another'
        ' with --workdir'
      ) from None
    refuse_others(path, config, inputs)
    _clear(path)
    write_json(path / CONFIG_NAME, {**config.to_dict(), 'inputs': dict(inputs)})
    try:
      yield
    except OSError as error:
      if error.errno not in _UNWRITABLE:
        raise
      raise InputError(
        f'workdir {path} cannot be written: {error.strerror}; the last'
        ' good checkpoint stays: make room and start the same command again'
      ) from error


def _clear(folder: Path) -> None:
  """Removes what killed processes left half-written in a run's own folders.

  The workdir may hold other runs, too, and whatever a person keeps there.
  """
  remove_left(folder)
  for below in folder.iterdir():
    is_own = _OWN_FOLDERS.fullmatch(below.name) and below.is_dir()
    if is_own and not (below / _LOCK).exists():
      _clear(below)


def refuse_others(
  path: Path, config: RunConfig, inputs: Json | None = None
) -> None:
  """Raises InputError if a folder belongs to another run.

  Args:
    path: of the folder, which need not be there.
    config: of the run.
    inputs: what it reads; None where that is not known yet.
  """
  if path.exists() and not path.is_dir():
    raise InputError(f'workdir {path} is a file: choose another with --workdir')
  file = path / CONFIG_NAME
  old = read_json(file)
  if not file.exists():
    # A set would be taken for the run's own, but where a given one is judged.
    given = 'synthetic' in (inputs or {})
    for name in ('checkpoints',) if given else ('checkpoints', 'synthetic.npz'):
      if (path / name).exists():
        raise InputError(
          f'workdir {path} has {name} but no config.json to tell whose:'
          ' choose another with --workdir'
        )
    return
  old_inputs = old.pop('inputs', None)
  try:
    old = RunConfig.from_dict(old).settings()
  except (InputError, AttributeError, TypeError) as error:
    raise InputError(
      f'{file} is not the config of a run ({error}): choose another --workdir'
    ) from error
  new = config.settings()
  if not _is_judged(path):
    old, new = ({**s, 'evaluate': None} for s in (old, new))
  changed = differences(old, new)
  if changed:
    raise InputError(
      f'workdir {path} belongs to another config ({"; ".join(changed)}): choose'
      ' another with --workdir, or give the old settings to go on'
    )
  changed = [] if inputs is None else changed_inputs(old_inputs or {}, inputs)
  if changed:
    raise InputError(
      f'workdir {path} belongs to other data ({"; ".join(changed)}): choose'
      ' another with --workdir, or give the old data to go on'
    )


def _is_judged(path: Path) -> bool:
  """Says whether any network was trained on a set of the run.

  Until then, how that is done may change: sets are made without it.
  """
  found = read_results(path)
  # An application says what it is about to do before it trains any.
  return bool(
    found.evaluations
    or found.validation
    or (found.continual and found.continual.rows)
    or (found.search and found.search.trained)
  )
