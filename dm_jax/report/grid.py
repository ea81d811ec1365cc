"""Pictures of image sets, made to be looked at."""

from collections.abc import Sequence
import functools
import math
import os
from pathlib import Path
import unicodedata

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dm_jax.errors import InputError
from dm_jax.files import write_atomically
from dm_jax.report.grid_layout import LABEL_GAP, MARGIN, Layout, lay_out

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BACKGROUND = (250, 249, 247)
INK = (38, 38, 36)
FAINT_INK = (116, 113, 107)

# Pillow's built-in font draws ASCII and little else.
_SPELLINGS = str.maketrans({'×': 'x', '–': '-', '—': '-', '’': "'", '→': '>'})
_DRAWABLE = frozenset(map(chr, range(32, 127))) | {'·', '…', '±'}


def draw_grid(
  images: np.ndarray,
  class_names: Sequence[str],
  *,
  title: str = '',
  caption: str | None = None,
  max_classes: int | None = None,
  max_per_class: int | None = None,
) -> Image.Image:
  """Draws every class as a row of images with its name at the left.

  Small images are enlarged by a whole factor without smoothing, large ones are
  made smaller. Many classes go into several columns of rows, read downwards.
  The picture stays under 4,000 pixels in both directions: where it would not,
  the first images of each class are shown, and a caption says how many.

  Args:
    images: uint8 [C, S, H, W, D], D 1 or 3.
    class_names: C names. Accents are dropped and a name in a script that
      Pillow's font lacks reads `class 3`, its place counted from 0.
    title: above the picture; '' for none.
    caption: below the title; '' for none, None counts what is shown.
    max_classes: shows the first ones only, at least 1.
    max_per_class: shows the first images of each class only, at least 1.

  Returns:
    An RGB picture.

  Raises:
    InputError: if images or names are not as above.

  Example:
    save_png(draw_grid(images, ['cat', 'dog'], title='step 100'), 'grid.png')
  """
  images = np.asarray(images)
  _check(images, class_names, max_classes, max_per_class)
  names = [
    _drawable(name, f'class {i}')
    for i, name in enumerate(class_names[:max_classes])
  ]
  shown = images.shape[1] if max_per_class is None else max_per_class
  layout = lay_out(images.shape[2:4], names, min(images.shape[1], shown))
  if caption is None:
    caption = _caption(images.shape, layout)
  header = _header(layout, _drawable(title, ''), caption)
  body = Image.new('RGB', (layout.width, layout.height), BACKGROUND)
  for index in range(layout.classes):
    _draw_row(body, layout, index, images[index], names[index])
  size = max(layout.width, header.width), header.height + layout.height
  picture = Image.new('RGB', size, BACKGROUND)
  picture.paste(header, (0, 0))
  picture.paste(body, (0, header.height))
  return picture


def is_drawable(shape: tuple[int, ...]) -> bool:
  """Whether pictures can show images [..., H, W, D]: D must be 1 or 3."""
  return shape[-1] in (1, 3)


def save_png(image: Image.Image, path: str | os.PathLike[str]) -> None:
  """Saves a picture; the file holds all of it or what it held before.

  Args:
    image: the picture.
    path: of the file; its folder is made if it is missing.
  """
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(path, functools.partial(image.save, format='PNG'))


def _caption(shape: tuple[int, ...], layout: Layout) -> str:
  def count(all_of_them: int, what: str, shown: int) -> str:
    rest = f', first {shown:,} shown' if shown < all_of_them else ''
    return f'{all_of_them:,} {what}{rest}'

  classes = count(
    shape[0], 'class' if shape[0] == 1 else 'classes', layout.classes
  )
  per_class = count(shape[1], 'per class', layout.columns)
  return f'{classes} · {per_class} · {shape[2]} x {shape[3]} pixels'


def _header(layout: Layout, title: str, caption: str) -> Image.Image:
  """Returns title and caption, on the background."""
  room = max(layout.width - 2 * MARGIN, 480)
  size = layout.font_size
  given = (title, round(1.5 * size), INK), (caption, size, FAINT_INK)
  lines = [line for line in given if line[0]]
  height = MARGIN + sum(round(1.5 * line[1]) for line in lines) + size // 2
  header = Image.new('RGB', (room + 2 * MARGIN, height), BACKGROUND)
  draw = ImageDraw.Draw(header)
  y, right = MARGIN, 0.0
  for text, points, ink in lines:
    font = ImageFont.load_default(points)
    text = _shortened(text, font, room)
    draw.text((MARGIN, y), text, fill=ink, font=font, anchor='la')
    right = max(right, MARGIN + font.getlength(text))
    y += round(1.5 * points)
  return header.crop((0, 0, math.ceil(right) + MARGIN, height))


def _draw_row(
  picture: Image.Image,
  layout: Layout,
  index: int,
  images: np.ndarray,
  name: str,
) -> None:
  """Draws one class: its name, then its images."""
  font = ImageFont.load_default(layout.font_size)
  x, y = layout.corner(index)
  ImageDraw.Draw(picture).text(
    (x - LABEL_GAP, y + layout.tile[0] / 2),
    _shortened(name, font, layout.label_width),
    fill=INK,
    font=font,
    anchor='rm',
  )
  # Pillow knows grey images as [H, W].
  pixels = images[..., 0] if images.shape[-1] == 1 else images
  for column in range(layout.columns):
    tile = Image.fromarray(pixels[column])
    smooth = layout.tile[0] < tile.height or layout.tile[1] < tile.width
    how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    tile = tile.resize((layout.tile[1], layout.tile[0]), how)
    picture.paste(tile, (x + column * (layout.tile[1] + layout.gutter), y))


def _drawable(text: str, otherwise: str) -> str:
  """Returns `text` as the font can draw it, or `otherwise`."""
  text = ' '.join(text.translate(_SPELLINGS).split())
  letters = unicodedata.normalize('NFKD', text)
  plain = ''.join(a for a in letters if not unicodedata.combining(a))
  return plain if _DRAWABLE.issuperset(plain) else otherwise


def _shortened(text: str, font: Font, width: float) -> str:
  """Returns `text`, its end left out if it is wider than `width`."""
  if font.getlength(text) <= width:
    return text
  while text and font.getlength(text + '…') > width:
    text = text[:-1]
  return text.rstrip() + '…'


def _check(
  images: np.ndarray, class_names: Sequence[str], *shown: int | None
) -> None:
  shape = images.shape
  good = len(shape) == 5 and is_drawable(shape) and 0 not in shape
  if images.dtype != np.uint8 or not good:
    raise InputError(
      'a picture needs uint8 images [C, S, H, W, D] with D 1 or 3, got '
      f'{images.dtype} {list(shape)}'
    )
  if len(class_names) != shape[0]:
    raise InputError(
      f'{shape[0]} classes need as many names, got {len(class_names)}'
    )
  if any(limit is not None and limit < 1 for limit in shown):
    raise InputError(
      'max_classes and max_per_class must be at least 1 or None, got '
      f'{shown[0]} and {shown[1]}'
    )
