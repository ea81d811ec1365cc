import dataclasses
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from dm_jax.config.sections import SELECTIONS, PretrainConfig
from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError
from dm_jax.images.normalise import normalise
from dm_jax.selection import coreset
from dm_jax.selection import select as selection
from dm_jax.selection.select import needs_training, select, select_classes
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.pretrain import Trained, flatten
from dm_jax.types import Network

KEY = jax.random.key(0)
LABELS = np.array([1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 2, 2, 2, 2])
IMAGES = np.random.RandomState(0).randint(0, 256, (15, 2, 2, 1), np.uint8)
DATA = ClassData.from_arrays(IMAGES, LABELS, class_names=['cat', 'dog', 'eel'])
CONFIG = PretrainConfig(epochs=2, batch_size=5, augment='none')
OF_ONE_SIZE = sorted({*SELECTIONS} - {'random_jpeg', 'whole'})
TRAINED_METHODS = ('herding', 'k_center', 'forgetting')


def unused(*args, **options):
  raise AssertionError('this is not needed')


def flat(images):
  return images.reshape(len(images), -1)


# The trained network of the tests: its features are the pixels.
PIXELS = Network.from_functions(
  init=unused,
  embed=lambda variables, images: flat(images),
  logits=lambda variables, images, *, train: (flat(images), variables),
)
TRAINED = Trained(
  variables={},
  # Five of class 0, six of class 1, four of class 2.
  events=np.array([0, 3, 1, 3, 2] + [1, 0, 0, 4, 0, 2] + [0, 0, 0, 0]),
  learned=np.array([True] * 5 + [True, True, False, True, True, True] + [0] * 4)
  > 0,
  # Of class 2 the first and the last.
  seen=np.array([True] * 12 + [False, False, True]),
)
LINEAR = Network.from_functions(
  init=lambda key: {'params': jax.random.normal(key, (4, 3))},
  embed=lambda variables, images: flat(images),
  logits=lambda variables, images, *, train: (
    flat(images) @ variables['params'],
    variables,
  ),
)


def choose(method, count, data=DATA, key=KEY):
  return select_classes(
    data, method, count, key=key, network=PIXELS, trained=TRAINED
  )


def rows_of(chosen, data=DATA):
  """Which rows of `flatten(data)` were chosen, [C, S]."""
  images, labels = flatten(data)
  images = flat(normalise(images, data.mean, data.std))
  distances = np.abs(flat(chosen.images)[:, None] - images[None]).max(-1)
  rows = distances.argmin(1)
  assert distances.min(1).max() < 1e-6
  np.testing.assert_array_equal(labels[rows], chosen.labels)
  return rows.reshape(data.classes, -1)


@pytest.mark.parametrize('method', OF_ONE_SIZE)
def test_each_class_gives_images_of_its_own_the_first_of_a_larger_set(method):
  whole = rows_of(choose(method, 4))
  assert whole.shape == (3, 4)
  assert len(np.unique(whole)) == 12
  for count in (1, 3):
    np.testing.assert_array_equal(
      rows_of(choose(method, count)), whole[:, :count]
    )


@pytest.mark.parametrize('method', ['herding', 'k_center'])
def test_features_are_compared_within_a_class(method):
  features = flat(np.asarray(normalise(IMAGES, DATA.mean, DATA.std)))
  for label, rows in enumerate(rows_of(choose(method, 3))):
    first = int((label > LABELS).sum())
    expected = getattr(coreset, method)(features[label == LABELS], 3)
    np.testing.assert_array_equal(rows - first, expected)


def test_the_most_forgotten_of_each_class():
  # Class 0 by events 3, 3, 2, 1; class 1 starts at row 5 with the one that was
  # never learned, then events 4, 2, 1; of class 2 none was
  # learned, and two were never seen.
  expected = [[1, 3, 4, 2], [7, 8, 10, 5], [11, 14, 12, 13]]
  assert rows_of(choose('forgetting', 4)).tolist() == expected


