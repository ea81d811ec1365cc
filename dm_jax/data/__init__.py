"""Image sets from four sources, all as one `Dataset`.

`load` reads what a `DataConfig` names; `ClassData.from_arrays` and
`Dataset.from_arrays` take arrays that are already in memory.
"""

import dataclasses

from dm_jax.config import DataConfig
from dm_jax.data.arrays import channel_statistics, check_images, check_labels
from dm_jax.data.class_data import (
  ClassData,
  Dataset,
  denormalise,
  fingerprint,
  normalise,
)
from dm_jax.data.statistics import check_name, published
from dm_jax.types import InputError

__all__ = [
  'ClassData',
  'Dataset',
  'channel_statistics',
  'check_images',
  'check_labels',
  'denormalise',
  'fingerprint',
  'load',
  'normalise',
]


def load(config: DataConfig) -> Dataset:
  """Reads a training and a test set.

  Args:
    config: `name` is digits, npz or folder, and a tensorflow_datasets name
      otherwise; `dir` and `resize` as the source needs them.

  Returns:
    The training set by class and the test set, as NumPy arrays, normalised by
    `data.statistics`, else by what is published for a set of this name, else
    by the training images' own statistics.

  Raises:
    InputError: one line naming what is wrong, where, and the remedy.

  Example:
    >>> load(DataConfig(name='digits')).train.image_shape
    (8, 8, 1)
  """
  if config.statistics is not None:
    check_name(config.statistics)
  dataset = _load_source(config)
  # Resized images have other statistics than those that are published.
  own_name = config.name if config.resize is None else ''
  statistics = published(config.statistics or own_name)
  if statistics is None:
    return dataset
  return _with_statistics(dataset, *statistics)


def _with_statistics(dataset: Dataset, mean, std) -> Dataset:
  channels = dataset.train.image_shape[-1]
  if len(mean) != channels:
    raise InputError(
      f'data.statistics has {len(mean)} channels, the images have {channels}:'
      ' leave it out to compute them'
    )
  train = dataclasses.replace(dataset.train, mean=mean, std=std)
  return dataclasses.replace(dataset, train=train)


def _load_source(config: DataConfig) -> Dataset:
  # Each source is imported where it is used, with the packages that it needs:
  # `import dm_jax` must stay quick and must not need them.
  if config.name in ('digits', 'npz') and config.resize is not None:
    raise InputError(
      f'data.resize must be None for data.name={config.name}, got '
      f'{config.resize}: only image files can be resized'
    )
  if config.name == 'digits':
    from dm_jax.data import digits

    return digits.load()
  if config.name == 'npz':
    from dm_jax.data import npz

    return npz.load(config.dir)
  if config.name == 'folder':
    from dm_jax.data import folder

    return folder.load(config.dir, config.resize)
  from dm_jax.data import tfds_source

  return tfds_source.load(config.name, config.dir, config.resize)
