"""Writing files so that a reader never sees half of one."""

from collections.abc import Callable
import os
from pathlib import Path
from typing import IO


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
