"""What a caller's arrays must look like, checked once at the public edge."""

from collections.abc import Sequence
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dm_jax.errors import InputError, check_text, first_line
from dm_jax.types import Array

# Values converted at a time: bounds the wide temporary copy to some 20 MB.
_CHUNK_VALUES = 2**21
# 255² times as many still fits 32 bits.
_CHUNK_IMAGES = 2**16
# What is taken for rounding beyond 0 and 1; half a level is 2e-3.
_BEYOND = 1e-3
_NUMBERED = 'np.unique(labels, return_inverse=True)[1] numbers them'


def check_images(images: Any, what: str = 'images') -> Array | np.ndarray:
  """Returns images as uint8, or says what is wrong with them.

  Args:
    images: [N, H, W, D], uint8, or float in [0, 1], which is quantised to 256
      levels by rounding x * 255; up to 1e-3 beyond is taken for rounding. A JAX
      array stays on its device, anything else becomes a NumPy array.
    what: how messages call the images.

  Returns:
    uint8 [N, H, W, D]; the caller's own array if that is what it was.

  Raises:
    InputError: unless 4-D with the channels last, not empty, and uint8 or
      float, finite in [0, 1].

  Example:
    >>> check_images(np.full((1, 1, 1, 1), 0.5))
    array([[[[128]]]], dtype=uint8)
  """
  images = as_array(images, what)
  check_form(images.shape, images.dtype, what)
  if images.dtype == np.uint8:
    return images
  _check_unit_range(images, what)
  if isinstance(images, jax.Array):
    return jax.jit(_quantise)(images)
  quantised = np.empty(images.shape, np.uint8)
  for part in chunks(images.shape):
    quantised[part] = _quantise(images[part])
  return quantised


def check_form(
  shape: tuple[int, ...], dtype: Any, what: str = 'images'
) -> None:
  """Raises InputError unless images have a shape and a type that can be used.

  Args:
    shape: must be (N, H, W, D), without a 0, and not look like (N, D, H, W).
    dtype: must be uint8 or float.
    what: how messages call the images.
  """
  if dtype == np.dtype(object):
    raise InputError(
      f'{what} must form one array of numbers, got Python objects of shape '
      f'{shape}: bring them to one shape and stack them by '
      'np.stack(list(images))'
    )
  if len(shape) != 4:
    remedy = ': for one channel append an axis, images[..., None]'
    raise InputError(
      f'{what} must be [N, H, W, D], got shape {shape}'
      + (remedy if len(shape) == 3 else '')
    )
  if not math.prod(shape):
    raise InputError(
      f'{what} must hold at least one image of at least one pixel, got shape '
      f'{shape}'
    )
  if _has_channels_first(shape):
    raise InputError(
      f'{what} must be [N, H, W, D], got shape {shape}, which looks like '
      '[N, D, H, W]: move the channels last by images.transpose(0, 2, 3, 1)'
    )
  if dtype != np.uint8 and not jnp.issubdtype(dtype, jnp.floating):
    remedy = "convert whole numbers of 0 to 255 by images.astype('uint8')"
    if dtype == np.uint16:
      remedy = "scale 16 bits to 8 by (images // 257).astype('uint8')"
    if dtype == np.bool_:
      remedy = "make them 0 and 1 by images.astype('float32')"
    raise InputError(
      f'{what} must be uint8 or float in [0, 1], got {dtype}: {remedy}'
    )


def _has_channels_first(shape: tuple[int, ...]) -> bool:
  """Whether [N, H, W, D] is rather [N, D, H, W], as PyTorch has images.

  Images of less than 5 pixels may be either; then square ones are taken for
  images of 1 or 3 channels.
  """
  _, first, middle, last = shape
  square = middle == last not in (1, 3) and first in (1, 3)
  return square or first <= 4 < min(middle, last)


