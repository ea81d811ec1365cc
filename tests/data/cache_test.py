import dataclasses
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from dm_jax.data.class_data import Part
from dm_jax.data.digest import fingerprint
from dm_jax.data.load import load
from dm_jax.data.mapped import release
from dm_jax.data.split import hold_out
from dm_jax.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
ONLY_NPZ = pytest.mark.parametrize('known', ['npz'], indirect=True)
ONLY_FOLDER = pytest.mark.parametrize('known', ['folder'], indirect=True)


@pytest.fixture
def cached(known, tmp_path):
  """The config of the set above, with a cache that does not exist yet."""
  return dataclasses.replace(known.config, cache=str(tmp_path / 'all' / 'kept'))


def kept(cached):
  """Returns the folders in a cache, of sets that are whole."""
  root = pathlib.Path(cached.cache)
  return sorted(path for path in root.iterdir() if path.name[0] != '.')


def is_mapped(array):
  while isinstance(array, np.ndarray):
    if isinstance(array, np.memmap):
      return True
    array = array.base
  return False


def assert_equal(one, other):
  train, expected = one.train, other.train
  np.testing.assert_array_equal(train.images, expected.images)
  np.testing.assert_array_equal(train.counts, expected.counts)
  assert train.counts.dtype == expected.counts.dtype
  assert (train.mean, train.std) == (expected.mean, expected.std)
  assert train.class_names == expected.class_names
  assert train.held == expected.held
  np.testing.assert_array_equal(one.test_images, other.test_images)
  np.testing.assert_array_equal(one.test_labels, other.test_labels)
  assert one.test_labels.dtype == other.test_labels.dtype
  assert fingerprint(one) == fingerprint(other)


def test_kept_images_are_those_of_the_source(known, cached):
  expected = load(known.config)
  for _ in range(2):
    dataset = load(cached)
    assert_equal(dataset, expected)
    assert is_mapped(dataset.train.images)
    assert is_mapped(dataset.test_images)
  assert len(kept(cached)) == 1


@ONLY_FOLDER
def test_images_are_decoded_once(cached, monkeypatch):
  load(cached)
  monkeypatch.delattr('dm_jax.data.folder.decode_image')
  monkeypatch.delattr('dm_jax.data.folder.image_header')
  load(cached)


@ONLY_NPZ
def test_kept_images_cannot_be_written_to(cached):
  dataset = load(cached)
  with pytest.raises(ValueError, match='read-only'):
    dataset.train.images[0, 0] = 0


@ONLY_FOLDER
def test_statistics_may_change_without_decoding(cached):
  own = load(cached).train
  named = load(dataclasses.replace(cached, statistics='cifar10')).train
  assert named.mean == (0.4914, 0.4822, 0.4465) != own.mean
  grey = dataclasses.replace(cached, statistics='mnist')
  with pytest.raises(InputError, match='1 channels, the images have 3'):
    load(grey)
  assert len(kept(cached)) == 1


@ONLY_FOLDER
def test_another_size_is_kept_beside(cached):
  load(cached)
  resized = dataclasses.replace(cached, resize=2)
  assert load(resized).train.image_shape == (2, 2, 3)
  assert load(cached).train.image_shape == (4, 4, 3)
  assert len(kept(cached)) == 2


@ONLY_FOLDER
@pytest.mark.parametrize('change', ['added', 'removed', 'written', 'moved'])
def test_changed_files_are_decoded_anew(known, cached, tmp_path, change):
  load(cached)
  file = tmp_path / 'train/dog/00.png'
  if change == 'added':
    (tmp_path / 'train/dog/99.png').write_bytes(file.read_bytes())
  if change == 'removed':
    file.unlink()
  if change == 'written':  # With the same size.
    os.utime(file, (1, 1))
  if change == 'moved':
    file.rename(tmp_path / 'train/cat/77.png')
  assert_equal(load(cached), load(known.config))
  assert len(kept(cached)) == 2


@ONLY_NPZ
def test_a_changed_file_is_read_anew(known, cached):
  load(cached)
  with np.load(known.config.dir) as file:
    arrays = dict(file)
  arrays['train_images'][0] = 7
  np.savez(known.config.dir, **arrays)
  assert_equal(load(cached), load(known.config))


@pytest.mark.parametrize('known', ['tfds'], indirect=True)
def test_another_version_is_read_anew(cached, tmp_path):
  load(cached)
  (tmp_path / 'shapes/1.0.0').rename(tmp_path / 'shapes/1.0.1')
  load(cached)
  assert len(kept(cached)) == 2


@ONLY_FOLDER
def test_what_is_refused_is_not_kept(known, cached, tmp_path):
  broken = tmp_path / 'test/dog/00.png'
  content = broken.read_bytes()
  broken.write_bytes(content[:-30])
  with pytest.raises(InputError, match='cannot read .*00.png .*, of 22 images'):
    load(cached)
  assert not kept(cached)
  broken.write_bytes(content)
  assert_equal(load(cached), load(known.config))


