import jax
import numpy as np
import pytest

from dm_jax.run import facts, run
from dm_jax.run.config import APPLICATIONS, RunConfig
from dm_jax.run.prepare import prepare

TAKEN = (
  'condense.smoothing is 2.0, which was tested with sgd and resnet18; the paper'
  ' has 0, for sgd and its ConvNet'
)
CHANGED = 'condense.smoothing is 1.0, but 2.0 was tested with sgd and resnet18'


@pytest.fixture
def notes(tmp_path):
  """A function of (classes, network, smoothing) -> the notes on such a run."""

  def notes(classes, network='convnet', smoothing=None):
    labels = np.arange(4 * classes) % classes
    images = np.random.default_rng(0).integers(
      0, 256, (len(labels), 8, 8, 1), np.uint8
    )
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
        'network': {'name': network, 'width': 4, 'depth': 1},
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


def test_every_application_of_a_config_can_be_run():
  assert tuple(run.APPLICATIONS) == APPLICATIONS
