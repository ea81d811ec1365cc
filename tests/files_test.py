from pathlib import Path

import pytest

from dm_jax.errors import InputError
from dm_jax.files import full_path, write_atomically


@pytest.fixture
def home(tmp_path, monkeypatch):
  """A home folder, and another one in which the process is."""
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
