"""Families: ConvNets of equal shape that share everything that is compiled."""

from collections.abc import Iterable
import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from dm_jax.config.sections import NetworkConfig
from dm_jax.errors import InputError
from dm_jax.networks.convnet import VARIANT, ConvNet, check_convnet
from dm_jax.networks.linen import built_in
from dm_jax.networks.registry import make_network
from dm_jax.types import Array, ImageShape, Network


@dataclasses.dataclass(frozen=True)
class Family:
  """ConvNets with the same parameters: width, depth, norm, pooling or none.

  Attributes:
    members: they differ in activation and kind of pooling.
  """

  members: tuple[NetworkConfig, ...]

  def make(self, image_shape: ImageShape, classes: int) -> Network:
    """Makes one network whose variables say which member it is.

    Its `init` makes the first member; `choose` turns it into another. Equal
    arguments give equal functions.

    Args:
      image_shape: (H, W, D).
      classes: C.

    Raises:
      InputError: the images are too small.
    """
    config = self.members[0]
    if len(self.members) == 1:
      return make_network(config, image_shape=image_shape, classes=classes)
    check_convnet(config, image_shape)
    variants = tuple(map(_variant, self.members))
    module: nn.Module = ConvNet(config, classes, variants)
    return built_in(
      module,
      tuple(image_shape),
      config.norm == 'batch',
      config.name,
      constants=(VARIANT,),
    )

  def choose(self, members: Iterable[NetworkConfig]) -> dict[str, Array | dict]:
    """Returns the constants that make networks members; {} for a lone one.

    Args:
      members: of this family, M.

    Returns:
      int32 [M], to be put among the variables of M networks.
    """
    if len(self.members) == 1:
      return {}
    places = [self.members.index(member) for member in members]
    return {VARIANT: {'index': jnp.array(places, jnp.int32)}}


def split_families(networks: Iterable[NetworkConfig]) -> list[Family]:
  """Groups networks by their parameters' shapes, in order of appearance.

  Raises:
    InputError: one is not a ConvNet, or comes twice.
  """
  families: dict[tuple, list[NetworkConfig]] = {}
  for network in networks:
    if network.name != 'convnet':
      raise InputError(
        f'families are of ConvNets, got {network.name}: train it by'
        ' dm_jax.evaluate'
      )
    pooled = network.pooling != 'none'
    shape = (network.width, network.depth, network.norm, pooled)
    members = families.setdefault(shape, [])
    if network in members:
      raise InputError(f'{network} comes twice: give each network once')
    members.append(network)
  return [Family(tuple(members)) for members in families.values()]


def _variant(config: NetworkConfig) -> tuple[str, str]:
  return config.activation, config.pooling
