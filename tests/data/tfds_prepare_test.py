import http.server
import importlib.util
import pathlib
import shlex
import socket
import sys
import threading
import time

import pytest
import tensorflow_datasets as tfds

from dm_jax.config.sections import DataConfig
from dm_jax.data.download import answers
from dm_jax.data.load import load
from dm_jax.data.tfds_prepare import open_builder
from dm_jax.errors import InputError

LOCALHOST = '127.0.0.1'


@pytest.fixture(autouse=True)
def offline(monkeypatch):
  """Nothing here may need the network beyond this machine."""
  look_up = socket.getaddrinfo

  def blocked(host, *arguments, **options):
    if host != LOCALHOST:
      raise OSError('no network')
    return look_up(host, *arguments, **options)

  monkeypatch.setattr(socket, 'getaddrinfo', blocked)
  monkeypatch.setenv('no_proxy', '*')


@pytest.fixture
def tensorflow(monkeypatch):
  """A function that makes TensorFlow look installed, or not."""
  find_spec = importlib.util.find_spec

  def fake(present):
    def find(name, package=None):
      if name == 'tensorflow':
        return object() if present else None
      return find_spec(name, package)

    monkeypatch.setattr(importlib.util, 'find_spec', find)

  return fake


def refused(message, name, directory, **options):
  with pytest.raises(InputError, match=message) as error:
    open_builder(name, str(directory), **options)
  assert '\n' not in str(error.value)
  return str(error.value)


def test_the_newest_version_is_opened(write_set, tmp_path):
  for version in ('3.0.2', '3.0.10', '2.9.9'):
    write_set('shapes', splits={}, version=version)
  (tmp_path / 'shapes/9.0.0').mkdir()  # Nothing prepared in it.
  (tmp_path / 'shapes/4.0.0.incomplete').mkdir()
  assert str(open_builder('shapes', str(tmp_path)).version) == '3.0.10'


def test_a_configuration_is_part_of_the_name(write_set, tmp_path):
  write_set('sizes/64x64', splits={})
  folder = open_builder('sizes/64x64', str(tmp_path)).data_dir
  assert pathlib.Path(folder) == tmp_path / 'sizes/64x64/1.0.0'


def test_a_missing_configuration_is_named(write_set, tmp_path):
  write_set('sizes/64x64', splits={})
  write_set('sizes/8x8', splits={})
  refused('has configurations: .*: sizes/64x64, sizes/8x8$', 'sizes', tmp_path)


def test_the_default_folder_is_that_of_tfds(write_set, tmp_path, monkeypatch):
  write_set('shapes', splits={})
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  assert open_builder('shapes', None).name == 'shapes'
  monkeypatch.delenv('TFDS_DATA_DIR')
  monkeypatch.setenv('HOME', str(tmp_path))
  tmp_path.joinpath('shapes').rename(tmp_path / 'away')
  tmp_path.joinpath('tensorflow_datasets').mkdir()
  (tmp_path / 'away').rename(tmp_path / 'tensorflow_datasets/shapes')
  assert open_builder('shapes', None).name == 'shapes'


def test_a_missing_set_is_refused_at_once(tmp_path, tensorflow):
  tensorflow(False)
  start = time.monotonic()
  message = refused(f'cifar100 is not in {tmp_path}/cif', 'cifar100', tmp_path)
  assert time.monotonic() - start < 10
  assert 'needs TensorFlow' in message
  command = message[message.index('pip install') :]
  assert shlex.split(command) == [
    *('pip', 'install', 'tensorflow', '&&', 'python', '-c'),
    'import tensorflow_datasets as tfds; tfds.builder('
    f"'cifar100', data_dir='{tmp_path}', file_format='array_record')"
    '.download_and_prepare()',
  ]


def test_the_command_leaves_the_default_folder_out(
  tmp_path, tensorflow, monkeypatch
):
  tensorflow(False)
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  with pytest.raises(InputError, match=f'not in {tmp_path}/eurosat, ') as error:
    load(DataConfig(name='eurosat'))
  assert "tfds.builder('eurosat', file_format=" in str(error.value)


def test_the_command_is_safe_to_paste(tmp_path, tensorflow):
  tensorflow(False)
  message = refused('not in', 'cifar10', tmp_path / "it's $HOME")
  code = shlex.split(message[message.index('pip install') :])[-1]
  compile(code, 'command', 'exec')
  assert f'{tmp_path}/it\'s $HOME"' in code


def test_without_network_the_command_is_named_at_once(tmp_path, tensorflow):
  tensorflow(True)
  start = time.monotonic()
  refused('not in .*does not answer, nor are .*: where', 'cifar100', tmp_path)
  assert time.monotonic() - start < 10


