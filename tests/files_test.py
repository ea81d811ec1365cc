import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest

from dm_jax.files import (
  locked,
  read_json,
  remove_left,
  write_json,
  write_text,
)


def test_json_is_read_by_people_and_of_any_name_read_back(tmp_path):
  """A path's bytes that are not UTF-8 reach Python as lone surrogates."""
  values = {'cat': 'кошка', 'dir': '/data/caf\udce9', 'quoted': '\\udce9 "'}
  write_json(tmp_path / 'a.json', values)
  text = (tmp_path / 'a.json').read_text(encoding='utf-8')
  assert 'кошка' in text
  assert read_json(tmp_path / 'a.json') == json.loads(text) == values


def test_text_that_is_not_utf8_is_escaped(tmp_path):
  write_text(tmp_path / 'a.html', 'é caf\udce9')
  assert (tmp_path / 'a.html').read_bytes() == b'\xc3\xa9 caf\\udce9'


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
  done = subprocess.Popen([sys.executable, '-c', ''])
  done.wait()
  kept = [
    f'.a.json.{os.getpid()}.tmp',  # Of a process that is alive.
    '.a.json.tmp',
    '.vim.tmp',
    f'a.json.{done.pid}.tmp',
    f'.a.json.{done.pid}.tmp.npz',
  ]
  below = tmp_path / 'below' / f'.a.json.{done.pid}.tmp'
  below.parent.mkdir()
  for path in (below, *(tmp_path / name for name in kept)):
    path.write_text('precious')
  (tmp_path / f'.a.json.{done.pid}.tmp').write_text('half')
  # Formats of several files are written as a folder.
  folder = tmp_path / f'.out.{done.pid}.tmp'
  (folder / 'train').mkdir(parents=True)
  (folder / 'train' / '0.png').write_text('half')
  remove_left(tmp_path)
  left = sorted(path.name for path in tmp_path.iterdir())
  assert left == sorted([*kept, 'below'])
  assert below.exists()


@pytest.mark.parametrize('number', [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_is_told_of_once(
  tmp_path, monkeypatch, capsys, number
):
  def flock(file, how):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(fcntl, 'flock', flock)
  with locked(tmp_path / '.lock', 'waiting'):
    pass
  assert capsys.readouterr().err == (
    f'warning: {tmp_path} has no file locks ({os.strerror(number)}): nothing'
    ' keeps two processes apart there\n'
  )


def test_a_lock_that_fails_otherwise_is_an_error(tmp_path, monkeypatch):
  def flock(file, how):
    raise OSError(errno.EIO, 'broken')

  monkeypatch.setattr(fcntl, 'flock', flock)
  with pytest.raises(OSError, match='broken'), locked(tmp_path / '.lock', ''):
    pass
