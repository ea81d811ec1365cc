"""Single pictures: pixels of PNG, JPEG and WebP files, as viewers show them."""

from collections.abc import Iterator
import contextlib
import io
import os
from typing import Any, NamedTuple

import numpy as np

from dm_jax.files import PICTURES
from dm_jax.types import ImageShape

_GREY_MODES = ('1', 'L', 'LA', 'I', 'I;16')
# Grey of 16 bits, by the version of Pillow; of colours it reads 8 itself.
_DEEP_MODES = ('I', 'I;16')
# Of `Image.Transpose`, what shows an image upright, by EXIF's orientation.
_TURNS = {
  2: 'FLIP_LEFT_RIGHT',
  3: 'ROTATE_180',
  4: 'FLIP_TOP_BOTTOM',
  5: 'TRANSPOSE',
  6: 'ROTATE_270',
  7: 'TRANSVERSE',
  8: 'ROTATE_90',
}
_SWAPS_SIDES = (5, 6, 7, 8)


class Header(NamedTuple):
  """What the header of a file tells of its image.

  Attributes:
    shape: (H, W, D) of what `decode_image` gives.
    is_deep: whether it has 16 bits, which are scaled to 8.
  """

  shape: ImageShape
  is_deep: bool


def decode_image(
  file: str | os.PathLike | io.BytesIO,
  *,
  channels: int | None = None,
  resize: int | None = None,
) -> np.ndarray:
  """Returns the pixels of one PNG, JPEG or WebP file, as viewers show them.

  An image is turned as its EXIF data ask for. 16 bits are scaled to 8, and
  alpha is dropped.

  Args:
    file: a path or the file's bytes.
    channels: 1 or 3 converts to grey or RGB; None keeps grey grey and makes RGB
      of everything else.
    resize: pixels; to resize × resize, bicubic, with antialiasing.

  Returns:
    uint8 [H, W, D].

  Raises:
    Exception: whatever Pillow meets in a broken file.
  """
  from PIL import Image

  with _opened(file) as image:
    if channels is None:
      channels = _channels(image)
    turn = _TURNS.get(_orientation(image))
    if image.mode in _DEEP_MODES:
      image = _scaled(image)
    mode = 'L' if channels == 1 else 'RGB'
    if image.mode == 'P' and 'transparency' in image.info:
      image = image.convert('RGBA')  # Directly to RGB, Pillow warns.
    if image.mode != mode:
      image = image.convert(mode)
    if turn is not None:
      image = image.transpose(Image.Transpose[turn])
    if resize is not None and image.size != (resize, resize):
      image = image.resize((resize, resize), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
  return pixels[..., None] if channels == 1 else pixels


def image_header(
  file: str | os.PathLike | io.BytesIO, *, resize: int | None = None
) -> Header:
  """Returns what `decode_image` gives, without reading the pixels.

  Raises:
    Exception: whatever Pillow meets in a broken header.
  """
  with _opened(file) as image:
    width, height = image.size if resize is None else (resize, resize)
    if _orientation(image) in _SWAPS_SIDES:
      width, height = height, width
    shape = height, width, _channels(image)
    return Header(shape, image.mode in _DEEP_MODES)


@contextlib.contextmanager
def _opened(file) -> Iterator[Any]:
  """Gives a Pillow image whose pixels are not yet read."""
  from PIL import Image, UnidentifiedImageError

  try:
    opened = Image.open(file, formats=PICTURES)
  except UnidentifiedImageError:
    raise ValueError('not a PNG, JPEG or WebP image') from None
  with opened as image:
    yield image


def _channels(image) -> int:
  return 1 if image.mode in _GREY_MODES else 3


def _orientation(image) -> int:
  """Returns EXIF's number of how an image is to be turned; 1 is upright.

  Asked before the pixels are read, so that a header tells the same.
  """
  from PIL import ExifTags, Image

  try:
    # The method of PNG files would read all pixels to look behind them.
    exif = Image.Image.getexif(image)
  except Exception:  # Of broken EXIF data: viewers show the image as it is.
    return 1
  return exif.get(ExifTags.Base.Orientation, 1)


def _scaled(image):
  """Returns an image of 16 bits as one of 8: 65,535 becomes 255."""
  from PIL import Image

  levels = np.asarray(image).astype(np.uint32)
  return Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))


def resize_images(images: np.ndarray, resize: int | None) -> np.ndarray:
  """Resizes uint8 [N, H, W, D] as `decode_image` does; None leaves them."""
  from PIL import Image

  if resize is None or images.shape[1:3] == (resize, resize):
    return images
  resized = np.empty((len(images), resize, resize, images.shape[-1]), np.uint8)
  for target, image in zip(resized, images, strict=True):
    # Pillow has no channel axis for grey.
    whole = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    pixels = whole.resize((resize, resize), Image.Resampling.BICUBIC)
    target[...] = np.asarray(pixels).reshape(target.shape)
  return resized
