"""Networks, all behind `make_network(name, ...) -> Network`."""

from dm_jax.networks.batch_norm import Batch
from dm_jax.networks.convnet import VARIANT
from dm_jax.networks.family import Family, split_families
from dm_jax.networks.linen import AnyNetwork, as_network, network_from_linen
from dm_jax.networks.pool import POOLS, label, parse_pool
from dm_jax.networks.registry import (
  check_name,
  make_network,
  names,
  paper_network,
  register_network,
  unused_fields,
)

__all__ = [
  'POOLS',
  'VARIANT',
  'AnyNetwork',
  'Batch',
  'Family',
  'as_network',
  'check_name',
  'label',
  'make_network',
  'names',
  'network_from_linen',
  'paper_network',
  'parse_pool',
  'register_network',
  'split_families',
  'unused_fields',
]
