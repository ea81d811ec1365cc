import base64
import io
from xml.etree import ElementTree

import numpy as np
from PIL import Image
import pytest

from dm_jax.report.notebook import grid_html
from dm_jax.synthetic_set import SyntheticSet


def read(html):
  """Returns the picture as [H, W, 3], and the line below it."""
  figure = ElementTree.fromstring(html.replace('%">', '%"/>'))
  image, caption = list(figure)
  assert image.get('alt') == caption.text
  data = image.attrib['src'].removeprefix('data:image/png;base64,')
  with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
    return np.asarray(picture), caption.text


def count_tiles(picture, level):
  """Returns how many images of 4 × 4 pixels, each 100 wide, are of a grey."""
  return (picture == level).all(-1).sum() / 100**2


def test_every_image_of_a_small_set_is_shown_once():
  images = np.full((5, 4, 4, 1), 90, np.uint8)
  images[3:] = 180
  names = ['<cat>', 'dog']
  picture, line = read(grid_html(images, np.array([0, 0, 0, 1, 1]), names))
  assert count_tiles(picture, 90) == 3
  assert count_tiles(picture, 180) == 2
  assert line == '5 images of 4 × 4 pixels, 2 classes'


def test_a_thousand_classes_stay_a_small_picture_that_says_what_is_missing():
  labels = np.repeat(np.arange(1000), 12)
  images = np.full((12_000, 4, 4, 3), 90, np.uint8)
  html = grid_html(images, labels, [f'class {i}' for i in range(1000)])
  assert html is not None
  assert len(html) < 100_000
  picture, line = read(html)
  assert count_tiles(picture, 90) == 20 * 10
  assert line == (
    '12,000 images of 4 × 4 pixels, 1,000 classes; not shown: 980 classes and'
    ' all but the first 10 images of a class'
  )


def test_a_class_without_images_is_left_out():
  images = np.full((2, 4, 4, 1), 90, np.uint8)
  picture, line = read(grid_html(images, np.array([2, 2]), ['a', 'b', 'c']))
  assert count_tiles(picture, 90) == 2
  assert line == '2 images of 4 × 4 pixels, 1 class'


@pytest.mark.parametrize('shape', [(2, 4, 4, 2), (2, 4, 4, 4), (0, 4, 4, 3)])
def test_what_is_no_picture_is_left_to_its_text(shape):
  labels = np.zeros(shape[0], np.int32)
  assert grid_html(np.zeros(shape, np.uint8), labels, ['a']) is None


def test_a_synthetic_set_shows_its_stored_images():
  images = (np.full((2, 4, 4, 1), 90, np.float32) / 255 - 0.5) / 0.25
  labels = np.arange(2)
  made = SyntheticSet.from_images(images, labels, (0.5,), (0.25,), ('a', 'b'))
  picture, line = read(made._repr_html_())
  assert count_tiles(picture, 90) == 2
  assert line == '2 images of 4 × 4 pixels, 2 classes'
