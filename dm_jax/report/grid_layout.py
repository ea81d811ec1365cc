"""Where the images of a grid go, and how large they are."""

from collections.abc import Iterator
import dataclasses
import math

from PIL import ImageFont

# All in pixels. A picture stays under LIMIT in both directions; images are
# enlarged up to TILE_MAX while it stays under COMFORTABLE.
LIMIT, COMFORTABLE = 4000, 2400
TILE_MIN, TILE_MAX, TILE_SHRUNK = 48, 100, 160
MARGIN, LABEL_GAP = 24, 12
FONT_MIN, FONT_MAX = 16, 64
# Up to this many classes are one column of rows, whatever its shape.
FEW_CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Layout:
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


def lay_out(size: tuple[int, ...], names: list[str], columns: int) -> Layout:
  """Returns the largest comfortable layout, or else one that fits at all.

  Args:
    size: height and width of an image.
    names: of the classes, at least one.
    columns: images of each class, at least 1.

  Returns:
    One under `LIMIT` in both directions. It shows all images or, where they do
    not fit, the first classes and the first images of each.
  """
  wide = ImageFont.load_default(100)
  # Label width per pixel of font size; one measurement serves every size.
  em = max(wide.getlength(name) for name in names) / 100
  tiles = list(_tiles(size[0], size[1]))
  for tile in tiles:
    layout = _arrange(tile, len(names), columns, em, FONT_MAX, COMFORTABLE)
    if layout and layout.columns == columns:
      return layout
  fewer = ((classes, FONT_MIN) for classes in range(len(names), 0, -1))
  for classes, font_max in ((len(names), FONT_MAX), *fewer):
    layout = _arrange(tiles[-1], classes, columns, em, font_max, LIMIT)
    if layout:
      return layout
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
) -> Layout | None:
  """Returns the best layout under `limit`: most images, then a good shape."""
  layouts = []
  for blocks in range(1, min(classes, limit // tile[1]) + 1):
    rows = math.ceil(classes / blocks)
    font = min(blocks * columns * tile[1] / 45, 0.4 * tile[0])
    font = round(max(FONT_MIN, min(font, font_max)))
    # Glyphs snap to whole pixels, so small type runs a little wider.
    label = math.ceil(1.06 * min(em, 9) * font) + 2
    layout = Layout(classes, columns, rows, tile, font, label)
    if layout.width > limit:
      room = (limit - MARGIN) / blocks - MARGIN - label - LABEL_GAP
      fitting = int(room / (tile[1] + layout.gutter))
      # Few readers count to 17: a round number is shown.
      fitting -= fitting % 10 if fitting > 10 else 0
      layout = dataclasses.replace(layout, columns=fitting)
    # The header needs some room, too.
    if layout.columns > 0 and layout.height + 6 * font <= limit:
      layouts.append(layout)
  most = max((layout.columns for layout in layouts), default=0)
  layouts = [layout for layout in layouts if layout.columns == most]
  return min(layouts, key=_shapelessness, default=None)


def _shapelessness(layout: Layout) -> float:
  """Returns 0 for one column of few classes, or how odd the picture looks."""
  tall = layout.height > 2 * layout.width
  if layout.rows == layout.classes and (
    layout.classes <= FEW_CLASSES or not tall
  ):
    return 0
  return abs(math.log(layout.width / layout.height / 1.3))
