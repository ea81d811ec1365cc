"""Images as JPEG files: as many as some bytes hold."""

from collections.abc import Iterable
import io

import numpy as np

from dm_jax.errors import InputError
from dm_jax.types import AnyArray, ImageShape

# Pillow's own choice, said here since the baseline is defined by it: colours
# are kept at half the resolution, which 2 stands for (4:2:0).
_OPTIONS = {'quality': 75, 'optimize': True, 'subsampling': 2}
_CHANNELS = (1, 3)


def encode(image: AnyArray) -> bytes:
  """Returns an image, uint8 [H, W, D], as a JPEG file; D is 1 or 3."""
  from PIL import Image  # Slow to import.

  pixels = np.asarray(image)
  file = io.BytesIO()
  grey = pixels.shape[-1] == 1
  Image.fromarray(pixels[..., 0] if grey else pixels).save(
    file, format='JPEG', **_OPTIONS
  )
  return file.getvalue()


def decode(file: bytes, image_shape: ImageShape) -> np.ndarray:
  """Returns the image, uint8 [H, W, D], that a file of `encode` holds."""
  from PIL import Image

  with Image.open(io.BytesIO(file)) as image:
    return np.asarray(image).reshape(image_shape)


def fill(images: Iterable[AnyArray], budget: int) -> list[bytes]:
  """Returns the first images as JPEG files that take no more than a budget.

  Args:
    images: uint8 [H, W, D] each, at least one; read as far as it is needed.
    budget: bytes of the files together.

  Returns:
    The files, in order; the first image's in any case.
  """
  files, left = [], budget
  for image in images:
    file = encode(image)
    left -= len(file)
    if files and left < 0:
      break
    files.append(file)
  return files


def check_channels(image_shape: ImageShape) -> None:
  """Raises InputError if images (H, W, D) cannot be stored as JPEG."""
  if image_shape[-1] not in _CHANNELS:
    raise InputError(
      'the selection random_jpeg needs images of 1 or 3 channels, these have'
      f' {image_shape[-1]}: leave it out'
    )
