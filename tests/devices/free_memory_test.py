from pathlib import Path
import types
from typing import Any

import jax
import pytest

from dm_jax.devices.free_memory import Host, free_bytes


def device(platform='gpu', stats=None) -> Any:
  return types.SimpleNamespace(platform=platform, memory_stats=lambda: stats)


def test_a_device_says_what_is_free():
  stats = {'bytes_limit': 1000, 'bytes_in_use': 300}
  assert free_bytes(device(stats=stats)) == 700
  assert free_bytes(device(stats={'bytes_limit': 1000})) == 1000


@pytest.mark.parametrize('stats', [None, {}, {'bytes_in_use': 3}])
def test_a_device_may_not_say_what_is_free(stats):
  assert free_bytes(device(stats=stats)) is None


@pytest.fixture
def host(tmp_path):
  """A host with 5000 kB free; all its files are in one folder."""
  meminfo = tmp_path / 'meminfo'
  meminfo.write_text(
    'MemTotal:       9000 kB\nMemFree:         100 kB\n'
    'MemAvailable:   5000 kB\n'
  )
  return Host(meminfo, tmp_path / 'cgroup', tmp_path)


@pytest.mark.parametrize(
  ('limit', 'used', 'free'),
  [
    (None, None, 5000 * 1024),
    ('max', 100, 5000 * 1024),
    (2**20, 2**18, 2**20 - 2**18),
    (2**40, 2**18, 5000 * 1024),
    (2**20, 2**21, 0),
  ],
)
def test_a_cpu_has_what_host_and_container_leave(host, limit, used, free):
  if limit is not None:
    (host.cgroup / 'memory.max').write_text(f'{limit}\n')
    (host.cgroup / 'memory.current').write_text(f'{used}\n')
  assert free_bytes(device('cpu'), host) == free


@pytest.mark.parametrize('limits', [(2000, None, 900), (None, 900, 'max')])
def test_a_job_has_what_every_group_around_it_leaves(host, limits):
  host.membership.write_text('1:cpu:/other\n0::/slurm/job_1\n')
  job = host.cgroup / 'slurm' / 'job_1'
  job.mkdir(parents=True)
  for folder, limit in zip(
    (host.cgroup, host.cgroup / 'slurm', job), limits, strict=True
  ):
    if limit is not None:
      (folder / 'memory.max').write_text(f'{limit}\n')
      (folder / 'memory.current').write_text('150\n')
  (job / 'memory.stat').write_text('active_file 40\ninactive_file 10\n')
  # 50 of the job's bytes are files that nobody needs to keep.
  free = 800 if limits[-1] == 900 else 750
  assert free_bytes(device('cpu'), host) == free


def test_elsewhere_nothing_is_known_of_a_cpu(host):
  host.meminfo.unlink()
  assert free_bytes(device('cpu'), host) is None


def test_this_host_has_some_memory_free():
  free = free_bytes(jax.devices()[0])
  if Path('/proc/meminfo').exists():
    assert free is not None
    assert free > 2**20
