"""Several processes, each in a thread here, that share the classes of a set."""

from concurrent.futures import ThreadPoolExecutor
import dataclasses
import sys
import threading

import jax
import numpy as np
import pytest

from dm_jax.config.sections import DataConfig, EmbedderConfig, PretrainConfig
from dm_jax.data.class_data import ClassData, Part, check_whole
from dm_jax.data.digest import fingerprint
from dm_jax.data.load import load
from dm_jax.data.source import Contents, Stored, check_contents, fill_classes
from dm_jax.data.split import hold_out
from dm_jax.errors import InputError
from dm_jax.networks.registry import make_network
from dm_jax.selection.select import check_selection, select_classes
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.pool import check_pool
from dm_jax.training.pretrain import pretrain

# Four classes of unequal sizes, in no order.
LABELS = np.array([3, 0, 1, 1, 2, 0, 3, 3, 1, 3, 2])
PIXELS = np.random.RandomState(0).randint(0, 256, (11, 4, 4, 3), np.uint8)
NAMES = ('ant', 'bee', 'cat', 'dog')


def together(ranges, act):
  """Returns act(part) of processes that hold these ranges of classes."""
  barrier = threading.Barrier(len(ranges))
  posted = {}

  def run(number):
    def total(sums):
      assert sums.dtype == np.int64
      posted[number] = sums.copy()
      barrier.wait(20)
      result = np.sum([*posted.values()], axis=0)
      barrier.wait(20)
      return result

    return act(Part(lambda _: ranges[number], total))

  with ThreadPoolExecutor(len(ranges)) as pool:
    return [*pool.map(run, range(len(ranges)))]


def test_parts_are_those_of_the_whole(known):
  config, pixels, labels = known
  whole = load(config)
  for label, images in enumerate(whole.train.images if len(labels) else []):
    count = np.sum(labels == label)
    np.testing.assert_array_equal(images[:count], pixels[labels == label])
    assert not images[count:].any()
  classes = whole.train.classes
  ranges = [(0, 1), (1, 3), (3, classes), (classes, classes)]
  parts = together(ranges, lambda part: (load(config, part), part))
  for (low, high), (dataset, _) in zip(ranges, parts, strict=True):
    train = dataset.train
    assert train.held == (low, high)
    assert (train.mean, train.std) == (whole.train.mean, whole.train.std)
    assert train.class_names == whole.train.class_names
    np.testing.assert_array_equal(train.counts, whole.train.counts)
    np.testing.assert_array_equal(
      train.images[low:high], whole.train.images[low:high]
    )
    assert not train.images[:low].any()
    assert not train.images[high:].any()
    np.testing.assert_array_equal(dataset.test_images, whole.test_images)
    np.testing.assert_array_equal(dataset.test_labels, whole.test_labels)


def test_the_digest_is_that_of_the_whole(known):
  config = known.config
  whole = load(config)
  classes = whole.train.classes
  ranges = [(0, 3), (3, classes)]
  digests = together(ranges, lambda part: fingerprint(load(config, part), part))
  assert digests == [fingerprint(whole)] * 2


def test_one_process_holds_all():
  (dataset,) = together([(0, 10)], lambda p: load(DataConfig('digits'), p))
  assert dataset.train.held is None


@pytest.mark.parametrize('known', ['folder'], indirect=True)
def test_images_of_other_classes_are_not_read(known, tmp_path):
  config, pixels, labels = known
  broken = tmp_path / 'train/dog/00.png'
  broken.write_bytes(broken.read_bytes()[:-30])
  with pytest.raises(InputError, match='cannot read .*00.png .*, of 22 images'):
    load(config)
  rgb = dataclasses.replace(config, statistics='cifar10')
  (dataset,) = together([(0, 3)], lambda part: load(rgb, part))
  np.testing.assert_array_equal(
    dataset.train.images[2, :2], pixels[labels == 2]
  )


def test_rows_are_read_once_in_ascending_batches():
  asked = []

  def read(rows):
    asked.append(rows.tolist())
    return PIXELS[rows]

  contents = Contents(
    Stored(LABELS, read), Stored(LABELS, PIXELS.__getitem__), (4, 4, 3)
  )
  images = np.zeros((4, 4, 4, 4, 3), np.uint8)
  outline, two = check_contents(contents), 2 * 4 * 4 * 3
  fill_classes(images, contents.train, outline, (1, 3), values=two)
  assert asked == [[2, 3], [4, 8], [10]]  # Classes 1 and 2.
  np.testing.assert_array_equal(images[1, :3], PIXELS[LABELS == 1])
  np.testing.assert_array_equal(images[2, :2], PIXELS[LABELS == 2])
  assert not images[[0, 3]].any()


