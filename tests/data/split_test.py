import numpy as np
import pytest

from dm_jax.data.class_data import ClassData
from dm_jax.data.split import hold_out
from dm_jax.errors import InputError

COUNTS = [4, 10, 7]
LABELS = np.repeat(np.arange(3), COUNTS)
# Every image is its own number, 1 to 21.
IMAGES = np.arange(1, 22, dtype=np.uint8).reshape(-1, 1, 1, 1)
DATA = ClassData.from_arrays(IMAGES, LABELS, class_names=['a', 'b', 'c'])


def numbers(images):
  return np.asarray(images).reshape(-1).tolist()


def test_every_image_is_in_one_part_with_its_label():
  split = hold_out(DATA, 0.3, seed=0)
  # 30 % of 4, 10 and 7, rounded.
  assert np.bincount(split.labels).tolist() == [1, 3, 2]
  assert split.train.counts.tolist() == [3, 7, 5]
  kept = [
    (number, label)
    for label, (images, count) in enumerate(
      zip(split.train.images, split.train.counts, strict=True)
    )
    for number in numbers(images[:count])
  ]
  held = [*zip(numbers(split.images), split.labels.tolist(), strict=True)]
  everything = [*zip(numbers(IMAGES), LABELS.tolist(), strict=True)]
  assert sorted(kept + held) == everything
  assert (split.train.mean, split.train.std) == (DATA.mean, DATA.std)


def test_a_share_of_0_holds_nothing_out():
  split = hold_out(DATA, 0.0, seed=0)
  assert len(split.labels) == len(split.images) == 0
  np.testing.assert_array_equal(split.train.images, DATA.images)
  np.testing.assert_array_equal(split.train.counts, DATA.counts)


def test_a_small_share_holds_one_of_each_class_out():
  assert hold_out(DATA, 0.01, seed=0).labels.tolist() == [0, 1, 2]


def test_the_seed_decides():
  one, same, other = (numbers(hold_out(DATA, 0.3, s).images) for s in (0, 0, 1))
  assert one == same != other


def test_a_class_must_keep_an_image():
  data = ClassData.from_arrays(IMAGES[:3], [0, 0, 1])
  with pytest.raises(InputError, match="no image of class '1', which has 1"):
    hold_out(data, 0.3, seed=0)
