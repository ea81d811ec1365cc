"""Networks, all behind `make_network(name, ...) -> Network`."""

from dm_jax.networks.registry import (
  check_name,
  make_network,
  network_from_linen,
  paper_network,
)

__all__ = [
  'check_name',
  'make_network',
  'network_from_linen',
  'paper_network',
]
