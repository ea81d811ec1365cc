import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.data.class_data import ClassData, Dataset
from dm_jax.data.digest import fingerprint
from dm_jax.data.split import hold_out
from dm_jax.errors import InputError
from dm_jax.images.normalise import denormalise, normalise
from dm_jax.selection.select import select_classes

# Six images of one pixel, named by their value, in classes of 3, 1 and 2.
PIXELS = [10, 20, 30, 40, 50, 60]
LABELS = [2, 0, 0, 2, 1, 0]
GROUPED = [[20, 30, 60], [50, 0, 0], [10, 40, 0]]


def images_of(pixels, module=np):
  return module.array(pixels, 'uint8').reshape(-1, 1, 1, 1)


def dataset(**changes):
  arguments: dict[str, Any] = {
    'train_images': images_of(PIXELS),
    'train_labels': LABELS,
    'test_images': images_of([1, 2]),
    'test_labels': [0, 2],
  }
  return Dataset.from_arrays(**(arguments | changes))


@pytest.mark.parametrize('module', [np, jnp])
def test_grouping_by_hand(module):
  images = images_of(PIXELS, module)
  train = ClassData.from_arrays(images, module.array(LABELS))
  assert isinstance(train.images, jax.Array) == (module is jnp)
  assert train.images.shape == (3, 3, 1, 1, 1)
  assert train.images.dtype == np.uint8
  assert train.images[..., 0, 0, 0].tolist() == GROUPED
  assert isinstance(train.counts, np.ndarray)
  assert train.counts.dtype == np.int32
  assert train.counts.tolist() == [3, 1, 2]
  assert train.class_names == ('0', '1', '2')
  assert (train.classes, train.image_shape) == (3, (1, 1, 1))
  # The padding does not count: mean (10 + … + 60) / 6 / 255.
  assert train.mean == (35 / 255,)
  np.testing.assert_array_equal(images, images_of(PIXELS))


def test_jax_images_stay_on_their_device():
  device = jax.devices()[-1]
  images = jax.device_put(images_of(PIXELS, jnp), device)
  train = ClassData.from_arrays(images, LABELS)
  assert isinstance(train.images, jax.Array)
  assert train.images.devices() == {device}
  assert not images.is_deleted()


@pytest.fixture
def x64():
  before = jax.config.read('jax_enable_x64')
  jax.config.update('jax_enable_x64', True)
  yield
  jax.config.update('jax_enable_x64', before)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('module', [np, jnp])
def test_all_is_the_same_under_x64(module):
  unit = module.asarray(images_of(PIXELS) / 255)
  assert unit.dtype == np.float64
  train = ClassData.from_arrays(unit, module.asarray(LABELS))
  assert train.images.dtype == np.uint8
  assert train.images[..., 0, 0, 0].tolist() == GROUPED
  assert train.mean == (35 / 255,)
  assert normalise(train.images, train.mean, train.std).dtype == jnp.float32
  assert denormalise(unit, (0.5,), (0.5,)).dtype == jnp.uint8


def test_given_statistics_and_names_are_kept():
  train = ClassData.from_arrays(
    images_of(PIXELS), LABELS, mean=[0.5], std=[2], class_names=['a', 'b', 'c']
  )
  assert (train.mean, train.std) == ((0.5,), (2.0,))
  assert train.class_names == ('a', 'b', 'c')


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'labels': [0, 1, 3, 0, 1, 3]}, '^class 2 of 4 has no images: add some'),
    ({'labels': [1, 2, 1, 2, 1, 2]}, '^class 0 of 3 has no images'),
    ({'labels': [0, 0, 0, 0, 0, 10**9]}, '^class 1 of 1000000001 has no'),
    ({'labels': [0, 0, 0, 0, 0, 2**31]}, 'labels must be below 2147483648'),
    (
      {'class_names': ['a', 'b', 'a']},
      "^class_names must differ, got 'a' for classes 0 and 2: rename one$",
    ),
    ({'class_names': ['a', 'b', 'c', 'd']}, r'^class 3 \(d\) of 4 has no'),
    (
      {'class_names': ['a', 'b']},
      'class_names must name every class: labels reach 2, got 2 names, not 3',
    ),
    ({'labels': LABELS[:5]}, 'labels must be one for each image, got 5 for 6'),
    ({'images': np.zeros((6, 1))}, r'images must be \[N, H, W, D\]'),
    ({'mean': [0.5, 0.5]}, 'mean must be 1 finite values, one for each'),
    ({'std': [float('nan')]}, 'std must be 1 finite values'),
    ({'mean': 0.5}, r'must be 1 finite .*, got 0.5: write \(0.5,\)'),
    ({'mean': [127.5], 'std': [64.0]}, 'divide mean and std by 255'),
    ({'std': [0]}, r'std must be above 0, got \(0.0,\): use 1'),
  ],
)
def test_bad_training_sets_are_refused(changes, message):
  arguments = {'images': images_of(PIXELS), 'labels': LABELS} | changes
  with pytest.raises(InputError, match=message) as error:
    ClassData.from_arrays(**arguments)
  assert '\n' not in str(error.value)


def test_the_test_set_need_not_hold_every_class():
  result = dataset(test_images=images_of([7]), test_labels=[1])
  assert result.test_labels.tolist() == [1]
  assert result.test_labels.dtype == np.int32
  assert result.test_images.tolist() == [[[[7]]]]


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'test_labels': [0, 3]}, 'test_labels must be below 3, .* got 3'),
    ({'test_labels': [0]}, 'test_labels must be one for each image, got 1'),
    ({'test_images': np.zeros((2, 1))}, 'test_images must be'),
    (
      {'test_images': np.zeros((2, 2, 1, 1), np.uint8)},
      r'test_images must be \(1, 1, 1\) like .* got \(2, 1, 1\)',
    ),
  ],
)
def test_bad_test_sets_are_refused(changes, message):
  with pytest.raises(InputError, match=message):
    dataset(**changes)


