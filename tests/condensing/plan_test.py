import dataclasses
import functools
import threading
import types

import jax
import numpy as np
import pytest

from dm_jax import condense_classes, make_network
from dm_jax.condensing.plan import make_plan
from dm_jax.config.protocols import ALL_OPERATIONS
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.devices.arrangement import ARRANGEMENTS
from dm_jax.devices.layout import ClassLayout
from dm_jax.errors import InputError
from dm_jax.matching.optimizer import PixelOptimizer
from dm_jax.types import Network

KEY = jax.random.key(0)
CLASSES, PER_CLASS = 10, 40
GB = 10**9
ONE = jax.devices()[:1]


def no_logits(variables, images, *, train):
  return images.reshape(len(images), -1), variables


LINEAR = Network.from_functions(
  init=lambda key: jax.random.normal(key, (64, 5)) / 8,
  embed=lambda weights, images: images.reshape(len(images), -1) @ weights,
  logits=no_logits,
)
CONFIG = CondenseConfig(
  images_per_class=2,
  steps=6,
  batch_real=4,
  micro_batch=4,
  augment='crop',
  learning_rate=1.0,
  log_every=3,
)


def changed(**changes):
  return dataclasses.replace(CONFIG, **changes)


@functools.cache
def data_of(per_class=PER_CLASS):
  labels = np.repeat(np.arange(CLASSES), per_class)
  shape = (len(labels), 8, 8, 1)
  images = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
  return ClassData.from_arrays(images, labels)


def mapped(data, folder):
  """The same images in a file that is only mapped into memory."""
  np.save(folder / 'images.npy', data.images)
  images = np.load(folder / 'images.npy', mmap_mode='r')
  assert isinstance(images, np.memmap)
  return dataclasses.replace(data, images=images)


def batch_norm_network():
  return make_network(
    'convnet',
    image_shape=(8, 8, 1),
    classes=CLASSES,
    width=4,
    depth=1,
    norm='batch',
  )


def condense(data, place, devices=1, **changes):
  losses = []
  synthetic = condense_classes(
    data,
    changed(**changes),
    key=KEY,
    network=LINEAR,
    devices=jax.devices()[:devices],
    place=place,
    callback=lambda state, metrics: losses.extend(metrics.losses),
  )
  return np.asarray(synthetic.images), losses


@pytest.fixture
def dealt(monkeypatch):
  """The numbers of the chunks, as they are brought to the devices."""
  chunks = []
  deal = ClassLayout.deal

  def counted(layout, tree, axes, *, chunk=0, **options):
    if not options.get('donated'):  # The state is.
      chunks.append(chunk)
    return deal(layout, tree, axes, chunk=chunk, **options)

  monkeypatch.setattr(ClassLayout, 'deal', counted)
  return chunks


@pytest.mark.parametrize(('devices', 'chunks'), [(1, 4), (3, 2)])
def test_where_the_images_lie_changes_no_bit(tmp_path, dealt, devices, chunks):
  data = data_of()
  before = set(threading.enumerate())
  options = {'devices': devices, 'classes_at_once': 3}
  images, losses = condense(data, 'device', **options)
  assert dealt == list(range(chunks)), 'once'
  for source in (data, mapped(data, tmp_path)):
    dealt.clear()
    ours, our_losses = condense(source, 'host', **options)
    # Two or three calls, and what was brought on for another.
    assert len(dealt) > 2 * chunks
    assert dealt == [i % chunks for i in range(len(dealt))]
    np.testing.assert_array_equal(ours, images)
    assert our_losses == losses
  kept, _ = condense(mapped(data, tmp_path), 'device', **options)
  np.testing.assert_array_equal(kept, images)
  assert set(threading.enumerate()) == before


def test_one_chunk_is_brought_once_from_the_host(dealt):
  images, _ = condense(data_of(), 'host')
  assert dealt == [0]
  np.testing.assert_array_equal(images, condense(data_of(), 'device')[0])


def test_a_file_that_cannot_be_read_on_ends_the_run(monkeypatch):
  before = set(threading.enumerate())
  deal, count = ClassLayout.deal, []

  def broken(*args, donated=False, **options):
    count.append(donated)
    if count.count(False) == 6:
      raise OSError(5, 'Input/output error')
    return deal(*args, donated=donated, **options)

  monkeypatch.setattr(ClassLayout, 'deal', broken)
  with pytest.raises(OSError, match='Input/output error'):
    condense(data_of(), 'host', classes_at_once=3)
  assert set(threading.enumerate()) == before


