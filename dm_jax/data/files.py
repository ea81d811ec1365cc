"""What the sources that read files share."""

from collections.abc import Callable, Iterable, Iterator
import concurrent.futures
import os
from typing import Any

from dm_jax.errors import first_line

_BATCH = 64  # Files that a thread reads at a time: a task costs about a file.


def read_files(
  read: Callable[[str], Any], paths: list[str], title: str | None = None
) -> Iterator[tuple[str, Any, str | None]]:
  """Reads files in threads and keeps their order.

  Args:
    read: a function of a path.
    paths: of the files.
    title: of the bar; None shows none.

  Yields:
    (path, what it reads, None), or (path, None, what is wrong).
  """
  from tqdm import tqdm

  def attempt(path: str) -> tuple[str, Any, str | None]:
    try:
      return path, read(path), None
    except Exception as error:
      # Pillow raises any of a dozen types, as the broken file has it.
      return path, None, f'cannot read {path} ({first_line(error)})'

  def attempt_all(batch):
    return [attempt(path) for path in batch]

  batches = [paths[i : i + _BATCH] for i in range(0, len(paths), _BATCH)]
  with (
    concurrent.futures.ThreadPoolExecutor() as pool,
    # disable=None: no bar unless standard error is a terminal.
    tqdm(
      total=len(paths),
      desc=title,
      unit=' files',
      delay=1,
      disable=None if title else True,
    ) as bar,
  ):
    for results in pool.map(attempt_all, batches):
      yield from results
      bar.update(len(results))


def deep_notes(deep: int, count: int) -> tuple[str, ...]:
  """Returns what `Dataset.notes` says of `deep` among `count` images."""
  if not deep:
    return ()
  scaled = 'scaled to 8, 65,535 to 255'
  return (f'{deep:,} of {count:,} images are grey of 16 bits: {scaled}',)


def file_state(paths: Iterable[str | os.PathLike]) -> str:
  """Returns text that changes with the files' places, sizes and times."""
  states = []
  for path in paths:
    stat = os.stat(path)
    states.append((os.path.realpath(path), stat.st_size, stat.st_mtime_ns))
  return repr(states)
