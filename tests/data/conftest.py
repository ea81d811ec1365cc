"""Writes small tfds sets, as `download_and_prepare` leaves them."""

import json

import pytest


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
