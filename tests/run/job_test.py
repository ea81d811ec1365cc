import itertools

import jax
import numpy as np
from PIL import Image
import pytest

from dm_jax.errors import InputError
from dm_jax.run import facts, run
from dm_jax.run.config import APPLICATIONS, RunConfig
from dm_jax.run.job import Purpose
from dm_jax.run.prepare import prepare

TAKEN = (
  'condense.smoothing is 2.0, recommended with sgd and resnet18; the paper'
  ' has 0, for sgd and its ConvNet'
)
CHANGED = (
  'condense.smoothing is 1.0, but 2.0 is recommended with sgd and resnet18'
)


@pytest.fixture
def notes(tmp_path):
  """A function of (classes, network, smoothing) -> the notes on such a run."""

  def notes(classes, network='convnet', smoothing=None, channels=1, equal=()):
    labels = np.arange(4 * classes) % classes
    images = np.random.default_rng(0).integers(
      0, 256, (len(labels), 8, 8, channels), np.uint8
    )
    images[np.isin(labels, equal)] = 7
    np.savez(
      tmp_path / 'data.npz',
      train_images=images,
      train_labels=labels,
      test_images=images,
      test_labels=labels,
    )
    config = RunConfig.from_dict(
      {
        'data': {'name': 'npz', 'dir': str(tmp_path / 'data.npz')},
        # Instance norm would leave a ResNet nothing of images so small.
        'network': {
          'name': network,
          'norm': 'layer',
          'width': 4,
          'depth': 1,
        },
        'condense': {'images_per_class': 1, 'smoothing': smoothing},
      }
    )
    prepared = prepare(config, 'condense', tmp_path, None, '', print)
    return facts.notes(prepared)

  return notes


@pytest.mark.parametrize(
  ('network', 'smoothing', 'expected'),
  [
    ('resnet18', None, [TAKEN]),
    ('resnet18', 1.0, [CHANGED]),
    ('resnet18', 2.0, []),
    ('convnet', None, []),
    ('convnet', 1.0, []),
  ],
)
def test_a_networks_own_settings_are_named(notes, network, smoothing, expected):
  told = notes(2, network, smoothing)
  assert [s for s in told if s.startswith('condense.smoothing')] == expected


@pytest.mark.parametrize(('classes', 'idle'), [(3, 5), (8, 0)])
def test_devices_without_a_class_are_told_of(notes, classes, idle):
  assert jax.local_device_count() == 8
  told = [note for note in notes(classes) if 'warning' in note]
  expected = (
    f'warning: {idle} of 8 devices do not condense: there are {classes} classes'
  )
  assert told == ([expected] if idle else [])


def test_classes_of_equal_images_are_told_of(notes):
  (told,) = [note for note in notes(8, equal=(2,)) if 'equal' in note]
  assert told.startswith("warning: all images of class '2' are equal: look at")


def test_a_set_of_equal_images_is_refused(notes):
  with pytest.raises(InputError, match='all 12 training images are equal, wh'):
    notes(3, equal=(0, 1, 2))


def test_keys_do_not_depend_on_the_default_generator(
  make_config, save_arrays, tmp_path
):
  save_arrays(tmp_path / 'data.npz')
  config = make_config(**{'data.dir': str(tmp_path / 'data.npz')})
  job = prepare(config, 'condense', tmp_path, None, '', print)
  key = jax.random.key_data(job.key(Purpose.MAKE, 1))
  with jax.default_prng_impl('rbg'):
    again = jax.random.key_data(job.key(Purpose.MAKE, 1))
  np.testing.assert_array_equal(again, key)


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_images_that_are_not_drawn_are_told_of(notes, channels):
  told = [note for note in notes(8, channels=channels) if 'drawn' in note]
  line = f'images of {channels} channels are not drawn: pictures have 1 or 3'
  assert told == ([] if channels in (1, 3) else [line])


def test_what_reading_found_is_told(tmp_path, make_config):
  for part, label in itertools.product(('train', 'test'), 'ab'):
    folder = tmp_path / part / label
    folder.mkdir(parents=True)
    for i in range(2):
      pixels = np.full((8, 8), 1000 * i, np.uint16)
      Image.fromarray(pixels).save(folder / f'{i}.png')
  config = make_config(**{'data.name': 'folder', 'data.dir': str(tmp_path)})
  job = prepare(config, 'condense', tmp_path, None, '', print)
  line = '8 of 8 images are grey of 16 bits: scaled to 8, 65,535 to 255'
  assert line in facts.notes(job)


def test_every_application_of_a_config_can_be_run():
  assert tuple(run.APPLICATIONS) == APPLICATIONS
