import io
import os
import pathlib

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from dm_jax.config.sections import DataConfig
from dm_jax.data.arrays import channel_statistics
from dm_jax.data.load import load
from dm_jax.data.tfds_source import source
from dm_jax.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
DATA = pathlib.Path(
  os.environ.get('DM_JAX_TEST_DATA', ROOT.parent / 'shared' / 'tfds')
)
IMAGE = tfds.features.Image(shape=(4, 4, 1))
NOISE = np.random.default_rng(0).integers(0, 256, (99, 99))
LABEL = tfds.features.ClassLabel(names=['disc', 'star'])


def read(folder, name='shapes', resize=None):
  return load(DataConfig(name=name, dir=str(folder), resize=resize))


def read_real(name):
  if not (DATA / name).is_dir():
    pytest.skip(f'no real images: {DATA / name} is absent')
  return read(DATA, name)


def encode(pixels, file_format='PNG'):
  file = io.BytesIO()
  Image.fromarray(np.asarray(pixels, np.uint8)).save(file, file_format)
  return file.getvalue()


def grey(level, label, size=4):
  return {'image': encode(np.full((size, size), level)), 'label': label}


def both(*records):
  """The same records as training and as test split."""
  return {'train': records, 'test': records}


def firsts(images):
  return images[..., 0, 0, 0].tolist()


def refused(folder, message, **options):
  with pytest.raises(InputError, match=message) as error:
    read(folder, **options)
  assert '\n' not in str(error.value)


def test_a_set_is_read_by_class(write_set, tmp_path):
  write_set(
    splits={
      'train': [grey(10, 1), grey(20, 0), grey(30, 1)],
      'test': [grey(40, 0)],
    }
  )
  dataset = read(tmp_path)
  assert firsts(dataset.train.images) == [[20, 0], [10, 30]]
  assert dataset.train.class_names == ('disc', 'star')
  assert dataset.train.mean == (20 / 255,)
  assert firsts(dataset.test_images) == [40]
  assert dataset.test_labels.tolist() == [0]


def test_validation_stands_in_for_test(write_set, tmp_path):
  records = [grey(1, 0), grey(2, 1)]
  write_set(splits={'train': records, 'validation': records[1:]})
  assert firsts(read(tmp_path).test_images) == [2]


def test_test_goes_before_validation(write_set, tmp_path):
  records = [grey(1, 0), grey(2, 1)]
  write_set(splits=both(*records) | {'validation': records[1:]})
  assert firsts(read(tmp_path).test_images) == [1, 2]
  # What is kept of it need not be decoded anew for a split that is not read.
  assert 'validation' not in source('shapes', str(tmp_path)).state()


def test_more_records_than_are_read_at_a_time(write_set, tmp_path):
  levels = [i % 256 for i in range(1003)]  # A thousand, and three.
  records = [grey(level, i % 2) for i, level in enumerate(levels)]
  write_set(splits={'train': records, 'test': records[:3]})
  dataset = read(tmp_path)
  assert firsts(dataset.train.images)[0] == levels[::2]
  assert firsts(dataset.train.images)[1][:-1] == levels[1::2]
  assert firsts(dataset.test_images) == [0, 1, 2]


def test_the_usual_names_are_preferred(write_set, tmp_path):
  other = tfds.features.ClassLabel(names=['x', 'y', 'z'])
  features = {'image': IMAGE, 'mask': IMAGE, 'label': LABEL, 'coarse': other}
  extra = {'mask': encode(np.zeros((4, 4))), 'coarse': 2}
  write_set(
    features=features, splits=both(grey(5, 0) | extra, grey(6, 1) | extra)
  )
  dataset = read(tmp_path)
  assert firsts(dataset.train.images) == [[5], [6]]
  assert dataset.train.class_names == ('disc', 'star')


def test_a_single_feature_may_have_any_name(write_set, tmp_path):
  records = [
    {'picture': record['image'], 'shape': record['label'], 'id': b'?'}
    for record in (grey(5, 0), grey(6, 1))
  ]
  features = {'picture': IMAGE, 'shape': LABEL, 'id': tfds.features.Text()}
  write_set(features=features, splits=both(*records))
  assert firsts(read(tmp_path).train.images) == [[5], [6]]


