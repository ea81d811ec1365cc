from collections.abc import Sequence

import flax.linen as nn
import jax
import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.networks.linen import as_network, network_from_linen
from dm_jax.networks.registry import make_network
from dm_jax.types import Batch

KEY = jax.random.key(0)
SHAPE = (4, 4, 1)
IMAGES = jax.random.normal(KEY, (5, *SHAPE))


class Plain(nn.Module):
  """Gives logits alone and knows nothing of training."""

  @nn.compact
  def __call__(self, images):
    hidden = nn.relu(nn.Dense(6)(images.reshape(len(images), -1)))
    return nn.Dense(3)(hidden)


class Listed(nn.Module):
  """Has a list for a field."""

  widths: Sequence[int]

  @nn.compact
  def __call__(self, images):
    hidden = images.reshape(len(images), -1)
    for width in self.widths:
      hidden = nn.relu(nn.Dense(width)(hidden))
    return nn.Dense(3)(hidden)


class Normalised(nn.Module):
  """Has batch norm, and one of the names for training."""

  @nn.compact
  def __call__(self, images, deterministic):
    features = nn.Conv(2, (3, 3))(images)
    features = nn.BatchNorm(use_running_average=deterministic)(features)
    return features, nn.Dense(3)(features.reshape(len(features), -1))


class Dropped(nn.Module):
  @nn.compact
  def __call__(self, images, train):
    dropped = nn.Dropout(0.5, deterministic=not train)(images)
    return nn.Dense(3)(dropped.reshape(len(images), -1))


class NoClassifier(nn.Module):
  @nn.compact
  def __call__(self, images):
    return images.reshape(len(images), -1)


def test_features_are_what_the_last_dense_layer_was_given():
  network = network_from_linen(Plain(), SHAPE)
  variables = network.init(KEY)
  features, _, logits, same = network.apply(variables, IMAGES, Batch(True))
  assert features.shape == (5, 6)
  last = variables['params']['Dense_1']
  np.testing.assert_allclose(
    features @ last['kernel'] + last['bias'][None], logits, rtol=1e-5
  )
  assert jax.tree.all(jax.tree.map(np.array_equal, variables, same))
  assert not network.mixes_images


def test_batch_norm_is_noticed_and_told_of_training():
  network = network_from_linen(Normalised(), SHAPE)
  assert network.mixes_images
  assert network.needs_whole_batch
  variables = network.init(KEY)
  trained, tested = (
    network.apply(variables, 3 + IMAGES, Batch(train))
    for train in (True, False)
  )
  assert trained.features.shape == (5, 4 * 4 * 2)

  def mean(variables):
    return variables['batch_stats']['BatchNorm_0']['mean']

  assert (mean(trained.variables) != mean(variables)).all()
  assert (mean(tested.variables) == mean(variables)).all()


def test_equal_modules_share_one_network():
  assert network_from_linen(Plain(), SHAPE) is network_from_linen(
    Plain(), SHAPE
  )
  network = make_network('mlp', image_shape=SHAPE, classes=3)
  assert as_network(network, SHAPE) is network
  assert as_network(Plain(), SHAPE) is network_from_linen(Plain(), SHAPE)


@pytest.mark.parametrize(
  ('module', 'message'),
  [
    (Dropped(), 'Dropped draws random numbers'),
    (NoClassifier(), 'features, logits'),
    (Listed([4, 8]), 'Listed has a field that cannot be hashed, .* a tuple'),
    ('convnet', "a Linen module, got 'convnet'"),
    (None, 'must be a dm_jax.Network'),
  ],
)
def test_what_cannot_be_a_network(module, message):
  with pytest.raises(InputError, match=message):
    as_network(module, SHAPE)
