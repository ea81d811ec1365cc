"""Single image files: all kinds of pixels, turned as viewers show them."""

import io

import numpy as np
from PIL import ExifTags, Image
import pytest

from dm_jax.images.pictures import decode_image, image_header

# Where the standard (EXIF 2.32, tag 0x0112) says that the first row and the
# first column of what is stored are seen.
SIDES = {
  1: ('top', 'left'),
  2: ('top', 'right'),
  3: ('bottom', 'right'),
  4: ('bottom', 'left'),
  5: ('left', 'top'),
  6: ('right', 'top'),
  7: ('right', 'bottom'),
  8: ('left', 'bottom'),
}


def saved(image, kind='PNG', orientation=None, **options):
  """Returns an image as the bytes of a file."""
  if orientation is not None:
    options['exif'] = Image.Exif()
    options['exif'][ExifTags.Base.Orientation] = orientation
  file = io.BytesIO()
  image.save(file, kind, **options)
  file.seek(0)
  return file


def as_seen(stored, orientation):
  """Puts each stored pixel where the standard says that it is seen."""
  rows, columns = SIDES[orientation]
  height, width = stored.shape[:2]
  lies = rows in ('left', 'right')
  seen = np.zeros((width, height) if lies else (height, width), stored.dtype)
  for r in range(height):
    for c in range(width):
      row = r if rows in ('top', 'left') else height - 1 - r
      column = c if columns in ('top', 'left') else width - 1 - c
      seen[(column, row) if lies else (row, column)] = stored[r, c]
  return seen


@pytest.mark.parametrize('kind', ['PNG', 'WEBP'])
@pytest.mark.parametrize('orientation', SIDES)
def test_images_are_turned_as_viewers_show_them(orientation, kind):
  stored = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
  image = Image.fromarray(stored).convert('RGB')
  file = saved(image, kind, orientation, lossless=True)
  pixels = decode_image(file)
  np.testing.assert_array_equal(pixels[..., 0], as_seen(stored, orientation))
  assert image_header(file).shape == pixels.shape


@pytest.mark.parametrize('orientation', SIDES)
@pytest.mark.parametrize('kind', ['JPEG', 'MPO'])
def test_photos_are_turned_before_they_are_resized(orientation, kind):
  """Four quarters of one colour each survive JPEG; MPO is what phones write."""
  quarters = np.array([[30, 90], [150, 210]], np.uint8)
  image = Image.fromarray(np.kron(quarters, np.ones((16, 32), np.uint8)))
  file = saved(image, kind, orientation)
  upright = (64, 32) if orientation >= 5 else (32, 64)
  assert image_header(file).shape == (*upright, 1)
  assert decode_image(file).shape == (*upright, 1)
  for options in ({}, {'resize': 32}):
    pixels = decode_image(file, **options)[..., 0]
    tall, wide = pixels.shape
    found = pixels[tall // 4 :: tall // 2, wide // 4 :: wide // 2]
    expected = as_seen(quarters, orientation)
    np.testing.assert_allclose(found, expected, atol=3)
  assert image_header(file, resize=32).shape == (32, 32, 1)


@pytest.mark.parametrize('number', [0, 9, 1000])
def test_orientations_that_mean_nothing_turn_nothing(number):
  file = saved(Image.new('L', (3, 2)), orientation=number)
  assert image_header(file).shape == decode_image(file).shape == (2, 3, 1)


@pytest.mark.parametrize('kind', ['PNG', 'WEBP', 'JPEG'])
def test_broken_exif_data_turn_nothing(kind):
  file = saved(Image.new('RGB', (3, 2)), kind, exif=b'Exif\0\0garbage')
  assert image_header(file).shape == decode_image(file).shape == (2, 3, 3)


# Mode of Pillow, the pixel that is stored, and the one that is read.
MODES = [
  ('1', 1, [255]),
  ('L', 7, [7]),
  ('LA', (7, 0), [7]),
  ('P', 7, [1, 2, 3]),
  ('RGB', (9, 8, 7), [9, 8, 7]),
  ('RGBA', (9, 8, 7, 0), [9, 8, 7]),
  ('I;16', 65535, [255]),
  ('I;16', 257 * 100, [100]),
  # In levels: 100.49, 100.51, 0.498 and 0.502.
  ('I;16', 25826, [100]),
  ('I;16', 25831, [101]),
  ('I;16', 128, [0]),
  ('I;16', 129, [1]),
]


@pytest.mark.parametrize('orientation', [None, 6])
@pytest.mark.parametrize(('mode', 'stored', 'expected'), MODES)
def test_every_kind_of_pixel_is_read(mode, stored, expected, orientation):
  image = Image.new(mode, (3, 2), stored)
  if mode == 'P':
    image.putpalette([0, 0, 0] * 7 + [1, 2, 3])
  file = saved(image, 'PNG', orientation)
  pixels = decode_image(file)
  height, width = (2, 3) if orientation is None else (3, 2)
  wanted = np.broadcast_to(expected, (height, width, len(expected)))
  np.testing.assert_array_equal(pixels, wanted)
  assert pixels.dtype == np.uint8
  header = image_header(file)
  assert header.shape == pixels.shape
  assert header.is_deep == (mode == 'I;16')


def test_print_colours_become_rgb():
  """Of CMYK: no ink is white, all of one is its colour."""
  image = Image.new('CMYK', (16, 16), (0, 0, 0, 0))
  file = saved(image, 'JPEG')
  assert image_header(file).shape == (16, 16, 3)
  assert (decode_image(file) > 250).all()
  red = saved(Image.new('CMYK', (16, 16), (0, 255, 255, 0)), 'JPEG')
  np.testing.assert_allclose(decode_image(red)[8, 8], [255, 0, 0], atol=5)


def test_deep_images_can_be_resized_and_coloured():
  file = saved(Image.new('I;16', (4, 4), 257 * 60))
  assert (
    decode_image(file, channels=3, resize=2).tolist() == [[[60] * 3] * 2] * 2
  )