@ONLY_FOLDER
def test_each_process_holds_its_part(known, cached):
  whole = load(known.config)
  part = Part(lambda _: (1, 3), lambda sums: sums)
  dataset = load(cached, part)
  assert dataset.train.held == (1, 3)
  np.testing.assert_array_equal(
    dataset.train.part(1, 3).images, whole.train.images[1:3]
  )
  assert dataset.train.mean == whole.train.mean


def read_in_another_process(config, **options):
  code = (
    'import sys, json; from dm_jax.config.sections import DataConfig;'
    'from dm_jax.data import source;'
    'from dm_jax.data.digest import fingerprint;'
    'from dm_jax.data.load import load;'
    f'{options.pop("before", "pass")};'
    'print(fingerprint(load(DataConfig(**json.loads(sys.argv[1])))))'
  )
  settings = json.dumps(dataclasses.asdict(config))
  return subprocess.Popen(
    [sys.executable, '-c', code, settings],
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    **options,
  )


def first_line(stream):
  assert stream is not None
  return stream.readline()


# Waits when the first images have been read.
SLOWLY = (
  'import sys; source.release = '
  'lambda _: (print("reading", flush=True), sys.stdin.readline())'
)


@ONLY_FOLDER
def test_a_killed_process_leaves_nothing_that_is_used(known, cached):
  process = read_in_another_process(cached, before=SLOWLY)
  assert first_line(process.stdout) == 'reading\n'
  process.send_signal(signal.SIGKILL)
  process.communicate()
  unfinished = [*pathlib.Path(cached.cache).glob('.*.tmp/train.npy')]
  assert len(unfinished) == 1
  assert not kept(cached)
  assert_equal(load(cached), load(known.config))
  assert not unfinished[0].exists()


@ONLY_FOLDER
def test_a_second_process_waits_for_the_first(known, cached):
  first = read_in_another_process(cached, before=SLOWLY)
  assert first_line(first.stdout) == 'reading\n'
  # It could not read any image itself.
  broken = 'import dm_jax.data.folder as f; del f.decode_image'
  second = read_in_another_process(cached, before=broken)
  waiting = 'waiting for another process to decode images\n'
  assert first_line(second.stderr) == waiting
  digest = fingerprint(load(known.config))
  assert first.communicate(timeout=60)[0].endswith(f'{digest}\n')
  assert second.communicate(timeout=60) == (f'{digest}\n', '')
  assert len(kept(cached)) == 1


def damage(folder, how):
  train = folder / 'train.npy'
  about = folder / 'about.json'
  if how == 'short':
    os.truncate(train, train.stat().st_size - 1)
  if how == 'header':
    train.write_bytes(b'?' * 8 + train.read_bytes()[8:])
  if how == 'empty':
    os.truncate(folder / 'test.npy', 0)
  if how == 'missing':
    train.unlink()
  if how == 'other':
    np.save(train, np.zeros((4, 4, 4, 4, 3), np.uint16))
  if how == 'images':
    np.save(train, np.zeros((4, 5, 4, 4, 3), np.uint8))
  if how == 'json':
    about.write_text('{')
  if how == 'list':
    about.write_text('[]')
  if how == 'names':
    text = json.loads(about.read_text()) | {'class_names': ['a']}
    about.write_text(json.dumps(text))


@ONLY_NPZ
@pytest.mark.parametrize(
  'how',
  [
    *('short', 'header', 'empty', 'missing', 'other', 'images'),
    *('json', 'list', 'names'),
  ],
)
def test_damage_names_the_folder_to_delete(cached, how):
  load(cached)
  (folder,) = kept(cached)
  damage(folder, how)
  with pytest.raises(InputError, match='is damaged .*: delete it') as error:
    load(cached)
  assert str(error.value).startswith(f'{folder} is damaged (')
  assert '\n' not in str(error.value)


