"""How much memory a device can still give."""

from collections.abc import Iterator
import dataclasses
from pathlib import Path
from typing import Any

_KIB = 1024
_KINDS = ('active', 'inactive')  # Of a container's pages of files.


@dataclasses.dataclass(frozen=True)
class Host:
  """The files in which Linux tells what memory there is.

  Attributes:
    meminfo: of the whole host.
    membership: the control groups that this process is in.
    cgroup: the root of all control groups, with a folder for each.
  """

  meminfo: Path = Path('/proc/meminfo')
  membership: Path = Path('/proc/self/cgroup')
  cgroup: Path = Path('/sys/fs/cgroup')


def free_bytes(device: Any, host: Host = Host()) -> int | None:
  """Returns the memory that a device can still give; None if it does not say.

  A CPU's is the host's, within the limit of the container if cgroup v2 sets
  one; limits of cgroup v1 are not seen.

  Args:
    device: of this process.
    host: of this process; read for a CPU.
  """
  if device.platform == 'cpu':
    free = [*_free_on_host(host), *_free_in_container(host)]
    return min(free, default=None)
  stats = device.memory_stats() or {}
  if 'bytes_limit' not in stats:
    return None
  return stats['bytes_limit'] - stats.get('bytes_in_use', 0)


def _free_on_host(host: Host) -> Iterator[int]:
  try:
    lines = host.meminfo.read_text().splitlines()
  except OSError:  # Not Linux.
    return
  for line in lines:
    if line.startswith('MemAvailable:'):
      yield int(line.split()[1]) * _KIB


def _free_in_container(host: Host) -> Iterator[int]:
  """Yields what each cgroup v2 leaves that this process is in; none of v1.

  A container's own group is the root of what it sees; a job of Slurm lies
  several groups deep, and a limit of any of them holds.
  """
  try:
    lines = host.membership.read_text().splitlines()
  except OSError:
    lines = []
  # cgroup v2 entries start with `0::`.
  own = [line[len('0::/') :] for line in lines if line.startswith('0::/')]
  group = host.cgroup / (own[0] if own else '')
  for folder in (group, *group.parents):
    yield from _free_in_group(folder)
    if folder == host.cgroup:
      return


def _free_in_group(folder: Path) -> Iterator[int]:
  try:
    limit = (folder / 'memory.max').read_text().strip()
    used = (folder / 'memory.current').read_text()
  except OSError:
    return
  if limit != 'max':
    yield max(int(limit) - max(int(used) - _file_cache(folder), 0), 0)


def _file_cache(folder: Path) -> int:
  """What a group holds of files only as long as nobody needs it."""
  try:
    lines = (folder / 'memory.stat').read_text().splitlines()
  except OSError:
    return 0
  counts = dict(line.split()[:2] for line in lines)
  return sum(int(counts.get(f'{kind}_file', 0)) for kind in _KINDS)
