"""Any image-classification set of tensorflow_datasets, without TensorFlow.

tfds reads array_record files with NumPy alone. TensorFlow is only needed to
prepare them, once: see `tfds_prepare`.
"""

from collections.abc import Callable, Iterator
import dataclasses
import functools
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dm_jax.data.source import Contents, Source, Stored, first_labelled
from dm_jax.data.tfds_prepare import FORMAT, import_tfds, open_builder
from dm_jax.errors import InputError, first_line
from dm_jax.images.pictures import decode_image

_RECORDS = 1000  # Read at a time: encoded images are small beside pixels.


class _Layout(NamedTuple):
  """What to read from each record, and the pixels that it must give."""

  image: str
  label: str
  shape: tuple[int, int, int]
  resize: int | None


def source(
  name: str, directory: str | None = None, resize: int | None = None
) -> Source:
  """Finds the splits train and test, or validation where test has no labels.

  A set that is not on disk is downloaded and prepared if TensorFlow is
  installed and the network answers.

  Args:
    name: as tfds writes it, e.g. cifar10 or imagenet_resized/64x64; or any set
      on disk that no builder is registered for.
    directory: tfds's data_dir; None is $TFDS_DATA_DIR or ~/tensorflow_datasets.
    resize: pixels; images are resized to resize × resize, bicubic, with
      antialiasing. None takes them as they are, all of one size.

  Returns:
    The source; opened, it has read all labels.

  Raises:
    InputError: naming the folder looked in and the command that prepares the
      set, or what the set lacks.
  """
  builder = open_builder(name, directory)
  layout = _layout(builder, name, resize)
  splits = _splits(builder, name)
  return Source(
    # What would replace the test set goes with the version, as it does.
    state=functools.partial(_state, builder, splits[:2]),
    open=functools.partial(_open, builder, name, splits, layout),
  )


def _state(builder, splits: tuple[str, ...]) -> str:
  """Returns the set's folder, version, and the size of its splits."""
  sizes = [
    (split, info.num_examples, info.num_bytes)
    for split, info in ((s, builder.info.splits[s]) for s in splits)
  ]
  return f'{Path(builder.data_dir).resolve()} {builder.info.version} {sizes}'


def _open(
  builder, name: str, splits: tuple[str, ...], layout: _Layout
) -> Contents:
  def labels(split: str) -> np.ndarray:
    decode = functools.partial(_label, key=layout.label)
    return np.fromiter(_values(_Records(builder, split), decode), np.int64)

  def stored(split: str, numbers: np.ndarray) -> Stored:
    records = _Records(builder, split)

    def read(rows: np.ndarray) -> np.ndarray:
      images = np.empty((len(rows), *layout.shape), np.uint8)
      decode = functools.partial(_pixels, layout=layout)
      values = _values(records, decode, rows)
      for target, pixels in zip(images, values, strict=True):
        target[...] = pixels
      return images

    return Stored(numbers, read)

  train, *tests = splits
  of_train = labels(train)
  candidates = ((f'{name}, {test}', labels(test), test) for test in tests)
  test, of_test, notes = first_labelled(candidates, layout.label)
  names = builder.info.features[layout.label].names
  return Contents(
    stored(train, of_train), stored(test, of_test), layout.shape, names, notes
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


def _splits(builder, name: str) -> tuple[str, ...]:
  """Returns the training split, and those that may be the test set."""
  splits = builder.info.splits
  tests = [test for test in ('test', 'validation') if test in splits]
  if 'train' not in splits or not tests:
    raise InputError(
      f'{name} must have the splits train and test or validation, it has '
      f'{", ".join(splits) or "none"}: choose another set'
    )
  return 'train', *tests


@dataclasses.dataclass(frozen=True)
class _Records:
  """The records of a split."""

  builder: Any
  split: str

  @functools.cached_property
  def source(self):
    return self.builder.as_data_source(
      self.split,
      deserialize_method=import_tfds().decode.DeserializeMethod.RAW_BYTES,
      file_format=FORMAT,
    )

  def features(self, rows: np.ndarray | None) -> Iterator[Any]:
    """Yields the features by name, as they are stored; None is all rows."""
    from tensorflow_datasets.proto import tf_example_pb2
    from tqdm import tqdm

    # Parsed here: tfds takes six times as long, and would decode images with
    # OpenCV where that is installed, to other pixels. In one thread: several
    # are slower on small images, whose time goes by under the interpreter's
    # lock.
    proto: Any = tf_example_pb2
    wanted = range(len(self.source)) if rows is None else rows.tolist()
    # disable=None: no bar unless standard error is a terminal.
    for start in tqdm(
      range(0, len(wanted), _RECORDS),
      desc=f'{self.split} labels, thousands',
      delay=1,
      disable=None if rows is None else True,
    ):
      some = wanted[start : start + _RECORDS]
      for record in self.source.__getitems__(some):
        yield proto.Example.FromString(record).features.feature


def _values(
  records: _Records,
  decode: Callable[[Any], Any],
  rows: np.ndarray | None = None,
) -> Iterator[Any]:
  """Yields decode(features) of the records in some rows; None is in all."""
  try:
    yield from map(decode, records.features(rows))
  except Exception as error:
    # array_record raises RuntimeError, protobuf and Pillow their own types.
    raise InputError(
      f'{records.builder.data_dir}: the records of {records.split} cannot be '
      f'read ({first_line(error)}): delete the folder and prepare the set again'
    ) from error


def _label(features, key: str) -> int:
  if key not in features:
    raise ValueError(f'a record has no {key}')
  (label,) = features[key].int64_list.value
  return label


def _pixels(features, layout: _Layout) -> np.ndarray:
  """Returns uint8 [H, W, D] of the expected shape."""
  if layout.image not in features:
    raise ValueError(f'a record has no {layout.image}')
  (encoded,) = features[layout.image].bytes_list.value
  pixels = decode_image(
    io.BytesIO(encoded), channels=layout.shape[-1], resize=layout.resize
  )
  if pixels.shape != layout.shape:
    raise ValueError(f'an image is {pixels.shape}, not {layout.shape}')
  return pixels
