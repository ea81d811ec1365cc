"""Which networks exist, and how a Linen module becomes a `Network`."""

from collections.abc import Callable
import dataclasses
import functools

import flax.linen as nn
import jax.numpy as jnp

from dm_jax.config import NetworkConfig
from dm_jax.networks.convnet import ConvNet, check_convnet
from dm_jax.types import (
  Array,
  ImageShape,
  InputError,
  Network,
  Variables,
  choose,
)


def _make_convnet(config, image_shape, classes) -> nn.Module:
  check_convnet(config, image_shape)
  return ConvNet(config, classes)


MODULES: dict[str, Callable[..., nn.Module]] = {'convnet': _make_convnet}


def check_name(name: str) -> None:
  """Raises InputError, naming near ones, for an unknown network."""
  choose('network', name, MODULES)


def paper_network(image_shape: ImageShape) -> NetworkConfig:
  """Returns the paper's ConvNet: four layers from 64 pixels on, else three."""
  depth = 4 if min(image_shape[:2]) >= 64 else NetworkConfig().depth
  return NetworkConfig(depth=depth)


def make_network(
  network: str | NetworkConfig,
  *,
  image_shape: ImageShape,
  classes: int,
  **options,
) -> Network:
  """Makes one of the library's networks.

  Args:
    network: a name, or a whole config.
    image_shape: (H, W, D).
    classes: C, the outputs of the classifier.
    **options: with a name, the other fields of `NetworkConfig`.

  Returns:
    The network; equal arguments give equal functions, so that compiled code
    is shared.

  Raises:
    InputError: an unknown name or option, or images that are too small.

  Example:
    network = dm_jax.make_network('convnet', image_shape=(32, 32, 3),
                                  classes=10, norm='batch')
  """
  if isinstance(network, str):
    fields = {field.name for field in dataclasses.fields(NetworkConfig)}
    fields.remove('name')
    for option in options:
      choose('network option', option, sorted(fields))
    network = NetworkConfig(name=network, **options)
  elif options:
    raise InputError(f'options {sorted(options)} go with a name, not a config')
  check_name(network.name)
  module = MODULES[network.name](network, tuple(image_shape), classes)
  mixes_images = network.norm == 'batch'
  return network_from_linen(module, tuple(image_shape), mixes_images)


@functools.lru_cache
def network_from_linen(
  module: nn.Module, image_shape: ImageShape, mixes_images: bool
) -> Network:
  """Wraps a module whose call (images, train) gives (features, logits)."""

  def init(key) -> Variables:
    images = jnp.zeros((1, *image_shape), jnp.float32)
    return module.init(key, images, train=False)

  def call(variables, images, train):
    (features, logits), updated = module.apply(
      variables, images, train=train, mutable=['batch_stats'] if train else []
    )
    return features, logits, {**variables, **updated}

  def embed(variables, images) -> Array:
    return call(variables, images, True)[0]

  def logits(variables, images, *, train) -> tuple[Array, Variables]:
    return call(variables, images, train)[1:]

  return Network(init, embed, logits, mixes_images)