def test_grey_files_of_a_coloured_set_become_rgb(write_set, tmp_path):
  features = {'image': tfds.features.Image(shape=(4, 4, 3)), 'label': LABEL}
  write_set(features=features, splits=both(grey(5, 0), grey(6, 1)))
  assert read(tmp_path).train.images[1, 0, 0, 0].tolist() == [6, 6, 6]


def test_resized_images_have_their_own_statistics(write_set, tmp_path):
  write_set('mnist', splits=both(grey(51, 0), grey(51, 1, size=6)))
  train = read(tmp_path, 'mnist', resize=2).train
  assert train.image_shape == (2, 2, 1)
  assert (train.mean, train.std) == ((0.2,), (1.0,))


def test_several_sizes_need_resize(write_set, tmp_path):
  image = tfds.features.Image(shape=(None, None, 1))
  write_set(
    features={'image': image, 'label': LABEL},
    splits=both(grey(5, 0), grey(6, 1, size=9)),
  )
  refused(tmp_path, 'shapes has images of several sizes: .*data.resize=64')
  assert firsts(read(tmp_path, resize=4).train.images) == [[5], [6]]


def test_a_missing_label_is_named(write_set, tmp_path):
  features = {'image': IMAGE, 'level': tfds.features.Scalar(np.int64)}
  write_set(features=features, splits=both())
  refused(tmp_path, 'must have one label, it has none among image, level')


def test_a_missing_image_is_named(write_set, tmp_path):
  write_set(features={'label': LABEL}, splits=both())
  refused(tmp_path, 'must have one image, it has none among label')


def test_several_images_are_named(write_set, tmp_path):
  features = {'left': IMAGE, 'right': IMAGE, 'label': LABEL}
  write_set(features=features, splits=both())
  refused(tmp_path, 'must have one image, it has left, right among')


@pytest.mark.parametrize(
  ('shape', 'dtype', 'message'),
  [
    ((4, 4, 4), np.uint8, 'images of 4 channels, uint8: choose'),
    ((4, 4, 1), np.uint16, 'images of 1 channels, uint16: choose'),
  ],
)
def test_other_pixels_are_refused(write_set, tmp_path, shape, dtype, message):
  image = tfds.features.Image(shape=shape, dtype=dtype)
  write_set(features={'image': image, 'label': LABEL}, splits=both())
  refused(tmp_path, message)


@pytest.mark.parametrize(
  ('splits', 'message'),
  [
    (['test'], 'the splits train and test or validation, it has test:'),
    (['train', 'extra'], 'test or validation, it has train, extra:'),
  ],
)
def test_missing_splits_are_named(write_set, tmp_path, splits, message):
  write_set(splits={split: [grey(1, 0)] for split in splits})
  refused(tmp_path, message)


def test_validation_is_taken_for_an_unlabelled_test_split(write_set, tmp_path):
  write_set(
    splits={
      'train': [grey(1, 0), grey(2, 1)],
      'test': [grey(3, -1), grey(4, -1)],
      'validation': [grey(5, 1)],
    }
  )
  dataset = read(tmp_path)
  assert firsts(dataset.test_images) == [5]
  assert dataset.test_labels.tolist() == [1]
  assert dataset.notes == (
    'shapes, test is unlabelled: the test set is shapes, validation',
  )


@pytest.mark.parametrize('tests', [['test'], ['test', 'validation']])
def test_unlabelled_images_are_refused(write_set, tmp_path, tests):
  train = [grey(1, 0), grey(2, 1)]
  write_set(splits={'train': train} | {test: [grey(3, -1)] for test in tests})
  where = ' and '.join(f'shapes, {test}' for test in tests)
  refused(
    tmp_path, f'^{where}: the test split is unlabelled, every label is -1'
  )


