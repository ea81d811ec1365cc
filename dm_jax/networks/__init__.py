"""Networks, all behind `make_network(name, ...) -> Network`."""

from dm_jax.networks.registry import make_network, network_from_linen

__all__ = ['make_network', 'network_from_linen']