MEMORY = """
import numpy as np
from dm_jax.data.class_data import Part
from dm_jax.data.source import Contents, Stored, read_dataset

def resident():
  with open('/proc/self/status') as file:
    (line,) = (line for line in file if line.startswith('RssAnon'))
  return int(line.split()[1]) // 1024

# 40 classes of 5 MB.
labels = np.arange(1600) % 40
stored = Stored(labels, lambda rows: np.ones((len(rows), 128, 1024, 1), 'u1'))
few = Stored(labels[:4], stored.read)
contents = Contents(stored, few, (128, 1024, 1))
read_dataset(contents, Part(lambda c: (0, 1), lambda sums: sums), None)
before = resident()
dataset = read_dataset(contents, Part(lambda c: (8, 10), lambda s: s), None)
assert dataset.train.images.nbytes == 1600 * 128 * 1024
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_classes_that_are_not_held_take_no_memory(run_python):
  out = run_python(MEMORY)
  # Of 200 MB two classes of 5 MB are held.
  assert 8 < int(out) < 40


def held(low, high):
  """The set above, of which a process holds some classes; others are 0."""
  whole = ClassData.from_arrays(PIXELS, LABELS, class_names=NAMES)
  images = np.zeros_like(whole.images)
  images[low:high] = whole.images[low:high]
  return dataclasses.replace(whole, images=images, held=(low, high))


def test_a_part_is_a_set_of_its_own():
  part = held(1, 4).part(2, 4)
  assert part.held is None
  assert part.class_names == ('cat', 'dog')
  assert part.counts.tolist() == [2, 4]
  np.testing.assert_array_equal(part.images[1, :4], PIXELS[LABELS == 3])
  assert part.mean == held(1, 4).mean
  for low, high in ((0, 2), (3, 5), (3, 2)):
    with pytest.raises(ValueError, match='of those held, 1-4'):
      held(1, 4).part(low, high)


def test_programs_are_shared_whatever_is_held():
  # What a step reads are the classes that its process holds.
  ours, others = held(0, 2).own, held(2, 4).own
  assert jax.tree.structure(ours) == jax.tree.structure(others)


def test_images_held_out_do_not_depend_on_what_is_held():
  whole = hold_out(
    ClassData.from_arrays(PIXELS, LABELS, class_names=NAMES), 0.5, seed=3
  )
  for low, high in ((0, 2), (2, 4), (1, 1)):
    split = hold_out(held(low, high), 0.5, seed=3)
    ours = (low <= whole.labels) & (whole.labels < high)
    np.testing.assert_array_equal(split.labels, whole.labels[ours])
    np.testing.assert_array_equal(split.images, whole.images[ours])
    np.testing.assert_array_equal(split.train.counts, whole.train.counts)
    np.testing.assert_array_equal(
      split.train.images[low:high], whole.train.images[low:high]
    )
    assert split.train.held == (low, high)


def test_what_needs_all_classes_says_so():
  data = held(1, 3)
  check_whole(dataclasses.replace(data, held=None), 'x')
  network = make_network(
    'convnet', image_shape=(4, 4, 3), classes=4, width=2, depth=1
  )
  key = jax.random.key(0)
  attempts = {
    'the selection herding': lambda: check_selection(data, 'herding', 1),
    'the selection whole': lambda: select_classes(data, 'whole', 1, key=key),
    'the whole set': lambda: SyntheticSet.from_whole(data),
    'training on the real images': lambda: pretrain(
      network, data, PretrainConfig(), key
    ),
    'a pool of networks': lambda: check_pool(
      data, 5, EmbedderConfig(), PretrainConfig()
    ),
  }
  for what, attempt in attempts.items():
    with pytest.raises(InputError) as error:
      attempt()
    assert str(error.value) == (
      f'{what} needs the images of all classes, this process holds classes 1'
      ' to 2 of 4: run it in one process'
    )
  check_selection(data, 'random', 1)
  with pytest.raises(InputError, match='this process holds none of 4: run'):
    check_whole(held(4, 4), 'x')