@ONLY_NPZ
def test_a_full_disk_leaves_nothing_behind(cached, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  with monkeypatch.context() as patch:
    patch.setattr(os, 'posix_fallocate', full)
    with pytest.raises(OSError, match='No space left'):
      load(cached)
  assert not kept(cached)
  assert not [*pathlib.Path(cached.cache).glob('.*.tmp')]
  load(cached)


@ONLY_NPZ
def test_a_file_is_no_cache(known, cached):
  wrong = dataclasses.replace(cached, cache=known.config.dir)
  with pytest.raises(InputError, match='data.cache: .*set.npz is no folder'):
    load(wrong)


@ONLY_NPZ
def test_a_cache_that_cannot_be_written_is_refused_where_it_lacks_the_set(
  cached, monkeypatch
):
  monkeypatch.setattr(os, 'access', lambda *_: False)
  with pytest.raises(
    InputError, match='data.cache: .* cannot be written: name'
  ):
    load(cached)
  monkeypatch.undo()
  load(cached)
  monkeypatch.setattr(os, 'access', lambda *_: False)
  load(cached)


@pytest.mark.parametrize('seed', [0, 1])
def test_images_are_held_out_of_a_map(known, cached, seed):
  share = 0.4
  expected = hold_out(load(known.config).train, share, seed)
  split = hold_out(load(cached).train, share, seed)
  assert is_mapped(split.train.images)
  assert not is_mapped(expected.train.images)
  np.testing.assert_array_equal(split.train.images, expected.train.images)
  np.testing.assert_array_equal(split.train.counts, expected.train.counts)
  np.testing.assert_array_equal(split.images, expected.images)
  np.testing.assert_array_equal(split.labels, expected.labels)
  (folder,) = kept(cached)
  assert len([*folder.iterdir()]) == 3  # What is left has no name.


@ONLY_NPZ
def test_only_classes_that_are_held_take_disk_space(cached, monkeypatch):
  whole = load(cached).train
  taken = []
  monkeypatch.setattr(
    os, 'posix_fallocate', lambda _, start, size: taken.append((start, size))
  )
  split = hold_out(dataclasses.replace(whole, held=(1, 3)), 0.4, seed=0)
  # Of 2, 3, 2 and 4 images of 48 bytes, 1, 2, 1 and 2 are left.
  assert split.train.images.shape == (4, 2, 4, 4, 3)
  assert taken == [(1 * 2 * 48, 2 * 2 * 48)]


@pytest.fixture
def only_read(monkeypatch):
  """A function that makes a folder one that cannot be written to.

  Bits of a mode would not do: root writes all the same.
  """
  write = tempfile.TemporaryFile

  def only_read(folder, number):
    def refuse(dir=None):
      if dir == folder:
        raise OSError(number, os.strerror(number))
      return write(dir=dir)

    monkeypatch.setattr(tempfile, 'TemporaryFile', refuse)

  return only_read


@ONLY_NPZ
@pytest.mark.parametrize('number', [errno.EROFS, errno.EACCES, errno.EPERM])
def test_images_are_held_out_of_a_cache_that_can_only_be_read(
  known, cached, only_read, number
):
  data = load(cached).train
  (folder,) = kept(cached)
  only_read(folder, number)
  split = hold_out(data, 0.4, seed=0)
  assert is_mapped(split.train.images)
  expected = hold_out(load(known.config).train, 0.4, seed=0).train.images
  np.testing.assert_array_equal(split.train.images, expected)


@ONLY_NPZ
def test_a_temporary_folder_without_room_is_told(
  cached, only_read, monkeypatch
):
  data = load(cached).train
  (folder,) = kept(cached)
  only_read(folder, errno.EROFS)

  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, 'posix_fallocate', full)
  message = f'data.cache: {folder} can only be read, .*No space left .*TMPDIR'
  with pytest.raises(InputError, match=message) as error:
    hold_out(data, 0.4, seed=0)
  assert '\n' not in str(error.value)


@ONLY_NPZ
def test_a_full_disk_of_the_cache_is_told_as_it_is(cached, only_read):
  data = load(cached).train
  (folder,) = kept(cached)
  only_read(folder, errno.ENOSPC)
  with pytest.raises(OSError, match='No space left'):
    hold_out(data, 0.4, seed=0)


def test_release_changes_no_values(tmp_path):
  plain = np.arange(9, dtype=np.uint8)
  release(plain)
  release(plain[2:])
  release('no array')
  for mode in ('r+', 'c'):
    np.save(tmp_path / 'a.npy', plain)
    mapped = np.lib.format.open_memmap(tmp_path / 'a.npy', mode=mode)
    mapped[0] = 99
    for view in (mapped, mapped[3:], np.asarray(mapped)[2:4]):
      release(view)
    assert mapped.tolist() == [99, *range(1, 9)]


MEMORY = """
import pathlib, sys, threading, time
import numpy as np
from dm_jax.data import cache
from dm_jax.data.class_data import WHOLE, Dataset
from dm_jax.data.digest import fingerprint
from dm_jax.data.source import Contents, Source, Stored
from dm_jax.data.split import hold_out

def resident():
  with open('/proc/self/status') as file:
    (line,) = (line for line in file if line.startswith('RssAnon'))
  return int(line.split()[1]) // 1024

def watch():
  global most
  while True:
    most = max(most, resident())
    time.sleep(0.002)

# 200 MB in ten classes, and as much for testing.
labels = np.arange(1600) % 10

def read(rows):
  return np.full((len(rows), 256, 512, 1), rows[0] % 251, np.uint8)

stored = Stored(labels, read)
source = Source(lambda: '', lambda: Contents(stored, stored, (256, 512, 1)))
before = most = resident()
threading.Thread(target=watch, daemon=True).start()
for _ in range(2):
  dataset = cache.load_cached(sys.argv[1], 'big', None, source, WHOLE)
fingerprint(dataset)
split = hold_out(dataset.train, 0.01, seed=0)
fingerprint(Dataset(split.train, split.images, split.labels))
assert split.train.images.nbytes > 2e8
print(most - before)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_large_sets_take_little_memory(run_python, tmp_path):
  out = run_python(MEMORY, tmp_path)
  assert int(out) < 60
