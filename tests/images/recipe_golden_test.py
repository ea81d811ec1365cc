"""Tiles agree with the original PyTorch code; see golden/README.md.

$DM_JAX_GOLDEN names another folder of the same layout, with other seeds.
"""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.images.storage import get_storage

FOLDER = Path(
  os.environ.get('DM_JAX_GOLDEN', Path(__file__).parents[1] / 'golden')
)
RECIPE = json.loads((FOLDER / 'recipe.json').read_text())


def golden(name):
  with np.load(FOLDER / 'recipe.npz') as file:
    return channels_last(file[name])


def channels_last(images):
  return np.moveaxis(images, 1, -1)


def uniform(seed, shape):
  images = np.random.RandomState(seed).uniform(size=shape)
  return channels_last(images.astype(np.float32))


def by_tile(images, tiles):
  """Puts the golden order, all images of tile 0 first, into ours."""
  images = images.reshape(tiles, -1, *images.shape[1:])
  return images.swapaxes(0, 1).reshape(-1, *images.shape[2:])


@pytest.mark.parametrize(
  'entry', RECIPE['decode'], ids=[e['name'] for e in RECIPE['decode']]
)
def test_stored_images_are_decoded_as_in_the_original(entry):
  stored = uniform(entry['seed'], entry['stored_shape'])
  grey = jnp.full(stored.shape[-1], entry['padding_value'], jnp.float32)
  storage = get_storage(f'tiles:{entry["factor"]}')
  images = jax.jit(storage.training_images)(stored, grey)
  expected = by_tile(golden(entry['name']), storage.per_stored)
  assert images.shape == expected.shape
  np.testing.assert_allclose(images, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
  'entry', RECIPE['mix'], ids=[e['name'] for e in RECIPE['mix']]
)
def test_real_images_are_laid_into_tiles_as_in_the_original(entry):
  storage = get_storage(f'tiles:{entry["factor"]}')
  real = uniform(entry['seed'], entry['real_shape'])
  stored = storage.stored_images(by_tile(real, storage.per_stored))
  np.testing.assert_array_equal(stored, golden(entry['name']))
