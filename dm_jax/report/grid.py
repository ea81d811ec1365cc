"""Pictures of image sets, made to be looked at."""

from collections.abc import Iterator, Sequence
import dataclasses
import functools
import math
import os
from pathlib import Path
import unicodedata

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dm_jax.errors import InputError
from dm_jax.files import write_atomically

# All in pixels. A picture stays under LIMIT in both directions; images are
# enlarged up to TILE_MAX while it stays under COMFORTABLE.
LIMIT, COMFORTABLE = 4000, 2400
TILE_MIN, TILE_MAX, TILE_SHRUNK = 48, 100, 160
MARGIN, LABEL_GAP = 24, 12
FONT_MIN, FONT_MAX = 16, 64
# Up to this many classes are one column of rows, whatever its shape.
FEW_CLASSES = 10

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
  plan = _plan(images.shape[2:4], names, min(images.shape[1], shown))
  header = _header(plan, _drawable(title, ''), _caption(images.shape, plan))
  body = Image.new('RGB', (plan.width, plan.height), BACKGROUND)
  for index in range(plan.classes):
    _draw_row(body, plan, index, images[index], names[index])
  size = max(plan.width, header.width), header.height + plan.height
  picture = Image.new('RGB', size, BACKGROUND)
  picture.paste(header, (0, 0))
  picture.paste(body, (0, header.height))
  return picture


def save_png(image: Image.Image, path: str | os.PathLike[str]) -> None:
  """Saves a picture; the file holds all of it or what it held before.

  Args:
    image: the picture.
    path: of the file; its folder is made if it is missing.
  """
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(path, functools.partial(image.save, format='PNG'))


@dataclasses.dataclass(frozen=True)
class _Plan:
  """Where everything goes, in pixels; header not counted.

  Attributes:
    classes: classes shown.
    columns: images shown of each.
    rows: classes below each other; more stand beside them, in blocks.
    tile: height and width of an image as drawn.
    font_size: of the labels.
    label_width: room for the longest label.
  """

  classes: int
  columns: int
  rows: int
  tile: tuple[int, int]
  font_size: int
  label_width: int

  @property
  def gutter(self) -> int:
    return 2 if max(self.tile) < 80 else 4

  @property
  def block_width(self) -> int:
    tiles = self.columns * (self.tile[1] + self.gutter) - self.gutter
    return self.label_width + LABEL_GAP + tiles

  @property
  def width(self) -> int:
    blocks = math.ceil(self.classes / self.rows)
    return blocks * (self.block_width + MARGIN) + MARGIN

  @property
  def height(self) -> int:
    return self.rows * (self.tile[0] + self.gutter) - self.gutter + MARGIN

  def corner(self, index: int) -> tuple[int, int]:
    """Returns (x, y) of the first image of class `index`."""
    block, row = divmod(index, self.rows)
    x = MARGIN + block * (self.block_width + MARGIN)
    return x + self.label_width + LABEL_GAP, row * (self.tile[0] + self.gutter)


def _plan(size: tuple[int, ...], names: list[str], columns: int) -> _Plan:
  """Returns the largest comfortable plan, or else one that fits at all."""
  wide = ImageFont.load_default(100)
  # Label width per pixel of font size; one measurement serves every size.
  em = max(wide.getlength(name) for name in names) / 100
  tiles = list(_tiles(size[0], size[1]))
  for tile in tiles:
    plan = _arrange(tile, len(names), columns, em, FONT_MAX, COMFORTABLE)
    if plan and plan.columns == columns:
      return plan
  fewer = ((classes, FONT_MIN) for classes in range(len(names), 0, -1))
  for classes, font_max in ((len(names), FONT_MAX), *fewer):
    plan = _arrange(tiles[-1], classes, columns, em, font_max, LIMIT)
    if plan:
      return plan
  raise AssertionError('one image always fits')


