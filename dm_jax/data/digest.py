"""A digest of all data, to which every process gives its share."""

import hashlib

import numpy as np

from dm_jax.data.arrays import chunks
from dm_jax.data.class_data import WHOLE, Dataset, Part
from dm_jax.data.mapped import release

_PIECE = 2**24  # Bytes of a test set that are read at a time.


def fingerprint(dataset: Dataset, part: Part = WHOLE) -> str:
  """Returns a digest of the data, to see in a resumed run whether they changed.

  Args:
    dataset: both sets, on the host or on devices.
    part: which of the training images this process reads: what it loaded them
      with. It does not change the digest.

  Returns:
    SHA-256 in hexadecimal, over all images, labels, statistics and names.
  """
  train = dataset.train
  counts = np.asarray(train.counts).tolist()
  shapes = (train.image_shape, dataset.test_images.shape)
  static = (shapes, counts, train.mean, train.std, train.class_names)
  digest = hashlib.sha256(repr(static).encode())
  # Of classes that others hold there are zeros, so that sums are all digests.
  rows = np.zeros((train.classes, 4), np.int64)
  for label in range(*train.held_range):
    # Without the padding, and class by class: no copy of the whole set.
    images = np.asarray(train.images[label])[: counts[label]]
    rows[label] = _digest(images, counts[label])
    release(images)
  digest.update(np.ascontiguousarray(part.total(rows), '<i8').data)
  images = dataset.test_images
  for piece in chunks(images.shape, _PIECE):
    digest.update(np.ascontiguousarray(images[piece]).data)
    release(images)
  digest.update(np.ascontiguousarray(dataset.test_labels, '<i4').data)
  return digest.hexdigest()


def _digest(images: np.ndarray, count: int) -> np.ndarray:
  """Returns the SHA-256 of one class as four integers, int64."""
  digest = hashlib.sha256(f'{count} '.encode())
  digest.update(np.ascontiguousarray(images).data)
  return np.frombuffer(digest.digest(), '<i8')
