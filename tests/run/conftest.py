"""A run of seconds, for the tests that start many."""

from collections.abc import Callable
from pathlib import Path
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from dm_jax.run.command import execute
from dm_jax.run.config import RunConfig

SETTINGS = {
  'data.name': 'npz',
  'network.width': 4,
  'network.depth': 1,
  'condense.images_per_class': 1,
  'condense.steps': 4,
  'condense.batch_real': 4,
  'condense.log_every': 2,
  'condense.augment': 'none',
  'evaluate.networks': 1,
  'evaluate.epochs': 1,
  'output.pictures': 1,
}


def _make_config(**changes: Any) -> RunConfig:
  nested: dict[str, Any] = {}
  for name, value in (SETTINGS | changes).items():
    *groups, field = name.split('.')
    target = nested
    for group in groups:
      target = target.setdefault(group, {})
    target[field] = value
  return RunConfig.from_dict(nested)


@pytest.fixture(scope='session')
def make_config() -> Callable[..., RunConfig]:
  """A function of changes by dotted name -> a small run's settings."""
  return _make_config


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
  """Twelve images in three classes, and six to test on; free to be changed."""
  return _make_arrays()


@pytest.fixture(scope='session')
def twelve_of_each(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A file like `arrays`, but of twelve images in each class, for tiles."""
  path = tmp_path_factory.mktemp('data') / 'images.npz'
  arrays: dict[str, Any] = {**_make_arrays(36)}
  np.savez(path, **arrays)
  return path


@pytest.fixture(scope='session')
def results_script(root, environment) -> Callable[..., Any]:
  """A function of flags that runs benchmarks/results.py; what it printed."""

  def results_script(*flags):
    return subprocess.run(
      [sys.executable, 'benchmarks/results.py', *flags],
      cwd=root,
      env=environment | {'PYTHONPATH': str(root)},
      capture_output=True,
      text=True,
      timeout=300,
    )

  return results_script


@pytest.fixture(scope='session')
def execute_in() -> Callable[..., None]:
  """A function that does what the command does, no other flag being given."""

  def execute_in(workdir, mode, config):
    execute(
      config,
      '',
      mode=mode,
      workdir=workdir,
      workdirs=(),
      synthetic=None,
      layout='',
      to='',
      cluster=('', 0, -1),
      distributed=False,
    )

  return execute_in


@pytest.fixture(scope='session')
def save_arrays() -> Callable[..., None]:
  """A function of a path that writes `arrays`, with changes by name."""

  def save(path, **changes):
    arrays: dict[str, Any] = _make_arrays() | changes
    np.savez(path, **arrays)

  return save


def _make_arrays(count: int = 12) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  return {
    'train_images': rng.integers(0, 256, (count, 8, 8, 1), np.uint8),
    'train_labels': np.arange(count) % 3,
    'test_images': rng.integers(0, 256, (6, 8, 8, 1), np.uint8),
    'test_labels': np.arange(6) % 3,
  }
