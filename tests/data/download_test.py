import concurrent.futures
import hashlib

import pytest

from dm_jax.data.download import File, fetch
from dm_jax.errors import InputError

DATA = bytes(range(256)) * 400
NAME = 'set.tar.gz'


def listed(server, data=DATA):
  return File(f'{server.address}/{NAME}', hashlib.sha256(data).hexdigest())


def refused(message, file, folder, **options):
  with pytest.raises(InputError, match=message) as error:
    fetch([file], folder, **options)
  assert '\n' not in str(error.value)
  assert NAME in str(error.value)
  return str(error.value)


def seen(folder):
  """What is not hidden in a folder."""
  return [p.name for p in folder.iterdir() if not p.name.startswith('.')]


def test_a_file_is_downloaded_once(serve, tmp_path):
  server = serve({NAME: DATA})
  for _ in range(2):
    fetch([listed(server)], tmp_path / 'new')
  assert (tmp_path / 'new' / NAME).read_bytes() == DATA
  assert server.asked == [f'/{NAME}']
  assert seen(tmp_path / 'new') == [NAME]


@pytest.mark.parametrize('ranges', [True, False])
def test_what_was_cut_off_goes_on(serve, tmp_path, ranges):
  server = serve({NAME: DATA}, ranges=ranges, most=30_000)
  line = refused('; 30 kB kept.: start the same', listed(server), tmp_path)
  assert f'or lay {NAME} into {tmp_path}' in line
  assert seen(tmp_path) == []
  server.most = None
  fetch([listed(server)], tmp_path)
  assert (tmp_path / NAME).read_bytes() == DATA
  assert server.starts == [0, 30_000 if ranges else 0]


def test_a_silent_server_is_given_up_on(serve, tmp_path):
  server = serve({NAME: DATA}, most=70_000, stalls=True)
  refused('timed out.; 65.5 kB kept', listed(server), tmp_path, seconds=0.3)
  assert seen(tmp_path) == []
  server.most, server.stalls = None, False
  fetch([listed(server)], tmp_path)
  assert (tmp_path / NAME).read_bytes() == DATA
  assert server.starts == [0, 2**16]


def test_a_wrong_digest_leaves_nothing(serve, tmp_path):
  server = serve({NAME: DATA[:-1] + b'x'})
  line = refused('expected .* but got', listed(server), tmp_path)
  for data in (DATA, DATA[:-1] + b'x'):
    assert hashlib.sha256(data).hexdigest() in line
  assert [p.name for p in tmp_path.iterdir()] == ['.download.lock']
  server.files[NAME] = DATA
  fetch([listed(server)], tmp_path)
  assert server.starts == [0, 0]


def test_a_part_of_something_else_is_not_believed(serve, tmp_path):
  server = serve({NAME: DATA})
  part = tmp_path / f'.{NAME}.part'
  for left in (b'x' * 500, b'x' * (len(DATA) + 1)):
    part.write_bytes(left)
    refused('but got', listed(server), tmp_path)
    assert not part.exists()
  fetch([listed(server)], tmp_path)
  assert (tmp_path / NAME).read_bytes() == DATA


def test_a_whole_part_is_taken(serve, tmp_path):
  server = serve({NAME: DATA})
  (tmp_path / f'.{NAME}.part').write_bytes(DATA)
  fetch([listed(server)], tmp_path)
  assert (tmp_path / NAME).read_bytes() == DATA


def test_a_file_that_is_not_there_is_named(serve, tmp_path):
  refused('404 .*nothing kept', listed(serve({})), tmp_path)


def test_a_file_of_another_digest_stays_and_is_named(serve, tmp_path):
  server = serve({NAME: DATA})
  (tmp_path / NAME).write_bytes(b'mine')
  refused('has the SHA-256 .*: delete it', listed(server), tmp_path)
  assert (tmp_path / NAME).read_bytes() == b'mine'
  assert server.asked == []


def test_a_folder_that_cannot_be_made_is_one_line(serve, tmp_path):
  (tmp_path / 'file').touch()
  refused('was not downloaded', listed(serve({NAME: DATA})), tmp_path / 'file')


def test_those_that_start_at_once_download_once(serve, tmp_path):
  # A lock belongs to an opened file: threads meet it as processes do.
  server = serve({NAME: DATA})
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    work = [pool.submit(fetch, [listed(server)], tmp_path) for _ in range(4)]
    for one in work:
      one.result(timeout=60)
  assert server.asked == [f'/{NAME}']
  assert (tmp_path / NAME).read_bytes() == DATA
