import numpy as np
import pytest

from dm_jax.data.class_data import WHOLE, Dataset
from dm_jax.run.inputs import changed_inputs, describe_inputs
from dm_jax.synthetic_set import SyntheticSet

TRAIN = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), np.uint8)
LABELS = [0, 0, 0, 0, 1, 1, 1]
NAMES = ('cat', 'dog')


def describe(
  images=TRAIN, labels=LABELS, test=(0, 1, 1), names=NAMES, synthetic=None
):
  """What a run of a few images keeps."""
  test_images = np.zeros((len(test), *images.shape[1:]), np.uint8)
  dataset = Dataset.from_arrays(
    images, labels, test_images, test, class_names=names
  )
  return describe_inputs(dataset, WHOLE, synthetic)


def test_what_is_kept_has_the_images_of_each_class():
  kept = describe()
  assert len(kept['data']) == 64
  assert kept['images'] == {
    'train': {'cat': 4, 'dog': 3},
    'test': {'cat': 1, 'dog': 2},
  }


def test_equal_data_have_not_changed():
  assert changed_inputs(describe(), describe()) == []


@pytest.mark.parametrize(
  ('now', 'train', 'test'),
  [
    (
      describe(labels=[0, 0, 0, 1, 1, 1, 1]),
      "training images of class 'cat' 4 -> 3, 'dog' 3 -> 4",
      'as many test images of each class, 3 in all',
    ),
    (
      describe(TRAIN[:-1], LABELS[:-1], (0, 1)),
      "training images of class 'dog' 3 -> 2",
      "test images of class 'dog' 2 -> 1",
    ),
    (
      describe(TRAIN[::-1]),
      'as many training images of each class, 7 in all',
      'as many test images of each class, 3 in all',
    ),
    (
      describe(names=('cat', 'wolf')),
      "training images of class 'dog' 3 -> 0, 'wolf' 0 -> 3",
      "test images of class 'dog' 2 -> 0, 'wolf' 0 -> 2",
    ),
  ],
)
def test_changed_data_are_told_by_the_images_of_each_class(now, train, test):
  assert changed_inputs(describe(), now) == [
    f'the images or labels of the data changed: {train}; {test}'
  ]


def test_of_many_classes_a_few_are_named():
  classes = 1000
  names = tuple(map(str, range(classes)))
  small = np.zeros((2 * classes, 1, 1, 1), np.uint8)
  twice = [*range(classes)] * 2
  (told,) = changed_inputs(
    describe(small, twice, names=names),
    describe(small[:classes], twice[:classes], names=names),
  )
  assert "'0' 2 -> 1, '1' 2 -> 1" in told
  assert 'and of 995 more classes; as many test images' in told
  assert len(told) < 300


def test_a_workdir_of_an_earlier_version_has_digests_alone():
  old = describe()
  del old['images']
  assert changed_inputs(old, describe()) == []
  (told,) = changed_inputs(old, describe(TRAIN[::-1]))
  assert told.endswith('changed: 7 training images now; 3 test images now')


def test_another_synthetic_set_is_told_in_words():
  sets = [
    SyntheticSet.from_images(
      np.full((2, 8, 8, 1), level, np.float32),
      np.arange(2),
      (0.5,),
      (0.2,),
      NAMES,
    )
    for level in (0, 1)
  ]
  (told,) = changed_inputs(*(describe(synthetic=one) for one in sets))
  assert '--synthetic' in told
  assert changed_inputs(*(describe(synthetic=sets[0]) for _ in range(2))) == []