def test_a_silent_server_is_given_up_on():
  with socket.create_server((LOCALHOST, 0)) as server:
    start = time.monotonic()
    assert not answers(f'http://{LOCALHOST}:{server.getsockname()[1]}', 0.2)
    assert time.monotonic() - start < 3


def test_a_name_that_is_looked_up_for_long_is_given_up_on(monkeypatch):
  looked_up = threading.Event()

  def hang(*arguments, **options):
    looked_up.set()
    time.sleep(5)
    raise OSError

  monkeypatch.setattr(socket, 'getaddrinfo', hang)
  start = time.monotonic()
  assert not answers('http://nowhere.invalid', 0.2)
  assert time.monotonic() - start < 3
  assert looked_up.is_set()


def test_any_answer_is_a_network():
  class Silent(http.server.BaseHTTPRequestHandler):
    """Knows no GET: 501, "unsupported method"."""

    def log_message(self, format, *args):
      pass

  with http.server.HTTPServer((LOCALHOST, 0), Silent) as server:
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    assert answers(f'http://{LOCALHOST}:{server.server_port}', 5)
    thread.join()


def test_a_missing_set_is_prepared_where_that_can_be_done(
  write_set, tmp_path, tensorflow, monkeypatch
):
  tensorflow(True)

  class Builder:
    data_dir = str(tmp_path / 'cifar100/1.0.0')

    def __init__(self, name, *, data_dir, file_format):
      assert (name, data_dir) == ('cifar100', tmp_path)
      assert file_format == 'array_record'

    def download_and_prepare(self):
      write_set('cifar100', splits={})

  monkeypatch.setattr(tfds, 'builder', Builder)
  builder = open_builder('cifar100', str(tmp_path), online=lambda: True)
  assert builder.name == 'cifar100'


def test_archives_laid_by_hand_are_tried_without_network(
  write_set, tmp_path, tensorflow, monkeypatch
):
  tensorflow(True)
  (tmp_path / 'downloads/manual').mkdir(parents=True)
  (tmp_path / 'downloads/manual/EuroSAT.zip').touch()

  class Builder:
    data_dir = str(tmp_path / 'eurosat/1.0.0')

    def __init__(self, name, **options):
      pass

    def download_and_prepare(self):
      write_set('eurosat', splits={})

  monkeypatch.setattr(tfds, 'builder', Builder)
  builder = open_builder('eurosat', str(tmp_path), online=lambda: False)
  assert builder.name == 'eurosat'


def test_a_failed_preparation_is_one_line(tmp_path, tensorflow, monkeypatch):
  tensorflow(True)

  def builder(*arguments, **options):
    raise AssertionError('Manual directory is missing.\nPut files there.')

  monkeypatch.setattr(tfds, 'builder', builder)
  refused(
    r'could not prepare cifar100 in .*\(Manual directory is missing.\): to see '
    'more, run pip',
    'cifar100',
    tmp_path,
    online=lambda: True,
  )


def test_near_names_are_named(write_set, tmp_path):
  message = refused("unknown data.name 'cifar_10': did", 'cifar_10', tmp_path)
  assert 'did you mean cifar10 or ' in message
  assert 'known are digits, npz, folder, parquet, hf, tiny_' in message
  assert len(message) < 400
  refused('did you mean folder', 'foldr', tmp_path)
  refused("unknown data.name 'qqqqq': known", 'qqqqq', tmp_path / 'none')
  write_set('my_own_set', splits={})
  refused(r'did you mean my_own_set\?', 'my_own_sets', tmp_path)


def test_tfrecord_is_refused(write_set, tmp_path):
  folder = write_set('cifar10', splits={}, file_format='tfrecord')
  refused(
    f'{folder} is prepared as tfrecord, which only TensorFlow reads: move it '
    'away and run pip install tensorflow && ',
    'cifar10',
    tmp_path,
  )


def test_a_builder_of_ones_own_is_not_known_to_tfds(write_set, tmp_path):
  write_set('mine', splits={}, file_format='tfrecord')
  message = refused('let its own builder prepare it again', 'mine', tmp_path)
  assert "download_and_prepare(file_format='array_record')" in message
  assert 'pip install' not in message


@pytest.mark.parametrize('file', ['dataset_info.json', 'features.json'])
def test_broken_descriptions_are_refused(write_set, tmp_path, file):
  folder = write_set('shapes', splits={})
  (folder / file).write_text('{\n')
  refused(rf'{folder} cannot be read \(.*\): delete it', 'shapes', tmp_path)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
  refused('cannot be imported .*: pip install tensor', 'cifar10', tmp_path)