def check_labels(
  labels: Any,
  what: str = 'labels',
  *,
  count: int,
  classes: int | None = None,
) -> np.ndarray:
  """Returns labels as int32 on the host, or says what is wrong with them.

  Args:
    labels: integers [N], at least 0.
    what: how messages call the labels.
    count: the images that they belong to, N.
    classes: labels must be below it, C; not every class needs one. None allows
      any.

  Returns:
    int32 [N].

  Raises:
    InputError: if they are not `count` integers in [0, classes).
  """
  labels = np.asarray(as_array(labels, what))
  if labels.ndim != 1:
    remedy = ''
    if labels.ndim == 2:
      remedy = ': for one-hot labels use labels.argmax(-1)'
    if labels.shape[1:] == (1,):
      remedy = ': take the column, labels[:, 0]'
    raise InputError(
      f'{what} must be 1-D, one for each image, got shape {labels.shape}'
      + remedy
    )
  if not np.issubdtype(labels.dtype, np.integer):
    remedy = f'; {_NUMBERED}' if labels.dtype.kind in 'USO' else ''
    if labels.dtype.kind == 'f':
      remedy = ', or use labels.astype(int) if they are numbered so'
    raise InputError(
      f'{what} must be integers, got {labels.dtype}: number the classes from 0'
      f'{remedy}'
    )
  if len(labels) != count:
    raise InputError(
      f'{what} must be one for each image, got {len(labels)} for {count} images'
    )
  low, high = labels.min(initial=0), labels.max(initial=0)
  limit = 2**31 if classes is None else classes
  if low < 0:
    raise InputError(
      f'{what} must be at least 0, got {low}: number the classes from 0'
    )
  if high >= limit:
    raise InputError(
      f'{what} must be below {limit}, the number of classes, got {high}'
    )
  return labels.astype(np.int32)


def check_class_names(
  labels: np.ndarray, class_names: Sequence[str] | None
) -> tuple[str, ...]:
  """Returns C names, having seen that every class has an image.

  Args:
    labels: int32 [N], at least 0.
    class_names: C names; None is '0', '1', …

  Raises:
    InputError: a class without a name or without an image, or a name that
      cannot be written as UTF-8 or names two classes.
  """
  class_names = None if class_names is None else [*map(str, class_names)]
  for name in class_names or ():
    check_text('class name', name)
  first = {}  # By name: in a memory, and as folders, names tell classes apart.
  for number, name in enumerate(class_names or ()):
    if first.setdefault(name, number) != number:
      raise InputError(
        f'class_names must differ, got {name!r} for classes {first[name]} and'
        f' {number}: rename one'
      )
  present = np.unique(labels)
  highest = int(present[-1])
  if class_names is not None and len(class_names) <= highest:
    raise InputError(
      f'class_names must name every class: labels reach {highest}, got '
      f'{len(class_names)} names, not {highest + 1}'
    )
  classes = highest + 1 if class_names is None else len(class_names)
  if len(present) < classes:
    # The first place where the sorted labels are no longer 0, 1, 2, …
    gaps = np.flatnonzero(present != np.arange(len(present)))
    missing = int(gaps[0]) if gaps.size else len(present)
    name = '' if class_names is None else f' ({class_names[missing]})'
    raise InputError(
      f'class {missing}{name} of {classes} has no images: add some, or number '
      'the classes without gaps'
    )
  return tuple(class_names or map(str, range(classes)))


