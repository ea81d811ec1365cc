"""Image sets from four sources, all as one `Dataset`.

`load` reads what a `DataConfig` names; `ClassData.from_arrays` and
`Dataset.from_arrays` take arrays that are already in memory.
"""

from dm_jax.config import DataConfig
from dm_jax.data.arrays import channel_statistics, check_images, check_labels
from dm_jax.data.class_data import (
  ClassData,
  Dataset,
  denormalise,
  fingerprint,
  normalise,
)
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
    The training set by class and the test set, as NumPy arrays.

  Raises:
    InputError: one line naming what is wrong, where, and the remedy.

  Example:
    >>> load(DataConfig(name='digits')).train.image_shape
    (8, 8, 1)
  """
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
