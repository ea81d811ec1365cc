"""Paths that a person gives a run, as a shell leaves them."""

import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.report import compare
from dm_jax.run import run


@pytest.fixture
def home(tmp_path, monkeypatch):
  """A home folder; the process is in another one."""
  home, here = tmp_path / 'home', tmp_path / 'here'
  home.mkdir()
  here.mkdir()
  monkeypatch.setenv('HOME', str(home))
  monkeypatch.chdir(here)
  return home


def test_runs_of_a_table_may_be_in_the_home_folder(home):
  with pytest.raises(InputError, match=f'^{home}/a is not a folder'):
    compare.compare(['~/a'])


def test_a_run_finds_its_set_and_workdir_in_the_home_folder(home, make_config):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (6, 8, 8, 1), np.uint8)
  labels = np.arange(6) % 2
  np.savez(
    home / 'data.npz',
    train_images=images,
    train_labels=labels,
    test_images=images,
    test_labels=labels,
  )
  config = make_config(**{'data.dir': '~/data.npz'})
  assert config.data.dir == str(home / 'data.npz')
  said = []
  with pytest.raises(InputError, match=f'no synthetic set at {home}/set.npz'):
    run.run(
      config, mode='evaluate', folder='~/run', synthetic='~/set.npz', say=print
    )
  (home / 'run').write_text('')
  with pytest.raises(InputError, match=f'workdir {home}/run is a file'):
    run.run(config, mode='run', folder='~/run', say=said.append)