def channel_statistics(
  images: Array | np.ndarray,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns per-channel mean and deviation over all pixels, in unit range.

  Integer sums make both exact before the last rounding, so that they depend
  neither on the order of the images nor on the device.

  Args:
    images: uint8 [N, H, W, D].

  Returns:
    (mean, std), D values each. A constant channel has std 1.
  """
  return statistics_of(channel_sums(images), math.prod(images.shape[:3]))


def channel_sums(images: Array | np.ndarray) -> np.ndarray:
  """Returns [Σx, Σx²] over all pixels of each channel, exactly.

  Args:
    images: uint8 [N, H, W, D].

  Returns:
    int64 [2, D], on the host. Sums of several sets add up.
  """
  sums = np.zeros((2, images.shape[-1]), np.int64)
  for part in chunks(images.shape):
    if isinstance(images, jax.Array):
      size = part.stop - part.start
      sums_of_part = _sums_over_part(images, np.int32(part.start), size)
    else:
      sums_of_part = _sums_over_images(images[part])
    sums += [np.asarray(s).sum((0, 1), dtype=np.int64) for s in sums_of_part]
  return sums


def statistics_of(
  sums: np.ndarray, pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns per-channel mean and deviation in unit range.

  Args:
    sums: int64 [2, D], by `channel_sums`.
    pixels: what each channel was summed over.

  Returns:
    (mean, std), D values each. A constant channel has std 1.
  """
  mean = tuple(int(s) / (pixels * 255) for s in sums[0])
  # Python integers: N·Σx² and (Σx)² of a large set do not fit 64 bits.
  variances = (
    (pixels * int(q) - int(s) ** 2) / (pixels * 255) ** 2
    for s, q in zip(*sums, strict=True)
  )
  # A constant channel carries nothing: normalising must give 0, not 0 / 0.
  return mean, tuple(math.sqrt(v) or 1.0 for v in variances)


def chunks(shape: tuple[int, ...], values: int | None = None) -> list[slice]:
  """Returns slices of the first axis of about so many values each.

  Args:
    shape: of the array that is to be taken in pieces; [0, ...] has none.
    values: None is what a wide temporary copy may be made of.
  """
  step = (values or _CHUNK_VALUES) // math.prod(shape[1:])
  step = min(max(step, 1), _CHUNK_IMAGES)
  return [slice(i, min(i + step, shape[0])) for i in range(0, shape[0], step)]


def as_array(values: Any, what: str) -> Array | np.ndarray:
  """Returns values as an array, a JAX array as it is.

  Args:
    values: an array of any library, or lists of numbers.
    what: how messages call them.

  Raises:
    InputError: values that are no array, or that their library does not give.
  """
  if isinstance(values, jax.Array):
    return values
  try:
    return np.asarray(values)
  except MemoryError:
    raise
  except Exception as error:  # Other libraries raise any kind.
    parts = values if isinstance(values, (list, tuple)) else [values]
    foreign = [part for part in parts if _is_foreign(part)]
    if foreign:
      raise InputError(
        f'{what} cannot be read from a {type(foreign[0]).__name__} '
        f'({first_line(error)}): give a NumPy array, of a PyTorch '
        'tensor by .detach().cpu().numpy()'
      ) from error
    raise InputError(
      f'{what} must form one array, got {type(values).__name__} of unequal '
      'parts: bring them to one shape'
    ) from error


def _is_foreign(value: Any) -> bool:
  """Whether a value is an array of another library."""
  known = isinstance(value, (np.ndarray, np.generic, jax.Array))
  return hasattr(value, '__array__') and not known


def _check_unit_range(images: Array | np.ndarray, what: str) -> None:
  """Raises InputError unless all values are in [0, 1]."""
  ends = np.asarray(images.min()), np.asarray(images.max())
  # As it is written in its own type: 1.01, not the 1.00999999 of float32.
  low, high = (float(str(end)) for end in ends)
  if not (math.isfinite(low) and math.isfinite(high)):
    raise InputError(
      f'{what} hold NaN or infinite pixels: remove or repair those images'
    )
  if low < -_BEYOND or high > 1 + _BEYOND:
    raise InputError(
      f'{what} must be in [0, 1] when they are float, got {low:.9g} to '
      f'{high:.9g}: {_unit_remedy(low, high)}'
    )


def _unit_remedy(low: float, high: float) -> str:
  """Says how floats of a range are brought to [0, 1]."""
  if -1 <= low < 0 < high <= 1:
    return 'from [-1, 1] take (images + 1) / 2, or undo their normalisation'
  if low >= 0 and high > 1.1:
    return 'divide by 255, or undo their normalisation'
  return 'undo their normalisation, or clip them'


def _quantise(images):
  """Rounds unit range to uint8, NumPy or JAX."""
  # Through float32: 16-bit floats cannot hold all products below 255. What is
  # `_BEYOND` the ends rounds to them.
  return (images.astype(np.float32) * 255).round().astype(np.uint8)


def _sums_over_images(images):
  """Returns Σx, Σx² over the first axis, uint32 [H, W, D], NumPy or JAX."""
  # JAX has no 64 bits by default; see _CHUNK_IMAGES.
  x = images.astype(np.uint32)
  return x.sum(0, dtype=np.uint32), (x * x).sum(0, dtype=np.uint32)


@functools.partial(jax.jit, static_argnames='size')
def _sums_over_part(images, start, size):
  return _sums_over_images(jax.lax.dynamic_slice_in_dim(images, start, size))
