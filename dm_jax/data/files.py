"""What the sources that read files share."""

from collections.abc import Callable, Iterable, Iterator
import concurrent.futures
import contextlib
import io
import os
from typing import Any

import numpy as np

from dm_jax.errors import first_line

# Files under any of their names; what else Pillow opens is not expected here.
_FORMATS = ('PNG', 'JPEG', 'WEBP')
_GREY_MODES = ('1', 'L', 'LA')
_BATCH = 64  # Files that a thread reads at a time: a task costs about a file.


def decode_image(
  file: str | os.PathLike | io.BytesIO,
  *,
  channels: int | None = None,
  resize: int | None = None,
) -> np.ndarray:
  """Returns the pixels of one PNG, JPEG or WebP file.

  Args:
    file: a path or the file's bytes.
    channels: 1 or 3 converts to grey or RGB; None keeps grey grey and makes RGB
      of everything else. Alpha is dropped.
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
    mode = 'L' if channels == 1 else 'RGB'
    if image.mode == 'P' and 'transparency' in image.info:
      image = image.convert('RGBA')  # Directly to RGB, Pillow warns.
    if image.mode != mode:
      image = image.convert(mode)
    if resize is not None and image.size != (resize, resize):
      image = image.resize((resize, resize), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
  return pixels[..., None] if channels == 1 else pixels


def image_shape(
  file: str | os.PathLike | io.BytesIO, *, resize: int | None = None
) -> tuple[int, int, int]:
  """Returns (H, W, D) of what `decode_image` gives, from the header alone.

  Raises:
    Exception: whatever Pillow meets in a broken header.
  """
  with _opened(file) as image:
    width, height = image.size if resize is None else (resize, resize)
    return height, width, _channels(image)


@contextlib.contextmanager
def _opened(file) -> Iterator[Any]:
  """Gives a Pillow image of 8 bits, whose pixels are not yet read."""
  from PIL import Image, UnidentifiedImageError

  try:
    opened = Image.open(file, formats=_FORMATS)
  except UnidentifiedImageError:
    raise ValueError('not a PNG, JPEG or WebP image') from None
  with opened as image:
    if image.mode[0] in 'IF':
      raise ValueError(f'{image.mode} pixels, not 8 bits: convert the file')
    yield image


def _channels(image) -> int:
  return 1 if image.mode in _GREY_MODES else 3


def read_files(
  read: Callable[[str], Any], paths: list[str], title: str | None = None
) -> Iterator[tuple[str, Any, str | None]]:
  """Reads files in threads and keeps their order.

  Args:
    read: a function of a path.
    paths: of the files.
    title: of the bar; None shows none.

  Yields:
    (path, what it reads, None), or (path, None, what is wrong).
  """
  from tqdm import tqdm

  def attempt(path: str) -> tuple[str, Any, str | None]:
    try:
      return path, read(path), None
    except Exception as error:
      # Pillow raises any of a dozen types, as the broken file has it.
      return path, None, f'cannot read {path} ({first_line(error)})'

  def attempt_all(batch):
    return [attempt(path) for path in batch]

  batches = [paths[i : i + _BATCH] for i in range(0, len(paths), _BATCH)]
  with (
    concurrent.futures.ThreadPoolExecutor() as pool,
    # disable=None: no bar unless standard error is a terminal.
    tqdm(
      total=len(paths),
      desc=title,
      unit=' files',
      delay=1,
      disable=None if title else True,
    ) as bar,
  ):
    for results in pool.map(attempt_all, batches):
      yield from results
      bar.update(len(results))


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


def file_state(paths: Iterable[str | os.PathLike]) -> str:
  """Returns text that changes with the files' places, sizes and times."""
  states = []
  for path in paths:
    stat = os.stat(path)
    states.append((os.path.realpath(path), stat.st_size, stat.st_mtime_ns))
  return repr(states)
