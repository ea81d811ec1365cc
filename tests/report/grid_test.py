import numpy as np
from PIL import Image
import pytest

from dm_jax.errors import InputError
from dm_jax.report.grid import BACKGROUND, draw_grid, save_png

RED = (200, 10, 20)


def names(count):
  return [f'class {i}' for i in range(count)]


def box_of(picture, colour):
  """Returns (left, top, right, bottom) of the pixels of one colour."""
  y, x = np.nonzero((np.asarray(picture) == colour).all(-1))
  return x.min(), y.min(), x.max() + 1, y.max() + 1


def one_coloured(shape, row, column):
  images = np.full((*shape, 3), 90, np.uint8)
  images[row, column] = RED
  return images


def test_an_image_stands_in_its_row_and_column_enlarged():
  images = one_coloured((4, 5, 8, 8), 1, 2)
  left, top, right, bottom = box_of(draw_grid(images, names(4)), RED)
  all_of_them = box_of(draw_grid(images * 0 + np.uint8(90), names(4)), [90] * 3)
  tile, pitch = 96, 100
  assert (right - left, bottom - top) == (tile, tile)
  assert left == all_of_them[0] + 2 * pitch
  assert top == all_of_them[1] + 1 * pitch
  assert all_of_them[2] == all_of_them[0] + 5 * pitch - 4
  assert all_of_them[3] == all_of_them[1] + 4 * pitch - 4


def test_labels_stand_left_of_their_row_and_touch_no_image():
  images = np.full((2, 3, 32, 32, 3), 90, np.uint8)
  long = 'a class with a very long name indeed'
  plain = np.asarray(draw_grid(images, ['', long]))
  left, top, *_ = box_of(plain, [90] * 3)
  ink = (plain < 128).all(-1) & (plain != 90).any(-1)
  y, x = np.nonzero(ink[top:])
  assert x.max() < left - 4
  assert x.min() >= 20
  # The second row's label only: below the first row and its gutter.
  assert y.min() > 100
  assert y.max() < 196
  tiles = plain[top : top + 96, left : left + 96]
  assert (tiles == 90).all()


def test_small_images_keep_hard_edges():
  images = np.zeros((1, 1, 2, 2, 1), np.uint8)
  images[0, 0, 0, 0] = 255
  white = box_of(draw_grid(images, ['x']), [255] * 3)
  black = box_of(draw_grid(images, ['x']), [0] * 3)
  assert white[2] - white[0] == white[3] - white[1] == 50
  assert black[2] - black[0] == 100


def test_large_images_are_made_smaller():
  images = one_coloured((1, 2, 320, 160), 0, 1)
  left, top, right, bottom = box_of(draw_grid(images, ['x']), RED)
  assert (right - left, bottom - top) == (80, 160)


@pytest.mark.parametrize(
  ('classes', 'per_class', 'side', 'all_shown'),
  [
    (10, 10, 8, True),
    (10, 50, 32, True),
    (100, 1, 32, True),
    (200, 1, 32, True),
    (20, 10, 64, True),
    (100, 50, 32, False),
    (1000, 50, 32, False),
    (1, 1, 28, True),
    (2, 300, 28, False),
  ],
)
def test_pictures_stay_below_4000_pixels(classes, per_class, side, all_shown):
  images = np.full((classes, per_class, side, side, 1), 90, np.uint8)
  picture = draw_grid(images, names(classes), title='step 5')
  assert max(picture.size) <= 4000
  gray = (np.asarray(picture) == 90).all(-1).sum()
  tile = gray / (classes * per_class)
  # As enlarged as a reader needs: at least 48 pixels, unless images are left.
  assert (tile >= 48 * 48) == all_shown


def test_few_classes_are_one_column_and_many_wrap_downwards():
  for classes, row, wrapped in ((10, 9, False), (100, 99, True)):
    images = one_coloured((classes, 1, 32, 32), row, 0)
    picture = draw_grid(images, names(classes))
    first = box_of(
      draw_grid(one_coloured(images.shape[:4], 0, 0), names(classes)), RED
    )
    last = box_of(picture, RED)
    assert (last[0] > first[0]) == wrapped
    second = box_of(
      draw_grid(one_coloured(images.shape[:4], 1, 0), names(classes)), RED
    )
    assert second[0] == first[0]
    assert second[1] == first[1] + 100


def captions(monkeypatch, *args, **options):
  """Returns the texts drawn, title and caption first."""
  texts = []
  monkeypatch.setattr(
    'PIL.ImageDraw.ImageDraw.text',
    lambda _, xy, text, **options: texts.append(text),
  )
  draw_grid(*args, **options)
  return texts


def test_the_caption_says_what_is_left_out(monkeypatch):
  images = np.zeros((100, 50, 32, 32, 3), np.uint8)
  texts = captions(monkeypatch, images, names(100), title='cifar100, step 0')
  assert texts[:2] == [
    'cifar100, step 0',
    '100 classes · 50 per class, first 20 shown · 32 x 32 pixels',
  ]
  texts = captions(
    monkeypatch, images[:3], names(3), max_classes=2, max_per_class=4
  )
  assert texts == [
    '3 classes, first 2 shown · 50 per class, first 4 shown · 32 x 32 pixels',
    'class 0',
    'class 1',
  ]


def test_names_that_the_font_lacks_are_spelled_otherwise(monkeypatch):
  images = np.zeros((4, 5, 8, 8, 1), np.uint8)
  given = ['Zürich\n', '猫', 'a × b', 'x' * 99]
  texts = captions(monkeypatch, images, given)[1:]
  assert texts[:3] == ['Zurich', 'class 1', 'a x b']
  assert texts[3].startswith('xxxx')
  assert texts[3].endswith('…')


@pytest.mark.parametrize(
  ('images', 'count', 'options', 'message'),
  [
    (np.zeros((2, 3, 8, 8, 1), np.float32), 2, {}, 'uint8.*float32'),
    (np.zeros((3, 8, 8, 1), np.uint8), 3, {}, r'\[3, 8, 8, 1\]'),
    (np.zeros((2, 3, 8, 8, 4), np.uint8), 2, {}, 'D 1 or 3'),
    (np.zeros((2, 0, 8, 8, 1), np.uint8), 2, {}, 'C, S, H, W, D'),
    (np.zeros((2, 3, 8, 8, 1), np.uint8), 1, {}, '2 classes need'),
    (np.zeros((2, 3, 8, 8, 1), np.uint8), 2, {'max_classes': 0}, 'at least 1'),
  ],
)
def test_what_cannot_be_drawn_is_refused(images, count, options, message):
  with pytest.raises(InputError, match=message):
    draw_grid(images, names(count), **options)


def test_a_picture_is_saved_whole_or_not_at_all(tmp_path):
  path = tmp_path / 'images' / 'step_000000.png'
  save_png(Image.new('RGB', (3, 2), BACKGROUND), path)
  with Image.open(path) as saved:
    assert saved.format == 'PNG'
    assert saved.size == (3, 2)

  class Broken(Image.Image):
    def save(self, fp, *args, **options):
      fp.write(b'half')
      raise OSError('disk full')

  before = path.read_bytes()
  with pytest.raises(OSError, match='disk full'):
    save_png(Broken(), path)
  assert path.read_bytes() == before
  assert [p.name for p in path.parent.iterdir()] == [path.name]
