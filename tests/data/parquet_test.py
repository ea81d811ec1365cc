"""Parquet files and Hugging Face sets, read from what others write."""

import io
import json
import sys

import datasets
import numpy as np
from PIL import Image
import pyarrow
from pyarrow import parquet
import pytest

from dm_jax.config.sections import DataConfig
from dm_jax.data.load import load
from dm_jax.errors import InputError

NAMES = ['ant', 'bee', 'cat']
LABELS = {'train': [2, 0, 1, 1, 0], 'test': [1, 2]}


def pixels(split):
  count = len(LABELS[split])
  drawn = np.random.RandomState(count).randint(0, 256, (count, 6, 5, 3))
  return drawn.astype(np.uint8)


def png(image):
  file = io.BytesIO()
  Image.fromarray(image).save(file, 'PNG')
  return file.getvalue()


def plain(split, labels=None, **columns):
  """A table of bytes and labels, as anyone writes it."""
  return pyarrow.table(
    {
      'image': [png(image) for image in pixels(split)],
      'label': labels or LABELS[split],
      **columns,
    }
  )


def exported(split, image='image', label='label'):
  """A set of the package `datasets`."""
  return datasets.Dataset.from_dict(
    {
      image: [{'bytes': png(p), 'path': None} for p in pixels(split)],
      label: LABELS[split],
    },
    features=datasets.Features(
      {image: datasets.Image(), label: datasets.ClassLabel(names=NAMES)}
    ),
  )


def splits():
  found = datasets.DatasetDict()
  for split in LABELS:
    found[split] = exported(split)
  return found


def read(folder, name='parquet', **options):
  return load(DataConfig(name, str(folder), **options))


def check(dataset, names):
  assert dataset.train.class_names == tuple(names)
  train = pixels('train')
  assert dataset.train.counts.tolist() == [2, 2, 1]
  for label, rows in enumerate(([1, 4], [2, 3], [0])):
    np.testing.assert_array_equal(
      dataset.train.images[label, : len(rows)], train[rows]
    )
  np.testing.assert_array_equal(dataset.test_images, pixels('test'))
  np.testing.assert_array_equal(dataset.test_labels, LABELS['test'])


def refused(message, folder, name='parquet', **options):
  with pytest.raises(InputError, match=message) as error:
    read(folder, name, **options)
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize(
  ('train', 'test'),
  [
    ('data/train-00000-of-00001', 'data/test-00000-of-00001'),
    ('train', 'validation'),
    ('default/train/0000', 'default/test/0000'),
    ('my_train_set', 'my_val_set'),
  ],
)
def test_names_of_files_and_folders_tell_the_splits(tmp_path, train, test):
  for name, split in ((train, 'train'), (test, 'test')):
    path = tmp_path / f'{name}.parquet'
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(plain(split), path)
  check(read(tmp_path), '012')


def test_files_of_datasets_know_their_class_names(tmp_path):
  for split in LABELS:
    exported(split, 'img').to_parquet(tmp_path / f'{split}.parquet')
  check(read(tmp_path / 'train.parquet'), NAMES)


def test_a_named_file_alone_is_the_training_set(tmp_path):
  parquet.write_table(plain('train'), tmp_path / 'train_small.parquet')
  parquet.write_table(plain('train'), tmp_path / 'train_big.parquet')
  parquet.write_table(plain('test'), tmp_path / 'test.parquet')
  (tmp_path / 'old').mkdir()
  parquet.write_table(plain('test'), tmp_path / 'old/test.parquet')
  check(read(tmp_path / 'train_small.parquet'), '012')
  (tmp_path / 'test.parquet').unlink()
  refused(
    'train_small.parquet and the files beside it must .* it has train$',
    tmp_path / 'train_small.parquet',
  )


@pytest.mark.parametrize('file', ['{}-00000-of-00001', '{}/0000'])
def test_two_configurations_are_not_one_set(tmp_path, file):
  for split in LABELS:
    for configuration in ('fine', 'coarse'):
      path = tmp_path / configuration / f'{file.format(split)}.parquet'
      path.parent.mkdir(parents=True, exist_ok=True)
      parquet.write_table(plain(split), path)
  line = refused('files of train lie in several folders', tmp_path)
  assert f' {tmp_path}/coarse, {tmp_path}/fine: name one by data.dir' in line
  check(read(tmp_path / 'fine'), '012')


def test_a_file_beside_the_folder_of_its_split_is_refused(tmp_path):
  (tmp_path / 'train').mkdir()
  for name in ('train/0', 'train', 'test'):
    split = 'test' if name == 'test' else 'train'
    parquet.write_table(plain(split), tmp_path / f'{name}.parquet')
  refused(f'folders, {tmp_path}, {tmp_path}/train: name one', tmp_path)


