import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.data.class_data import ClassData
from dm_jax.data.variety import check_levels, check_variety, suspicions
from dm_jax.errors import InputError

LABELS = np.repeat(np.arange(6), [3, 1, 2, 4, 2, 2])


def grouped(levels, module=np, labels=LABELS):
  """Images of one level each, 2 × 2 pixels."""
  images = np.zeros((len(labels), 2, 2, 1), np.uint8)
  images[...] = np.reshape(levels, (-1, 1, 1, 1))
  return ClassData.from_arrays(module.asarray(images), labels)


@pytest.mark.parametrize('module', [np, jnp])
def test_images_that_differ_are_told_nothing_of(module):
  assert check_variety(grouped(np.arange(14), module)) is None


@pytest.mark.parametrize('module', [np, jnp])
def test_classes_of_equal_images_are_named(module):
  """A class of one image is none of them."""
  levels = np.arange(14)
  levels[LABELS == 3] = 9
  assert check_variety(grouped(levels, module)) == (
    "all images of class '3' are equal: look at how they were read or made"
  )
  line = check_variety(grouped(10 * LABELS, module))
  assert line is not None
  assert line.startswith(
    "all images of each of the classes '0', '2', '3' and 2 more are equal:"
  )


@pytest.mark.parametrize('image', range(3))
@pytest.mark.parametrize('pixel', [(0, 0), (1, 1)])
def test_one_pixel_is_a_difference(image, pixel):
  data = grouped([5, 5, 5, 1, 2], labels=[0, 0, 0, 1, 1])
  images = np.array(data.images)
  images[(0, image, *pixel)] = 6
  assert check_variety(dataclasses.replace(data, images=images)) is None


@pytest.mark.parametrize('module', [np, jnp])
@pytest.mark.parametrize('labels', [LABELS, [0, 1], [0, 0, 0]])
def test_a_set_of_equal_images_is_refused(module, labels):
  message = f'all {len(labels)} training images are equal, which tells no class'
  with pytest.raises(InputError, match=message):
    check_variety(grouped(8, module, labels))


def test_a_single_image_is_no_set_of_equal_ones():
  assert check_variety(grouped(8, labels=[0])) is None


def test_only_classes_that_are_held_are_looked_at():
  data = grouped(8)
  held = dataclasses.replace(data, held=(1, 3))
  line = check_variety(held)
  assert line is not None
  assert line.startswith("all images of class '2' are equal")
  assert check_variety(dataclasses.replace(data, held=(2, 2))) is None


@pytest.mark.parametrize('module', [np, jnp])
def test_levels_that_were_lost_are_told(module):
  levels = np.arange(14) % 2
  (line,) = suspicions(grouped(levels, module))
  assert line.startswith('no training image has a value above 1, and uint8')
  # In the last image alone, which no first look sees.
  levels[np.flatnonzero(LABELS == 3)[-1]] = 2
  assert check_levels(grouped(levels, module)) is None