def test_normalise_by_hand():
  # (51 / 255 - 0.1) / 0.5 = 0.2; (255 / 255 - 0.5) / 0.25 = 2.
  images = np.array([[[[51, 255]]]], np.uint8)
  result = normalise(images, (0.1, 0.5), (0.5, 0.25))
  assert result.dtype == jnp.float32
  np.testing.assert_allclose(result, [[[[0.2, 2]]]], rtol=1e-6)


@pytest.mark.parametrize('jit', [False, True])
def test_all_levels_survive_normalising(jit):
  levels = np.tile(np.arange(256, dtype=np.uint8)[:, None, None, None], 3)
  mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)

  def both(images):
    return denormalise(normalise(images, mean, std), mean, std)

  np.testing.assert_array_equal(
    (jax.jit(both) if jit else both)(levels), levels
  )


def test_denormalise_rounds_and_clips():
  # With mean 0.5 and deviation 1: -0.1 and 1.1 are out, 0.4995 · 255 = 127.4.
  images = jnp.array([-0.6, -0.0005, 0.0005, 0.6]).reshape(1, 4, 1, 1)
  result = denormalise(images, (0.5,), (1.0,))
  assert result.dtype == jnp.uint8
  assert result.ravel().tolist() == [0, 127, 128, 255]


def test_one_channel_broadcasts_over_any_leading_axes():
  images = np.zeros((2, 3, 4, 4, 1), np.uint8)
  assert normalise(images, (0.5,), (1.0,)).shape == images.shape


def test_the_fingerprint_is_of_the_content():
  expected = fingerprint(dataset())
  assert len(expected) == 64
  assert fingerprint(dataset(train_images=images_of(PIXELS, jnp))) == expected
  original = dataset()
  wider = np.pad(original.train.images, [(0, 0), (0, 1)] + [(0, 0)] * 3)
  train = dataclasses.replace(original.train, images=wider)
  assert fingerprint(dataclasses.replace(original, train=train)) == expected


@pytest.mark.parametrize(
  'changes',
  [
    {'train_images': images_of([*PIXELS[:-1], 61])},
    {'train_labels': [2, 0, 0, 2, 1, 1]},
    {'test_images': images_of([1, 3])},
    {'test_labels': [1, 2]},
    {'mean': [0.5]},
    {'std': [0.5]},
    {'class_names': ['a', 'b', 'c']},
  ],
)
def test_the_fingerprint_sees_every_change(changes):
  assert fingerprint(dataset(**changes)) != fingerprint(dataset())


def test_class_data_is_a_pytree_of_its_arrays():
  train = dataset().train
  leaves, structure = jax.tree.flatten(train)
  assert [leaf.shape for leaf in leaves] == [(3, 3, 1, 1, 1), (3,), (3,)]
  # Names would have programs of their own.
  other = dataclasses.replace(train, class_names=('x', 'y', 'z'))
  assert jax.tree.structure(other) == structure


def test_without_names_classes_go_by_numbers():
  train = jax.device_put(dataset().train)
  assert train.class_names == ()
  assert train.names == ('0', '1', '2')
  held = jax.device_put(dataclasses.replace(dataset().train, held=(0, 1)))
  assert held.held == (0, 1)
  assert train.take([2, 0]).names == ('2', '0')
  with pytest.raises(InputError, match="class '1' has 1"):
    select_classes(train, 'random', 2, key=0)
  with pytest.raises(InputError, match="no image of class '1'"):
    hold_out(train, 0.5, 0)


def test_classes_are_numbered_and_keep_their_numbers_in_a_part():
  train = dataset().train
  assert train.numbers.tolist() == [0, 1, 2]
  assert train.part(1, 3).numbers.tolist() == [1, 2]
  assert train.take([2, 0]).numbers.tolist() == [0, 1]
  assert train.take([2, 0]).numbered_from(5).numbers.tolist() == [5, 6]


def test_classes_are_taken_in_the_order_given():
  images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
  data = ClassData.from_arrays(
    images,
    [0, 1, 1, 2, 2, 2],
    mean=(0.5,),
    std=(0.25,),
    class_names=('a', 'b', 'c'),
  )
  taken = data.take([1, 0])
  assert taken.class_names == ('b', 'a')
  assert taken.counts.tolist() == [2, 1]
  # Padded as before, to the class that is left out.
  assert taken.images[:, :, 0, 0, 0].tolist() == [[1, 2, 0], [0, 0, 0]]
  assert (taken.mean, taken.std) == ((0.5,), (0.25,))


def test_sets_print_on_a_line_or_two():
  text = repr(ClassData.from_arrays(images_of(PIXELS), LABELS))
  assert text.startswith('ClassData(images=uint8[3, 3, 1, 1, 1]')
  assert len(text) < 400
  many = dataset(
    train_images=images_of(100 * PIXELS), train_labels=100 * LABELS
  )
  assert len(repr(many)) < 600


def test_grouping_inside_a_transformation_is_refused():
  group = jax.jit(lambda images: ClassData.from_arrays(images, LABELS))
  with pytest.raises(InputError, match='cannot be called inside jit'):
    group(images_of(PIXELS))