def test_validation_is_taken_for_an_unlabelled_test_split(tmp_path):
  parquet.write_table(plain('train'), tmp_path / 'train.parquet')
  parquet.write_table(plain('test', [-1, -1]), tmp_path / 'test.parquet')
  refused('test.parquet: the test split is unlabelled, .* -1: give', tmp_path)
  parquet.write_table(plain('test'), tmp_path / 'validation.parquet')
  for _ in range(2):
    dataset = read(tmp_path, cache=str(tmp_path / 'cache'))
    check(dataset, '012')
    assert dataset.notes == (
      f'{tmp_path}/test.parquet is unlabelled: the test set is'
      f' {tmp_path}/validation.parquet',
    )


def test_an_unlabelled_test_split_of_datasets(tmp_path):
  found = splits()
  found['validation'] = found['test']
  found['test'] = found['test'].map(lambda row: {'label': -1})
  found.save_to_disk(tmp_path / 'saved')
  check(read(tmp_path / 'saved', 'hf'), NAMES)
  del found['validation']
  found.save_to_disk(tmp_path / 'unlabelled')
  refused(
    'unlabelled, test: the test split is unlabelled',
    tmp_path / 'unlabelled',
    'hf',
  )


def test_parts_and_row_groups_are_read_in_order(tmp_path):
  table = plain('train')
  for i, rows in enumerate((slice(0, 3), slice(3, 5))):
    part = table.take(list(range(5))[rows])
    path = tmp_path / f'train-0000{i}-of-00002.parquet'
    parquet.write_table(part, path, row_group_size=2)
  parquet.write_table(plain('test'), tmp_path / 'test.parquet')
  check(read(tmp_path), '012')


def test_texts_are_classes(tmp_path):
  for split, labels in LABELS.items():
    table = plain(split, [NAMES[label] for label in labels])
    parquet.write_table(table, tmp_path / f'{split}.parquet')
  check(read(tmp_path), NAMES)


def named(split, labels, names):
  """A table of Hugging Face's, whose class names are in its metadata."""
  table = plain(split, labels)
  features = {'label': {'names': names, '_type': 'ClassLabel'}}
  about = json.dumps({'info': {'features': features}})
  return table.replace_schema_metadata({'huggingface': about})


@pytest.mark.parametrize('kept', [[0, 1, 2], [1, 2], [2, 0, 1]])
def test_a_test_set_may_number_the_classes_otherwise(tmp_path, kept):
  """Each split's numbers count its own names, of those that occur in it."""
  parquet.write_table(
    named('train', LABELS['train'], NAMES), tmp_path / 'train.parquet'
  )
  labels = [kept[row % len(kept)] for row in range(len(LABELS['test']))]
  numbers = [kept.index(label) for label in labels]
  names = [NAMES[label] for label in kept]
  parquet.write_table(named('test', numbers, names), tmp_path / 'test.parquet')
  assert read(tmp_path).test_labels.tolist() == labels


def test_numbers_beside_texts_are_refused(tmp_path):
  texts = [NAMES[label] for label in LABELS['train']]
  parquet.write_table(plain('train', texts), tmp_path / 'train.parquet')
  parquet.write_table(plain('test'), tmp_path / 'test.parquet')
  refused('is a number, and those of train are texts: give texts', tmp_path)
  table = named('test', LABELS['test'], NAMES)
  parquet.write_table(table, tmp_path / 'test.parquet')
  assert read(tmp_path).test_labels.tolist() == LABELS['test']


def test_parts_that_number_the_classes_otherwise_are_refused(tmp_path):
  for part, names in enumerate((NAMES, NAMES[::-1])):
    table = named('train', LABELS['train'], names)
    parquet.write_table(table, tmp_path / f'train-0000{part}-of-00002.parquet')
  parquet.write_table(plain('test'), tmp_path / 'test.parquet')
  refused('have other class names, by which labels are numbers', tmp_path)


def test_images_are_resized(tmp_path):
  for split in LABELS:
    parquet.write_table(plain(split), tmp_path / f'{split}.parquet')
  whole = Image.fromarray(pixels('test')[0])
  np.testing.assert_array_equal(
    read(tmp_path, resize=4).test_images[0],
    np.asarray(whole.resize((4, 4), Image.Resampling.BICUBIC)),
  )


def test_a_cached_set_knows_its_files(tmp_path):
  for split in LABELS:
    parquet.write_table(plain(split), tmp_path / f'{split}.parquet')
  for _ in range(2):
    check(read(tmp_path, cache=str(tmp_path / 'cache')), '012')


