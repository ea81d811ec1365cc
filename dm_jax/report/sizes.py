"""What a run's sets take to store."""

import math
import statistics

from dm_jax.records.results import Results
from dm_jax.report.table import shown
from dm_jax.words import format_bytes

JPEG = 'random_jpeg'
NOTE = (
  'Bytes: of the stored images without labels, 8 bits per value; of random JPEG'
  ' its files.'
)


def stored_bytes(
  results: Results, method: str, per_class: int | None
) -> float | None:
  """Returns the bytes of the images of one set, if they are known.

  Args:
    results: of the run.
    method: that made the set.
    per_class: its stored images per class; None for the whole set.

  Returns:
    Those of the images as they are stored, with 8 bits per value; the mean over
    all sets of those of random_jpeg, as files.
  """
  if method == JPEG:
    return _mean([files.bytes for files in results.jpeg.values()])
  data = results.data
  images = data.train_images
  if per_class is not None:
    images = None if data.classes is None else per_class * data.classes
    if method == results.method and per_class == results.images_per_class:
      images = results.stored_images or images
  if images is None or not data.image_shape:
    return None
  return images * math.prod(data.image_shape)


def shown_bytes(results: Results, method: str, per_class: int | None) -> str:
  """Returns `stored_bytes` as a cell of a table."""
  return shown(stored_bytes(results, method, per_class), format_bytes)


def jpeg_images(results: Results) -> float | None:
  """Returns the images of a set of random_jpeg, the mean over all sets."""
  return _mean([files.images for files in results.jpeg.values()])


def _mean(values: list[int]) -> float | None:
  return statistics.fmean(values) if values else None