def plan(
  free, place='auto', *, network=LINEAR, devices=1, targets=0, **changes
):
  """Plans with so much memory free on each device."""
  return make_plan(
    changed(**changes),
    data_of(4000),  # 2.56 MB of images, far more than all else.
    network,
    place,
    devices=jax.devices()[:devices],
    targets=targets,
    free=lambda device: free,
  )


def fit(free, place='auto', **options):
  return plan(free, place, **options).fit


DATA_BYTES = CLASSES * 4000 * 64


def test_where_nothing_is_known_all_is_on_the_device():
  chosen = fit(None)
  assert (chosen.placement, chosen.at_once) == ('device', None)
  assert chosen.free is None
  assert chosen.data_bytes == DATA_BYTES
  assert chosen.needed > DATA_BYTES


def fit_or_none(free):
  try:
    return fit(free)
  except InputError:
    return None


def test_less_memory_takes_the_device_then_the_host_then_fewer_classes():
  seen, free = [], GB
  while (chosen := fit_or_none(free)) is not None:
    at_once = chosen.at_once or CLASSES
    # On the host: two chunks, the one that computes and the next.
    on_device = chosen.placement == 'device'
    held = CLASSES if on_device else min(2 * at_once, CLASSES)
    assert DATA_BYTES * held / CLASSES < chosen.needed <= 0.8 * free
    if (chosen.placement, at_once) not in seen:
      seen.append((chosen.placement, at_once))
    free = int(free * 0.97)
  assert seen[0] == ('device', CLASSES)
  assert seen[-1] == ('host', 1)
  places = [place for place, _ in seen]
  assert places == sorted(places), 'device before host'
  on_host = [at_once for place, at_once in seen if place == 'host']
  assert on_host == sorted(set(on_host), reverse=True)
  assert len(on_host) > 1
  assert free < DATA_BYTES / 2


