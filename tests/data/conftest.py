"""Writes small sets; those of tfds as `download_and_prepare` leaves them."""

import http.server
import io
import json
import re
import subprocess
import sys
import threading
from typing import NamedTuple

import numpy as np
from PIL import Image
import pytest

from dm_jax.config.sections import DataConfig


def _example(fields):
  from tensorflow_datasets.proto import tf_example_pb2

  example = tf_example_pb2.Example()  # pyrefly: ignore[missing-attribute]
  for name, value in fields.items():
    feature = example.features.feature[name]
    if isinstance(value, bytes):
      feature.bytes_list.value.append(value)
    else:
      feature.int64_list.value.append(value)
  return example.SerializeToString()


def _write_records(path, records):
  from array_record.python import array_record_module

  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for record in records:
    writer.write(_example(record))
  writer.close()


def _info(name, version, splits, file_format):
  return {
    'name': name.split('/')[0],
    'version': version,
    'moduleName': 'tensorflow_datasets.core.dataset_builders.adhoc_builder',
    'fileFormat': file_format,
    'splits': [
      {
        'name': split,
        'shardLengths': [str(len(records))],
        'filepathTemplate': '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
      }
      for split, records in splits.items()
    ],
  }


@pytest.fixture
def write_set(tmp_path):
  """A function that writes a set under tmp_path and returns its folder."""

  def write(
    name='shapes',
    *,
    splits,
    features=None,
    version='1.0.0',
    file_format='array_record',
  ):
    import tensorflow_datasets as tfds

    if features is None:
      features = {
        'image': tfds.features.Image(shape=(4, 4, 1)),
        'label': tfds.features.ClassLabel(names=['disc', 'star']),
      }
    folder = tmp_path / name / version
    folder.mkdir(parents=True)
    tfds.features.FeaturesDict(features).save_config(folder)
    info = _info(name, version, splits, file_format)
    (folder / 'dataset_info.json').write_text(json.dumps(info))
    for split, records in splits.items():
      file = f'{info["name"]}-{split}.{file_format}-00000-of-00001'
      _write_records(folder / file, records)
    return folder

  return write


@pytest.fixture
def run_python(root):
  """A function that runs code in a process of its own: what it prints."""

  def run(code, *arguments):
    command = [sys.executable, '-c', code, *map(str, arguments)]
    return subprocess.check_output(command, timeout=200, cwd=root, text=True)

  return run


class Known(NamedTuple):
  """A set and what is in it; the digits are not told here."""

  config: DataConfig
  pixels: np.ndarray
  labels: np.ndarray


def _png(pixels):
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, 'PNG')
  return file.getvalue()


def _write_npz(path, names, labels, pixels):
  arrays = {
    f'{part}_{what}': array
    for part in ('train', 'test')
    for what, array in (('images', pixels), ('labels', labels))
  }
  np.savez(path, class_names=np.array(names), **arrays)


def _write_folder(root, names, labels, pixels):
  for part in ('train', 'test'):
    for i, (label, image) in enumerate(zip(labels, pixels, strict=True)):
      path = root / part / names[label] / f'{i:02}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(_png(image))


def _write_tfds(write, names, labels, pixels):
  import tensorflow_datasets as tfds

  records = [
    {'image': _png(image), 'label': int(label)}
    for label, image in zip(labels, pixels, strict=True)
  ]
  features = {
    'image': tfds.features.Image(shape=(4, 4, 3)),
    'label': tfds.features.ClassLabel(names=names),
  }
  write(features=features, splits={'train': records, 'test': records})


@pytest.fixture(params=['digits', 'npz', 'folder', 'tfds'])
def known(request, tmp_path):
  """A set of each source, four classes of unequal sizes in no order."""
  labels = np.array([3, 0, 1, 1, 2, 0, 3, 3, 1, 3, 2])
  pixels = np.random.RandomState(5).randint(0, 256, (11, 4, 4, 3), np.uint8)
  contents = ['ant', 'bee', 'cat', 'dog'], labels, pixels
  name, where = request.param, tmp_path
  if name == 'digits':
    return Known(DataConfig(name), pixels[:0], labels[:0])
  if name == 'npz':
    where = tmp_path / 'set.npz'
    _write_npz(where, *contents)
  if name == 'folder':
    _write_folder(tmp_path, *contents)
  if name == 'tfds':
    name = 'shapes'
    _write_tfds(request.getfixturevalue('write_set'), *contents)
  return Known(DataConfig(name, str(where)), pixels, labels)


class Server(http.server.ThreadingHTTPServer):
  """Hands out files on this machine, well or badly.

  Attributes:
    asked: paths of the files that were asked for, in order.
    ranges: whether parts of files are handed out.
    most: bytes of a file after which the connection ends; None is all.
    stalls: whether it then falls silent instead.
  """

  daemon_threads = True

  def __init__(self, files, ranges=True, most=None, stalls=False):
    super().__init__(('127.0.0.1', 0), Handler)
    self.files, self.asked, self.starts = files, [], []
    self.ranges, self.most, self.stalls = ranges, most, stalls
    self.closing = threading.Event()

  @property
  def address(self):
    return f'http://127.0.0.1:{self.server_port}'


class Handler(http.server.BaseHTTPRequestHandler):
  def log_message(self, format, *args):
    pass

  def do_GET(self):
    server = self.server
    assert isinstance(server, Server)
    data = server.files.get(self.path[1:])
    if data is None:
      self.send_error(404)
      return
    asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
    start = int(asked[1]) if asked and server.ranges else 0
    server.asked.append(self.path)
    server.starts.append(start)
    if start >= len(data):
      self.send_error(416)
      return
    self.send_response(206 if start else 200)
    self.send_header('Content-Length', str(len(data) - start))
    self.end_headers()
    self.wfile.write(data[start : server.most])
    self.wfile.flush()
    if server.stalls:
      server.closing.wait(20)


@pytest.fixture
def serve(monkeypatch):
  """A function that starts a server of files by name."""
  monkeypatch.setenv('no_proxy', '*')
  servers = []

  def start(files, **ways):
    server = Server(files, **ways)
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    servers.append(server)
    return server

  yield start
  for server in servers:
    server.closing.set()
    server.shutdown()
    server.server_close()