def test_some_images_without_a_label_are_refused(write_set, tmp_path):
  train = [grey(1, 0), grey(2, 1)]
  write_set(splits={'train': train, 'test': [grey(3, -1), grey(4, 0)]})
  refused(tmp_path, 'test_labels must be at least 0, got -1')


def test_a_class_without_images_is_named(write_set, tmp_path):
  write_set(splits=both(grey(1, 0)))
  refused(tmp_path, r'class 1 \(star\) of 2 has no images')


@pytest.mark.parametrize(
  ('record', 'message'),
  [
    ({'image': b'no image', 'label': 0}, 'not a PNG, JPEG or WebP image'),
    ({'image': encode(NOISE)[:500], 'label': 0}, 'truncated'),
    ({'image': encode(np.zeros((5, 4))), 'label': 0}, r'is \(5, 4, 1\), not'),
    ({'image': encode(np.zeros((4, 4)))}, 'a record has no label'),
    ({'label': 0}, 'a record has no image'),
  ],
)
def test_broken_records_are_refused(write_set, tmp_path, record, message):
  folder = write_set(
    splits={'train': [grey(1, 1), record], 'test': [grey(1, 0)]}
  )
  refused(
    tmp_path, f'{folder}: the records of train cannot be read .*{message}'
  )


@pytest.mark.parametrize('damage', ['half', 'empty', 'zeros', 'missing'])
def test_damaged_files_are_refused(write_set, tmp_path, damage):
  folder = write_set(splits=both(grey(1, 0), grey(2, 1)))
  file = folder / 'shapes-train.array_record-00000-of-00001'
  content = file.read_bytes()
  if damage == 'missing':
    file.unlink()
  else:
    damaged = {'half': content[: len(content) // 2], 'empty': b''}
    file.write_bytes(damaged.get(damage, bytes(len(content))))
  refused(
    tmp_path,
    f'{folder}: the records of train cannot be read .*: delete the folder',
  )


def test_mnist():
  dataset = read_real('mnist')
  train = dataset.train
  assert train.counts.tolist() == [
    *(5923, 6742, 5958, 6131, 5842),
    *(5421, 5918, 6265, 5851, 5949),
  ]
  assert train.counts.sum() == 60_000
  assert train.images.shape == (10, 6742, 28, 28, 1)
  assert train.class_names == tuple('0123456789')
  assert (train.mean, train.std) == ((0.1307,), (0.3081,))
  # The constants are the set's own statistics: nothing is lost or padded in.
  real = np.arange(train.images.shape[1]) < train.counts[:, None]
  own = channel_statistics(train.images[real])
  np.testing.assert_allclose(own, (train.mean, train.std), atol=5e-5)
  assert dataset.test_images.shape == (10_000, 28, 28, 1)
  assert np.bincount(dataset.test_labels).tolist() == [
    *(980, 1135, 1032, 1010, 982),
    *(892, 958, 1028, 974, 1009),
  ]


def test_cifar10():
  dataset = read_real('cifar10')
  train = dataset.train
  assert train.counts.tolist() == [5000] * 10
  assert train.images.shape == (10, 5000, 32, 32, 3)
  assert train.class_names == (
    *('airplane', 'automobile', 'bird', 'cat', 'deer'),
    *('dog', 'frog', 'horse', 'ship', 'truck'),
  )
  assert train.std == (0.2023, 0.1994, 0.2010)
  assert np.bincount(dataset.test_labels).tolist() == [1000] * 10
  assert dataset.test_images.shape == (10_000, 32, 32, 3)
  mean, _ = channel_statistics(dataset.test_images)
  np.testing.assert_allclose(mean, train.mean, atol=0.005)


def test_tiny_imagenet_20_has_no_registered_builder():
  dataset = read_real('tiny_imagenet_20')
  train = dataset.train
  assert train.counts.tolist() == [500] * 20
  assert train.image_shape == (64, 64, 3)
  assert train.class_names[0] == 'n01443537'
  assert train.mean == (0.485, 0.456, 0.406)
  assert dataset.test_images.shape == (1000, 64, 64, 3)
  assert np.bincount(dataset.test_labels).tolist() == [50] * 20
