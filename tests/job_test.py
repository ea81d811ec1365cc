import numpy as np
import pytest

from dm_jax import job
from dm_jax.config import RunConfig

TAKEN = (
  'condense.smoothing is 2.0, which was tested with resnet18; the paper has 0,'
  ' for its ConvNet'
)
CHANGED = 'condense.smoothing is 1.0, but 2.0 was tested with resnet18'


@pytest.fixture
def notes(tmp_path):
  """A function of (network, smoothing) -> what is said of smoothing."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (8, 8, 8, 1), np.uint8)
  labels = np.arange(8) % 2
  np.savez(
    tmp_path / 'data.npz',
    train_images=images,
    train_labels=labels,
    test_images=images,
    test_labels=labels,
  )

  def notes(network, smoothing):
    config = RunConfig.from_dict(
      {
        'data': {'name': 'npz', 'dir': str(tmp_path / 'data.npz')},
        'network': {'name': network, 'width': 4, 'depth': 1},
        'condense': {'images_per_class': 1, 'smoothing': smoothing},
      }
    )
    prepared = job.prepare(config, 'condense', tmp_path, None, '', print)
    told = job.notes(prepared)
    return [line for line in told if line.startswith('condense.smoothing')]

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
  assert notes(network, smoothing) == expected
