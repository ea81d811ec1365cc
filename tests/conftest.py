"""Settings of every test: eight CPU devices, and strictness."""

import os
from pathlib import Path

# Before JAX is imported: devices and platform are fixed at its first use.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
)

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update('jax_numpy_rank_promotion', 'raise')

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope='session')
def root() -> Path:
  """The repository."""
  return ROOT


@pytest.fixture(scope='session')
def environment(tmp_path_factory) -> dict[str, str]:
  """Of a process with one device; compiled programs are kept between them."""
  compiled = tmp_path_factory.getbasetemp() / 'compiled'
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'JAX_COMPILATION_CACHE_DIR': str(compiled),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
  }
  del environment['XLA_FLAGS']
  return environment


def pytest_sessionfinish(session, exitstatus):
  """Where the data must be present, a skipped test is a failure."""
  reporter = session.config.pluginmanager.get_plugin('terminalreporter')
  forbidden = os.environ.get('DM_JAX_FORBID_SKIPS')
  if forbidden and exitstatus == 0 and reporter.stats.get('skipped'):
    session.exitstatus = pytest.ExitCode.TESTS_FAILED
