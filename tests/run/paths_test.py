"""Paths that a person gives a run, as a shell leaves them."""

from pathlib import Path

import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.files import full_path, write_atomically
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


def test_a_path_is_whole(home):
  here = home.with_name('here')
  assert full_path('~/a/b') == home / 'a/b'
  assert full_path('a') == here / 'a'
  assert full_path(Path('~')) == home
  assert full_path('/a/~') == Path('/a/~')


@pytest.mark.parametrize(
  ('path', 'message'),
  [('', '^--workdir is empty'), ('~nobody_here/x', '~nobody_here/x')],
)
def test_what_is_no_path_is_refused(path, message):
  with pytest.raises(InputError, match=message) as error:
    full_path(path, '--workdir')
  assert '\n' not in str(error.value)


def test_files_are_written_in_the_home_folder(home):
  write_atomically('~/file', lambda file: file.write(b'x'))
  assert (home / 'file').read_bytes() == b'x'


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
