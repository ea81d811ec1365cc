"""Writes small sets; those of tfds as `download_and_prepare` leaves them."""

import io
import json
import subprocess
import sys
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
