"""Writing files so that a reader never sees half of one."""

from collections.abc import Callable, Iterator
import contextlib
import errno
import json
import os
from pathlib import Path
import re
import shutil
import sys
from typing import IO, Any
import zipfile
import zlib

from dm_jax.errors import InputError
from dm_jax.types import Json

# What NumPy meets in .npz files that are damaged or something else.
UNREADABLE = (
  OSError,
  ValueError,
  TypeError,
  KeyError,
  EOFError,
  zipfile.BadZipFile,
  zlib.error,
)
# What Pillow may open, under any name: of others, some run programs (EPS).
PICTURES = ('PNG', 'JPEG', 'WEBP')
# Folders that archives and file servers leave beside images.
LITTER = ('__MACOSX', '@eaDir')

# File systems without locks: Lustre as it is often mounted, some of FUSE, NFS.
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


def full_path(
  path: str | os.PathLike[str],
  what: str = 'a path',
  *,
  setting: str | None = None,
) -> Path:
  """Returns an absolute path, with the home folder in the place of `~`.

  Args:
    path: of a file or folder, which need not be there.
    what: its name in messages, e.g. --workdir.
    setting: the config field that it was given in, if it was.

  Raises:
    InputError: it is empty, or names the home of an unknown user.
  """
  text = os.fspath(path)
  if not text:
    raise InputError(
      f'{what} is empty: name a file or folder, or leave it out',
      setting=setting,
    )
  try:
    # Not resolved: what a person named is what messages show.
    return Path(text).expanduser().absolute()
  except RuntimeError as error:
    raise InputError(
      f'{what} {text} names the home folder of nobody here: write the whole'
      ' path',
      setting=setting,
    ) from error


def write_atomically(
  path: str | os.PathLike, write: Callable[[IO[bytes]], object]
) -> None:
  """Calls write(file) on a temporary file beside `path`, then renames it.

  Whatever goes wrong, a file that was there before stays as it was.
  """
  path = full_path(path)
  temporary = temporary_path(path)
  try:
    with open(temporary, 'wb') as file:
      write(file)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


def temporary_path(path: Path) -> Path:
  """Returns where this process writes what becomes `path` once it is whole."""
  return path.with_name(f'.{path.name}.{os.getpid()}.tmp')


def remove_left(folder: Path) -> None:
  """Removes the temporary files and folders of processes that were killed.

  Args:
    folder: in which they lie; what is below its folders stays.
  """
  for path in [*folder.glob('.*.tmp')]:
    named = re.fullmatch(r'\..+\.(\d{1,9})\.tmp', path.name)
    if named and not _is_alive(int(named[1])):
      remove(path)


def remove(path: Path) -> None:
  """Removes a file, or a folder with all that is in it."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path, ignore_errors=True)
  else:
    path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
  try:
    os.kill(process, 0)  # Sends nothing.
  except ProcessLookupError:
    return False
  except PermissionError:
    pass  # Another user's.
  return True


@contextlib.contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
  """Holds a lock that ends with the process.

  Args:
    path: a file for the lock alone; is made.
    waiting: said on standard error where another process holds it.
  """
  with path.open('ab') as file:
    try:
      lock(file)
    except BlockingIOError:
      print(waiting, file=sys.stderr)
      lock(file, wait=True)
    yield


def lock(file: IO, *, wait: bool = False) -> None:
  """Locks an open file until it is closed; the kernel does so at the latest.

  Where the file system has no locks, this is said on standard error.

  Args:
    file: for the lock alone.
    wait: until another process lets go of it.

  Raises:
    BlockingIOError: another process holds it.
  """
  import fcntl  # Not on Windows, where all but this works.

  try:
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
  except OSError as error:
    if error.errno not in _NO_LOCKS:
      raise
    print(
      f'warning: {Path(file.name).parent} has no file locks'
      f' ({error.strerror}): nothing keeps two processes apart there',
      file=sys.stderr,
    )


def write_text(path: Path, text: str) -> None:
  """Writes UTF-8, and for what is not, as in some files' names, \\udc80."""
  encoded = text.encode(errors='backslashreplace')
  write_atomically(path, lambda file: file.write(encoded))


def write_json(path: Path, values: Json) -> None:
  # What `write_text` escapes, JSON reads as it was.
  text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False)
  write_text(path, text + '\n')


def read_json(path: Path) -> dict[str, Any]:
  """Returns {} where there is no such file; raises InputError for another."""
  try:
    values = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(values, dict):
      raise ValueError('it holds no JSON object')
    return values
  except FileNotFoundError:
    return {}
  except NotADirectoryError:
    raise InputError(
      f'{path.parent} is not a folder: choose another --workdir'
    ) from None
  except (OSError, ValueError) as error:
    raise InputError(
      f'{path} cannot be read ({error}): choose another --workdir'
    ) from error
