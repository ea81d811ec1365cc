"""Reads the set that a `DataConfig` names, from any of the sources."""

import dataclasses

from dm_jax.arguments import check_type
from dm_jax.config.sections import DataConfig
from dm_jax.data.cache import load_cached
from dm_jax.data.class_data import WHOLE, Dataset, Part
from dm_jax.data.source import Source, read_dataset
from dm_jax.data.statistics import Statistics, check_name, published
from dm_jax.errors import InputError


def load(config: DataConfig, part: Part = WHOLE) -> Dataset:
  """Reads a training and a test set.

  Args:
    config: `name` is digits, npz, folder, parquet, hf or hf:NAME, a set of the
      paper, and a tensorflow_datasets name otherwise; `dir` and `resize` as the
      source needs them; `cache` is where decoded images are kept and mapped,
      for sets that no memory holds.
    part: the classes whose training images are read, `ClassData.held`. The
      test set is read whole.

  Returns:
    The training set by class and the test set, as NumPy arrays, normalised by
    `data.statistics`, else by what is published for a set of this name, else
    by the training images' own statistics, those of all processes.

  Raises:
    InputError: one line naming what is wrong, where, and the remedy.

  Example:
    >>> load(DataConfig(name='digits')).train.image_shape
    (8, 8, 1)
  """
  check_type('config', config, DataConfig)
  if config.statistics is not None:
    check_name(config.statistics)
  # Resized images have other statistics than those that are published.
  own_name = config.name if config.resize is None else ''
  statistics = published(config.statistics or own_name)
  source = _source(config)
  if config.cache is not None:
    return _load_cached(config, source, part, statistics)
  contents = source.open()
  _check_channels(statistics, contents.image_shape[-1])
  return read_dataset(contents, part, statistics)


def _load_cached(
  config: DataConfig, source: Source, part: Part, given: Statistics | None
) -> Dataset:
  assert config.cache is not None
  dataset = load_cached(config.cache, config.name, config.resize, source, part)
  _check_channels(given, dataset.train.image_shape[-1])
  mean, std = given or (dataset.train.mean, dataset.train.std)
  train = dataclasses.replace(dataset.train, mean=mean, std=std)
  return dataclasses.replace(dataset, train=train)


def _check_channels(statistics: Statistics | None, channels: int) -> None:
  if statistics is not None and len(statistics[0]) != channels:
    raise InputError(
      f'data.statistics has {len(statistics[0])} channels, the images have'
      f' {channels}: leave it out to compute them'
    )


def _source(config: DataConfig) -> Source:
  kind = 'hf' if config.name.startswith('hf:') else config.name
  if kind in ('digits', 'npz') and config.resize is not None:
    raise InputError(
      f'data.resize must be None for data.name={config.name}, got '
      f'{config.resize}: only image files can be resized'
    )
  return _SOURCES.get(kind, _named)(config)


# Each source is imported where it is used, with the packages that it needs:
# `import dm_jax` must stay quick and must not need them.


def _digits(config: DataConfig) -> Source:
  from dm_jax.data import digits

  return digits.source()


def _npz(config: DataConfig) -> Source:
  from dm_jax.data import npz

  return npz.source(config.dir)


def _folder(config: DataConfig) -> Source:
  from dm_jax.data import folder

  return folder.source(config.dir, config.resize)


def _parquet(config: DataConfig) -> Source:
  from dm_jax.data import parquet

  return parquet.source(config.dir, config.resize)


def _hugging_face(config: DataConfig) -> Source:
  from dm_jax.data import hugging_face

  name = config.name.partition(':')[2]
  return hugging_face.source(name, config.dir, config.resize)


def _named(config: DataConfig) -> Source:
  """A set of the paper, or another one of tfds."""
  from dm_jax.data import paper_sets, tfds_source

  module = paper_sets if config.name in paper_sets.SETS else tfds_source
  return module.source(config.name, config.dir, config.resize)


_SOURCES = {
  'digits': _digits,
  'npz': _npz,
  'folder': _folder,
  'parquet': _parquet,
  'hf': _hugging_face,
}