def test_random_draws_of_a_class_depend_on_the_key_and_the_class_alone():
  few = ClassData.from_arrays(
    IMAGES[LABELS < 2], LABELS[LABELS < 2], mean=DATA.mean, std=DATA.std
  )
  rows = rows_of(choose('random', 4))
  np.testing.assert_array_equal(
    rows_of(choose('random', 4, few), few), rows[:2]
  )
  # Three classes of 100: neither keys nor classes draw alike.
  images = np.random.RandomState(1).randint(0, 256, (300, 2, 2, 2), np.uint8)
  same = ClassData.from_arrays(images, np.arange(300) // 100)
  draws = [
    rows_of(choose('random', 9, same, jax.random.key(seed)), same) % 100
    for seed in (0, 1)
  ]
  assert len({tuple(draw) for draw in np.concatenate(draws).tolist()}) == 6


def test_whole_is_every_image_with_its_class():
  for count in (1, 10):
    chosen = choose('whole', count)
    np.testing.assert_array_equal(chosen.labels, flatten(DATA)[1])
    np.testing.assert_array_equal(chosen.images_uint8, flatten(DATA)[0])
    assert chosen.provenance['method'] == 'whole'


def test_which_methods_need_training():
  assert [m for m in SELECTIONS if needs_training(m)] == list(TRAINED_METHODS)
  with pytest.raises(InputError, match='herdin.*did you mean herding'):
    needs_training('herdin')


@pytest.mark.parametrize('method', SELECTIONS)
def test_only_methods_that_need_it_train(method):
  calls = []
  chosen = select_classes(
    DATA,
    method,
    2,
    key=KEY,
    network=LINEAR,
    config=CONFIG,
    callback=lambda *args: calls.append(args),
  )
  assert bool(calls) == needs_training(method) == (method in TRAINED_METHODS)
  settings = chosen.provenance['config']
  assert chosen.provenance['method'] == method
  assert settings['condense'] == {'images_per_class': 2}
  trained = dataclasses.asdict(CONFIG) if calls else None
  assert settings.get('pretrain') == trained
  assert 'jax' in chosen.provenance['versions']


@pytest.mark.parametrize('method', SELECTIONS)
def test_arrays_give_the_same_as_class_data_and_the_same_again(method):
  first, second, grouped = (
    select(images, LABELS, method, 2, key=KEY, network=LINEAR, config=CONFIG)
    for images in (IMAGES, jnp.asarray(IMAGES), IMAGES / 255)
  )
  data = ClassData.from_arrays(IMAGES, LABELS)
  expected = select_classes(
    data, method, 2, key=KEY, network=LINEAR, config=CONFIG
  )
  for chosen in (first, second, grouped):
    assert isinstance(chosen, SyntheticSet)
    np.testing.assert_array_equal(chosen.images, expected.images)
    assert chosen.provenance_json == expected.provenance_json
    assert chosen.class_names == ('0', '1', '2')
    assert (chosen.mean, chosen.std) == (data.mean, data.std)


def test_no_network_is_the_papers(monkeypatch):
  asked = []

  def default_network(image_shape, classes):
    asked.append((image_shape, classes))
    return LINEAR

  monkeypatch.setattr(selection, 'default_network', default_network)
  chosen = select_classes(DATA, 'herding', 2, key=KEY, config=CONFIG)
  assert len(asked) == 1
  assert asked[0] == (DATA.image_shape, DATA.classes)
  expected = select_classes(
    DATA, 'herding', 2, key=KEY, network=LINEAR, config=CONFIG
  )
  np.testing.assert_array_equal(chosen.images, expected.images)


@pytest.mark.parametrize('method', OF_ONE_SIZE)
def test_more_images_than_a_class_has(method):
  # Nothing is trained for it.
  with pytest.raises(InputError) as error:
    select_classes(DATA, method, 5, key=KEY, network=PIXELS)
  for part in (method, "'eel'", '5 images', 'has 4', 'at most 4'):
    assert part in str(error.value)
  assert '\n' not in str(error.value)


def test_a_number_of_numpys_is_a_number():
  two: Any = np.int64(2)
  made = select_classes(DATA, 'random', two, key=KEY)
  assert made.fingerprint() == (
    select_classes(DATA, 'random', 2, key=KEY).fingerprint()
  )


def test_at_least_one_image_is_chosen():
  with pytest.raises(InputError, match='images_per_class .* got 0'):
    choose('random', 0)


def test_an_unknown_method_names_near_ones():
  with pytest.raises(InputError, match='did you mean k_center'):
    selection.check_selection(DATA, 'kcenter', 1)


def photographs(shape, seed=2):
  """Three classes of 30 smooth images each."""
  walk = np.random.RandomState(seed).normal(0, 9, (90, *shape)).cumsum(1)
  pixels = np.clip(walk + 128, 0, 255).astype(np.uint8)
  return ClassData.from_arrays(pixels, np.arange(90) // 30)


def stored(image):
  """An image as it comes back from a JPEG file, and the file's bytes."""
  pixels = image.squeeze(-1) if image.shape[-1] == 1 else image
  file = io.BytesIO()
  picture = Image.fromarray(pixels)
  picture.save(file, 'JPEG', quality=75, optimize=True)
  file.seek(0)
  return np.asarray(Image.open(file)).reshape(image.shape), len(file.getvalue())


@pytest.mark.parametrize('shape', [(32, 32, 3), (28, 30, 1)])
def test_jpeg_files_fill_the_bytes_of_stored_images(shape):
  data, budget = photographs(shape), 3 * np.prod(shape)
  chosen = choose('random_jpeg', 3, data)
  # random_full draws in the same order.
  order = rows_of(choose('random_full', 30, data), data)
  images, _ = flatten(data)
  taken = 0
  for label, rows in enumerate(order):
    files = [stored(images[row]) for row in rows]
    sizes = np.cumsum([size for _, size in files])
    count = int((sizes <= budget).sum())
    assert 3 < count < 30
    mine = chosen.images_uint8[np.asarray(chosen.labels) == label]
    np.testing.assert_array_equal(mine, [image for image, _ in files[:count]])
    taken += sizes[count - 1]
  assert chosen.provenance['bytes'] == taken
  assert chosen.storage == 'plain'


def test_a_class_has_an_image_whatever_it_takes_and_no_more_than_there_are():
  one = choose('random_jpeg', 1)  # Of four bytes, as pixels.
  np.testing.assert_array_equal(one.labels, [0, 1, 2])
  every = choose('random_jpeg', 10_000)
  np.testing.assert_array_equal(np.bincount(every.labels), [5, 6, 4])


def test_jpeg_files_have_one_channel_or_three():
  data = photographs((8, 8, 2))
  with pytest.raises(InputError, match='1 or 3 channels, these have 2: leave'):
    choose('random_jpeg', 1, data)
