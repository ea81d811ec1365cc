"""Writing files so that a reader never sees half of one."""

from collections.abc import Callable, Iterator
import contextlib
import json
import os
from pathlib import Path
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


def write_atomically(
  path: str | os.PathLike, write: Callable[[IO[bytes]], object]
) -> None:
  """Calls write(file) on a temporary file beside `path`, then renames it.

  Whatever goes wrong, a file that was there before stays as it was.
  """
  path = Path(path)
  temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  try:
    with open(temporary, 'wb') as file:
      write(file)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


@contextlib.contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
  """Holds a lock that ends with the process.

  Args:
    path: a file for the lock alone; is made.
    waiting: said on standard error where another process holds it.
  """
  import fcntl  # Not on Windows, where all but this works.

  with path.open('ab') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      print(waiting, file=sys.stderr)
      fcntl.flock(file, fcntl.LOCK_EX)
    yield


def write_json(path: Path, values: Json) -> None:
  text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + '\n'
  write_atomically(path, lambda file: file.write(text.encode()))


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