def test_without_images_the_columns_are_named(tmp_path):
  for split in LABELS:
    table = plain(split).drop_columns('image')
    table = table.append_column('text', [['a'] * len(LABELS[split])])
    parquet.write_table(table, tmp_path / f'{split}.parquet')
  line = refused('must have one column of image bytes', tmp_path)
  assert line.endswith('its columns are label (int64), text (string)')


def test_two_columns_of_numbers_are_named(tmp_path):
  for split in LABELS:
    table = plain(split, size=LABELS[split]).rename_columns({'label': 'kind'})
    parquet.write_table(table, tmp_path / f'{split}.parquet')
  refused(r'one column of labels.*kind \(int64\), size \(int64\)$', tmp_path)


def test_what_is_wrong_is_one_line(tmp_path):
  refused('no folder', tmp_path / 'none')
  refused('no \\*.parquet in', tmp_path)
  parquet.write_table(plain('train'), tmp_path / 'train.parquet')
  refused('must have the splits train and test or .*it has train$', tmp_path)
  test = tmp_path / 'test.parquet'
  test.write_bytes(b'PAR1')
  refused(f'{test} cannot be read', tmp_path)
  parquet.write_table(plain('test').drop_columns('label'), test)
  refused('test.parquet has no column label', tmp_path)
  parquet.write_table(plain('test', ['ant', None]), test)
  refused('row 1 has no label', tmp_path)
  parquet.write_table(plain('test', ['ant', 'bee']), test)
  refused("label 'ant' is not among those of train", tmp_path)
  table = plain('test').set_column(0, 'image', [[b'x', None]])
  parquet.write_table(table, test)
  refused('the image of row 0 cannot be read', tmp_path)
  table = plain('test').set_column(0, 'image', [[png(pixels('test')[0]), None]])
  parquet.write_table(table, test)
  refused('row 1 has no image', tmp_path)
  small = [png(image[:3]) for image in pixels('test')]
  parquet.write_table(plain('test').set_column(0, 'image', [small]), test)
  refused('differ in size: .* is 5x6, row 0 of .* is 5x3: give', tmp_path)


def test_a_folder_must_be_named():
  with pytest.raises(InputError, match='for data.name=parquet name the folder'):
    load(DataConfig('parquet'))


def test_a_folder_that_datasets_saved(tmp_path):
  splits().save_to_disk(tmp_path / 'saved')
  for _ in range(2):
    dataset = read(tmp_path / 'saved', 'hf', cache=str(tmp_path / 'cache'))
    check(dataset, NAMES)
  assert len(list((tmp_path / 'cache').glob('hf-*'))) == 1


def test_a_folder_that_was_saved_again_is_decoded_anew(tmp_path):
  found, options = splits(), {'cache': str(tmp_path / 'cache')}
  found['train'], rows = found['train'].select([0] * 3 + [1, 2]), found['train']
  found.save_to_disk(tmp_path / 'saved')
  read(tmp_path / 'saved', 'hf', **options)
  found['train'] = rows
  found.save_to_disk(tmp_path / 'saved')
  check(read(tmp_path / 'saved', 'hf', **options), NAMES)
  assert len(list((tmp_path / 'cache').glob('hf-*'))) == 2


def test_a_set_of_the_hub(tmp_path, monkeypatch):
  asked = []

  def load_dataset(name, configuration, cache_dir):
    asked.append((name, configuration, cache_dir))
    return splits()

  monkeypatch.setattr(datasets, 'load_dataset', load_dataset)
  check(load(DataConfig('hf:someone/ants')), NAMES)
  check(load(DataConfig('hf:someone/ants:all', str(tmp_path))), NAMES)
  assert asked == [
    ('someone/ants', None, None),
    ('someone/ants', 'all', str(tmp_path)),
  ]


def test_what_the_hub_says_is_one_line(monkeypatch):
  def load_dataset(*arguments, **options):
    raise ConnectionError("Couldn't reach 'a/b' on the Hub\nTry again.")

  monkeypatch.setattr(datasets, 'load_dataset', load_dataset)
  with pytest.raises(InputError, match="a/b was .*reach 'a/b' on the Hub") as e:
    load(DataConfig('hf:a/b'))
  assert '\n' not in str(e.value)


def test_hf_alone_needs_a_folder(tmp_path):
  refused('needs a name or a folder', tmp_path / 'none', 'hf')


def test_a_missing_package_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'datasets', None)
  with pytest.raises(InputError, match="datasets, or .*'.\\[hf\\]'"):
    load(DataConfig('hf:a/b'))
