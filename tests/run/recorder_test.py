"""What lines of metrics count."""

import numpy as np
import pytest

from dm_jax.data.class_data import ClassData
from dm_jax.run.config import RunConfig
from dm_jax.run.recorder import images_per_step

# 6 images of class 0 and 12 of class 1.
DATA = ClassData.from_arrays(
  np.zeros((18, 8, 8, 1), np.uint8), [0] * 6 + [1] * 12
)


@pytest.mark.parametrize(
  ('condense', 'embedder', 'images'),
  [
    ({'batch_real': 8}, {}, 6 + 8 + 2 * 5),
    ({'storage': 'tiles', 'factor': 2}, {}, 6 + 9 + 2 * 20),
    (
      {'storage': 'tiles', 'factor': 2, 'decoded_at_once': 7},
      {},
      6 + 9 + 2 * 7,
    ),
    # None is embedded of the real images.
    ({}, {'name': 'trajectory', 'targets': 'cached'}, 2 * 5),
  ],
)
def test_a_step_embeds_so_many_images(condense, embedder, images):
  config = RunConfig.from_dict(
    {
      'condense': {'images_per_class': 5, 'batch_real': 9, **condense},
      'embedder': embedder,
    }
  )
  assert images_per_step(config, DATA) == images