def test_the_devices_of_a_cpu_share_its_memory():
  free = int(DATA_BYTES * 1.5 / 0.8)
  assert fit(free).placement == 'device'
  # However many hold the images: together they hold all of them.
  for devices in (2, 5):
    assert fit(free, devices=devices).free == free // devices
  assert fit(free // 2).placement == 'host'
  assert fit(free // 2, devices=2).placement == 'host'


def test_no_memory_is_not_the_same_as_none_known():
  with pytest.raises(InputError, match='of 0 bytes that are free'):
    fit(0)


@pytest.mark.parametrize('place', ['device', 'host'])
def test_what_is_asked_for_is_done(place):
  chosen = fit(GB, place)
  assert chosen.placement == place
  assert chosen.at_once is None
  chosen = fit(GB, place, classes_at_once=3)
  assert (chosen.placement, chosen.at_once) == (place, 3)


def test_a_wish_for_more_classes_than_a_device_has_is_all():
  assert fit(GB, classes_at_once=CLASSES).at_once is None
  assert fit(GB, classes_at_once=4, devices=3).at_once is None
  assert fit(GB, classes_at_once=3, devices=3).at_once == 3


def test_an_unknown_placement_is_refused():
  with pytest.raises(InputError, match="placement 'hots': did you mean host?"):
    fit(GB, 'hots')


@pytest.mark.parametrize(
  ('place', 'changes', 'said', 'unsaid'),
  [
    ('auto', {}, 'rematerialise=True', 'placement'),
    ('host', {}, 'condense.batch_real', 'placement'),
    ('device', {}, 'data.placement=auto', 'classes_at_once'),
    ('auto', {'classes_at_once': 3}, 'lower condense.classes_at_once', 'place'),
    ('auto', {'rematerialise': True}, 'network.width', 'rematerialise'),
  ],
)
def test_what_does_not_fit_is_refused_in_a_line_with_what_helps(
  place, changes, said, unsaid
):
  with pytest.raises(InputError) as error:
    fit(10_000, place, **changes)
  message = str(error.value)
  assert '\n' not in message
  what = '3 classes need' if changes.get('classes_at_once') else 'one class'
  assert message.startswith(what)
  assert 'of 10 kB that are free at most 80% may be used' in message
  assert said in message
  assert unsaid not in message


def test_batch_norm_needs_all_classes_at_once():
  network = batch_norm_network()
  assert fit(GB, network=network).at_once is None
  assert fit(GB, network=network, classes_at_once=3).at_once is None
  little = fit(GB, network=network).needed  # Times 1.25 would be enough.
  with pytest.raises(InputError, match='^10 classes need .*norm_classes') as e:
    fit(little // 10, network=network)
  assert '\n' not in str(e.value)
  # All pass at once, whatever is asked for.
  with pytest.raises(InputError, match='^10 classes need ') as e:
    fit(little // 10, network=network, classes_at_once=3)
  assert 'classes_at_once' not in str(e.value)


def test_smaller_batches_of_batch_norm_need_less():
  network = batch_norm_network()
  together = {'network': network, 'batch_norm_classes': 2}
  assert fit(GB, **together).at_once is None
  assert fit(GB, **together, classes_at_once=5).at_once == 6
  free = fit(GB, 'host', **together).needed
  fewer = fit(free, 'host', **together)
  assert fewer.at_once in (2, 4, 6, 8)
  assert fewer.needed <= 0.8 * free


def test_settings_that_spend_time_for_memory_need_less():
  network = make_network(
    'convnet', image_shape=(8, 8, 1), classes=CLASSES, width=8, depth=1
  )
  options = {'network': network, 'images_per_class': 40}
  plain = fit(GB, **options).needed
  for saving in (
    {'rematerialise': True},
    {'precision': 'bfloat16'},
    {'classes_at_once': 2},
  ):
    assert fit(GB, **options, **saving).needed < plain


def test_a_plan_is_said_in_a_line():
  line = plan(GB).describe()
  assert line.startswith('the real images (2.56 MB) lie on the device; ')
  assert 'computes all classes at a time' in line
  # What is free now would make each run's line another.
  assert 'free' not in line
  assert 'embedding 3 real images of each' in plan(GB, micro_batch=3).describe()
  assert 'embedding 8 real' in plan(GB, micro_batch=9, batch_real=8).describe()
  line = plan(GB, 'host', classes_at_once=3).describe()
  assert line.endswith('of 1 GB free')
  line = plan(None, 'host', classes_at_once=3).describe()
  assert 'stay on the host and come in chunks' in line
  assert 'computes 3 classes at a time' in line
  assert 'free' not in line
  # Asked for or not: where one chunk is all, all of it is on the device.
  whole = plan(None, 'host')
  assert 'lie on the device; a device computes all classes' in whole.describe()
  assert whole.record()['placement'] == 'device'


def test_targets_made_ahead_need_no_real_image():
  made = plan(GB, targets=4)
  assert made.fit.data_bytes == 0
  assert made.fit.needed < DATA_BYTES < plan(GB).fit.needed
  line = made.describe()
  assert line.startswith('targets made ahead stand for the real images; ')
  assert 'embedding' not in line
  with pytest.raises(InputError, match=r'set embedder\.targets=fresh or lower'):
    plan(10_000, targets=4)


def test_condensing_does_as_planned(dealt):
  data = data_of(4000)
  images, _ = condense(data, 'device')
  dealt.clear()
  # All images are more than four fifths of it.
  tight = plan(DATA_BYTES)
  ours = condense_classes(data, CONFIG, key=KEY, network=LINEAR, plan=tight)
  chunks = max(dealt) + 1
  assert chunks == tight.layout.chunks > 1
  assert len(dealt) > 2 * chunks, 'from the host'
  np.testing.assert_allclose(ours.images, images, atol=1e-5)


def test_a_plan_resolves_what_the_config_leaves_open():
  open_config = CondenseConfig(images_per_class=2)
  made = make_plan(open_config, data_of(), LINEAR, devices=ONE)
  assert made.optimizer == PixelOptimizer('sgd', 1.0, 0.5, 0.0)
  assert made.objective.micro_batch > 0
  assert made.record()['placement'] == 'device'
  assert made.record()['optimizer']['learning_rate'] == 1.0
  resnet = dataclasses.replace(LINEAR, name='resnet18_ap')
  other = make_plan(open_config, data_of(), resnet, devices=ONE)
  assert other.optimizer == PixelOptimizer('sgd', 0.04, 0.5, 2.0)


def test_equal_plans_share_one_algorithm():
  plans = [make_plan(CONFIG, data_of(), LINEAR, devices=ONE) for _ in range(2)]
  assert plans[0].algorithm is plans[1].algorithm


def test_classes_pass_together_as_far_as_they_fill_a_micro_batch():
  # Two images of each class; the groups divide the ten classes.
  found = [
    plan(GB, micro_batch=micro).record()['classes_together']
    for micro in (1, 4, 10, 20, 100)
  ]
  assert found == [1, 2, 5, 10, 10]


def on(platform, free=80 * GB, config=CONFIG, **changes):
  """Plans for a device that is not there: nothing is computed."""
  device = types.SimpleNamespace(platform=platform)
  return make_plan(
    dataclasses.replace(config, **changes),
    data_of(),
    LINEAR,
    devices=[device],
    free=lambda device: free,
  )


def resolved(plan):
  names = ('micro_batch', 'classes_embedded', 'classes_together')
  return tuple(plan.record()[name] for name in names)


OPEN = {'batch_real': 32, 'micro_batch': 0}


def test_a_platform_decides_what_is_left_open():
  # Of 10 classes with 32 real and 2 synthetic images each, whose activations
  # are 256 bytes: a CPU takes 64 images, its most, but one class's at a time.
  assert resolved(on('cpu', **OPEN)) == (64, 1, 10)
  assert resolved(on('gpu', **OPEN)) == (2560, 10, 10)
  for platform in ('tpu', 'metal'):  # A class's batch, as many synthetic ones.
    assert resolved(on(platform, **OPEN)) == (32, 1, 10)
  said = on('gpu', **OPEN).describe()
  assert 'embedding the real images of 10 classes at once' in said


def test_a_gpu_that_spends_time_for_memory_takes_one_class_at_a_time():
  assert resolved(on('gpu', **OPEN, rematerialise=True)) == (32, 1, 10)
  assert on('gpu', **OPEN, rematerialise=True).objective.most_kept == 32


def test_a_gpu_with_little_memory_takes_fewer_images():
  # A 16th of 1.6 MB holds 390 images of 64 floats: 12 classes of 32.
  assert on('gpu', 16 * 100_000, **OPEN).objective.micro_batch == 12 * 32
  # A batch of 512 passes in parts of 256.
  few = on('gpu', 16 * 100_000, **OPEN | {'batch_real': 512})
  assert few.objective.micro_batch == 256


@pytest.mark.parametrize('free', [16 * 99_000, 16 * 100_000, 16 * 101_000])
def test_a_little_more_or_less_memory_changes_nothing(free):
  assert on('gpu', free, **OPEN).objective.micro_batch == 12 * 32


@pytest.mark.parametrize('platform', ['cpu', 'gpu', 'tpu'])
def test_what_is_set_wins_over_the_platform(platform):
  # 8 images: no two classes of 32 real ones, four classes of 2 synthetic ones,
  # of which the largest that divides 10 is two.
  given = on(platform, batch_real=32, micro_batch=8)
  assert resolved(given) == (8, 1, 2)
  few = on(platform, **OPEN, classes_at_once=2)
  assert few.record()['classes_at_once'] == 2
  assert max(resolved(few)[1:]) == 2


def test_a_gpus_arrangement_makes_the_same_images(monkeypatch):
  data = data_of()
  settings = {**OPEN, 'augment': ALL_OPERATIONS}
  alone, losses = condense(data, 'device', **settings)
  monkeypatch.setitem(ARRANGEMENTS, 'cpu', ARRANGEMENTS['gpu'])
  together, our_losses = condense(data, 'device', **settings)
  np.testing.assert_allclose(our_losses, losses, rtol=1e-5)
  np.testing.assert_allclose(together, alone, atol=1e-4)


def test_adam_needs_memory_for_a_second_moment():
  # Pixels of ten classes of two images, twice: the state and its successor.
  more = fit(GB, optimizer='adam').needed - fit(GB).needed
  pixels = CLASSES * 2 * 64 * 4
  assert 2 * pixels <= more <= 2 * pixels + CLASSES * 2 * 4


def test_numbers_that_are_not_one_for_each_class_are_refused():
  numbered = dataclasses.replace(data_of(), numbers=np.arange(CLASSES + 1))
  with pytest.raises(InputError, match=r'each of the 10 classes.*\(11,\)'):
    condense(numbered, 'auto')
