"""Any image-classification set of tensorflow_datasets, without TensorFlow.

tfds reads array_record files with NumPy alone. TensorFlow is only needed to
prepare them, once: see `tfds_prepare`.
"""

import io
from typing import Any, NamedTuple

import numpy as np

from dm_jax.data.class_data import Dataset
from dm_jax.data.files import decode_image, one_line
from dm_jax.data.tfds_prepare import FORMAT, import_tfds, open_builder
from dm_jax.types import InputError

_RECORDS = 1000  # Read at a time: encoded images are small beside pixels.


class _Layout(NamedTuple):
  """What to read from each record, and the pixels that it must give."""

  image: str
  label: str
  shape: tuple[int, int, int]
  resize: int | None


def load(
  name: str, directory: str | None = None, resize: int | None = None
) -> Dataset:
  """Reads the splits train and test, or validation where there is no test.

  A set that is not on disk is downloaded and prepared if TensorFlow is
  installed and the network answers.

  Args:
    name: as tfds writes it, e.g. cifar10 or imagenet_resized/64x64; or any set
      on disk that no builder is registered for.
    directory: tfds's data_dir; None is $TFDS_DATA_DIR or ~/tensorflow_datasets.
    resize: pixels; images are resized to resize × resize, bicubic, with
      antialiasing. None takes them as they are, all of one size.

  Returns:
    Both sets, with the training set's own statistics.

  Raises:
    InputError: naming the folder looked in and the command that prepares the
      set, or what the set lacks.
  """
  builder = open_builder(name, directory)
  layout = _layout(builder, name, resize)
  train, test = _splits(builder, name)
  train_images, train_labels = _read(builder, train, layout)
  test_images, test_labels = _read(builder, test, layout)
  return Dataset.from_arrays(
    train_images,
    train_labels,
    test_images,
    test_labels,
    class_names=builder.info.features[layout.label].names,
  )


def _layout(builder, name: str, resize: int | None) -> _Layout:
  """Returns what to read, having seen that it is one image and one label."""
  kinds = import_tfds().features
  features = builder.info.features
  if not isinstance(features, kinds.FeaturesDict):
    raise InputError(f'{name} has no named features: choose another set')
  image = _feature(name, features, kinds.Image, 'image')
  label = _feature(name, features, kinds.ClassLabel, 'label')
  feature: Any = features[image]
  height, width, channels = feature.shape
  dtype = np.dtype(feature.np_dtype)
  if dtype != np.uint8 or channels not in (1, 3):
    raise InputError(
      f'{name} has images of {channels} channels, {dtype}: choose a set of '
      'uint8 grey or RGB images'
    )
  if resize is not None:
    height = width = resize
  if height is None or width is None:
    raise InputError(
      f'{name} has images of several sizes: give one, e.g. '
      '--config.data.resize=64'
    )
  return _Layout(image, label, (height, width, channels), resize)


def _feature(name: str, features, kind: type, usual: str) -> str:
  """Returns the only feature of a kind, or the one with the usual name."""
  # Sorted: tfds keeps no order of its own.
  keys = sorted(k for k, value in features.items() if isinstance(value, kind))
  if usual in keys:
    return usual
  if len(keys) != 1:
    raise InputError(
      f'{name} is no image-classification set: it must have one {usual}, it '
      f'has {", ".join(keys) or "none"} among {", ".join(sorted(features))}'
    )
  return keys[0]


def _splits(builder, name: str) -> tuple[str, str]:
  """Returns the names of the training and the test split."""
  splits = builder.info.splits
  test = 'test' if 'test' in splits else 'validation'
  if 'train' not in splits or test not in splits:
    raise InputError(
      f'{name} must have the splits train and test or validation, it has '
      f'{", ".join(splits) or "none"}: choose another set'
    )
  return 'train', test


def _read(
  builder, split: str, layout: _Layout
) -> tuple[np.ndarray, np.ndarray]:
  """Returns one split's images and labels, in the order of the records."""
  try:
    return _read_records(builder, split, layout)
  except Exception as error:
    # array_record raises RuntimeError, protobuf and Pillow their own types.
    raise InputError(
      f'{builder.data_dir}: the records of {split} cannot be read '
      f'({one_line(error)}): delete the folder and prepare the set again'
    ) from error


def _read_records(
  builder, split: str, layout: _Layout
) -> tuple[np.ndarray, np.ndarray]:
  from tqdm import tqdm

  # Decoded here: tfds would decode with OpenCV where that is installed, to
  # other pixels. In one thread: several are slower on small images, whose time
  # goes by under the interpreter's lock.
  raw = {layout.image: import_tfds().decode.SkipDecoding()}
  source = builder.as_data_source(split, decoders=raw, file_format=FORMAT)
  count = len(source)
  images = np.empty((count, *layout.shape), np.uint8)
  labels = np.empty(count, np.int64)
  starts = range(0, count, _RECORDS)
  # disable=None: no bar unless standard error is a terminal.
  title = f'{builder.name} {split}, thousands'
  for start in tqdm(starts, desc=title, delay=1, disable=None):
    stop = min(start + _RECORDS, count)
    for i, record in enumerate(source.__getitems__(range(start, stop)), start):
      images[i] = _pixels(record[layout.image], layout)
      labels[i] = record[layout.label]
  return images, labels


def _pixels(encoded: bytes, layout: _Layout) -> np.ndarray:
  """Returns uint8 [H, W, D] of the expected shape."""
  pixels = decode_image(
    io.BytesIO(encoded), channels=layout.shape[-1], resize=layout.resize
  )
  if pixels.shape != layout.shape:
    raise ValueError(f'an image is {pixels.shape}, not {layout.shape}')
  return pixels
