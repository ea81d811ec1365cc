import numpy as np

from dm_jax.config.sections import DataConfig
from dm_jax.data.digest import fingerprint
from dm_jax.data.load import load


def test_the_digits_are_split_once_and_evenly():
  dataset = load(DataConfig(name='digits'))
  train = dataset.train
  assert train.images.dtype == np.uint8
  assert train.image_shape == (8, 8, 1)
  assert train.class_names == tuple('0123456789')
  assert int(train.counts.sum()) == 1437
  assert dataset.test_images.shape == (360, 8, 8, 1)
  assert dataset.test_labels.shape == (360,)
  # 1,797 digits, 174 to 183 a class: a fifth is 35 to 37 each.
  test_counts = np.bincount(dataset.test_labels)
  assert test_counts.min() >= 34
  assert test_counts.max() <= 37
  assert np.sum(train.counts + test_counts) == 1797


def test_the_levels_span_the_bytes():
  dataset = load(DataConfig(name='digits'))
  # round(v · 255 / 16): 1 -> 16, 8 -> 128 (127.5 to even), 16 -> 255.
  levels = np.unique(dataset.test_images)
  assert len(levels) == 17
  assert levels[[0, 1, 8, 16]].tolist() == [0, 16, 128, 255]


def test_the_split_is_always_the_same():
  np.random.seed(1)  # noqa: NPY002
  first = fingerprint(load(DataConfig(name='digits')))
  np.random.seed(2)  # noqa: NPY002
  assert fingerprint(load(DataConfig(name='digits'))) == first
