"""Settings of every test: eight CPU devices, quick compiling, strictness."""

import atexit
import gc
import importlib.metadata
import os
from pathlib import Path
import shutil
import tempfile

# Before JAX is imported: devices and platform are fixed at its first use.
os.environ['JAX_PLATFORMS'] = 'cpu'
# Most of the time goes into compiling; no figure here depends on how well.
# Fusion emitters take half of it. A flag that XLA does not know ends a process,
# so versions that were not tried go without this one.
TRIED = importlib.metadata.version('jaxlib').startswith('0.10.')
NO_EMITTERS = '--xla_cpu_use_fusion_emitters=false' if TRIED else ''
QUICKLY = f'--xla_backend_optimization_level=0 {NO_EMITTERS}'
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '')
  + f' --xla_force_host_platform_device_count=8 {QUICKLY}'
)
# What one process compiled the others read: workers, which inherit the name of
# the folder, and commands that tests start. A folder that is named beforehand
# is kept, so that the next session finds it.
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  compiled = tempfile.mkdtemp(prefix='dm_jax_compiled_')
  os.environ['JAX_COMPILATION_CACHE_DIR'] = compiled
  atexit.register(shutil.rmtree, compiled, ignore_errors=True)
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update('jax_numpy_rank_promotion', 'raise')

ROOT = Path(__file__).parent.parent


_MAPS = Path('/proc/self/maps')
_MOST_MAPS = 30_000  # Linux allows a process 65,530.


@pytest.fixture(scope='module', autouse=True)
def room_for_programs():
  """Drops compiled programs where there are many: each is mapped memory.

  A process that may map no more dies while it compiles.
  """
  yield
  if _MAPS.exists() and len(_MAPS.read_text().splitlines()) > _MOST_MAPS:
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope='session')
def root() -> Path:
  """The repository."""
  return ROOT


@pytest.fixture(scope='session')
def environment() -> dict[str, str]:
  """Of a process with one device; whole runs compute, so they are optimised."""
  return {**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': NO_EMITTERS}


@pytest.fixture(scope='session')
def hurried(environment) -> dict[str, str]:
  """Of such a process that compiles more than it computes."""
  return environment | {'XLA_FLAGS': QUICKLY}


def pytest_sessionfinish(session, exitstatus):
  """Where the data must be present, a skipped test is a failure."""
  reporter = session.config.pluginmanager.get_plugin('terminalreporter')
  forbidden = os.environ.get('DM_JAX_FORBID_SKIPS')
  if reporter is None:  # A worker: the process that started it reports.
    return
  if forbidden and exitstatus == 0 and reporter.stats.get('skipped'):
    session.exitstatus = pytest.ExitCode.TESTS_FAILED