def _tiles(height: int, width: int) -> Iterator[tuple[int, int]]:
  """Yields the sizes that an image may be drawn in, largest first."""
  side = max(height, width)
  if side > TILE_SHRUNK:
    factor = TILE_SHRUNK / side
    yield max(1, round(height * factor)), max(1, round(width * factor))
    return
  smallest = math.ceil(TILE_MIN / side)
  for scale in range(max(TILE_MAX // side, smallest), smallest - 1, -1):
    yield height * scale, width * scale


def _arrange(
  tile: tuple[int, int],
  classes: int,
  columns: int,
  em: float,
  font_max: int,
  limit: int,
) -> _Plan | None:
  """Returns the best plan under `limit`: most images, then a good shape."""
  plans = []
  for blocks in range(1, min(classes, limit // tile[1]) + 1):
    rows = math.ceil(classes / blocks)
    font = min(blocks * columns * tile[1] / 45, 0.4 * tile[0])
    font = round(max(FONT_MIN, min(font, font_max)))
    # Glyphs snap to whole pixels, so small type runs a little wider.
    label = math.ceil(1.06 * min(em, 9) * font) + 2
    plan = _Plan(classes, columns, rows, tile, font, label)
    if plan.width > limit:
      room = (limit - MARGIN) / blocks - MARGIN - label - LABEL_GAP
      fitting = int(room / (tile[1] + plan.gutter))
      # Few readers count to 17: a round number is shown.
      fitting -= fitting % 10 if fitting > 10 else 0
      plan = dataclasses.replace(plan, columns=fitting)
    # The header needs some room, too.
    if plan.columns > 0 and plan.height + 6 * font <= limit:
      plans.append(plan)
  most = max((plan.columns for plan in plans), default=0)
  plans = [plan for plan in plans if plan.columns == most]
  return min(plans, key=_shapelessness, default=None)


def _shapelessness(plan: _Plan) -> float:
  """Returns 0 for one column of few classes, or how odd the picture looks."""
  tall = plan.height > 2 * plan.width
  if plan.rows == plan.classes and (plan.classes <= FEW_CLASSES or not tall):
    return 0
  return abs(math.log(plan.width / plan.height / 1.3))


def _caption(shape: tuple[int, ...], plan: _Plan) -> str:
  def count(all_of_them: int, what: str, shown: int) -> str:
    rest = f', first {shown:,} shown' if shown < all_of_them else ''
    return f'{all_of_them:,} {what}{rest}'

  classes = count(
    shape[0], 'class' if shape[0] == 1 else 'classes', plan.classes
  )
  per_class = count(shape[1], 'per class', plan.columns)
  return f'{classes} · {per_class} · {shape[2]} x {shape[3]} pixels'


def _header(plan: _Plan, title: str, caption: str) -> Image.Image:
  """Returns title and caption, on the background."""
  room = max(plan.width - 2 * MARGIN, 480)
  size = plan.font_size
  lines = [(title, round(1.5 * size), INK)] if title else []
  lines.append((caption, size, FAINT_INK))
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
  picture: Image.Image, plan: _Plan, index: int, images: np.ndarray, name: str
) -> None:
  """Draws one class: its name, then its images."""
  font = ImageFont.load_default(plan.font_size)
  x, y = plan.corner(index)
  ImageDraw.Draw(picture).text(
    (x - LABEL_GAP, y + plan.tile[0] / 2),
    _shortened(name, font, plan.label_width),
    fill=INK,
    font=font,
    anchor='rm',
  )
  # Pillow knows grey images as [H, W].
  pixels = images[..., 0] if images.shape[-1] == 1 else images
  for column in range(plan.columns):
    tile = Image.fromarray(pixels[column])
    smooth = plan.tile[0] < tile.height or plan.tile[1] < tile.width
    how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    tile = tile.resize((plan.tile[1], plan.tile[0]), how)
    picture.paste(tile, (x + column * (plan.tile[1] + plan.gutter), y))


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
  good = len(shape) == 5 and shape[-1] in (1, 3) and 0 not in shape
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
