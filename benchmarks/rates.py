"""What this machine could do, and what a network asks of it."""

import statistics
import time

import jax
import jax.numpy as jnp

_SIDE = 2048  # Of the matrices that are multiplied.


def matrix_rate() -> float:
  """FLOP/s of a float32 matrix product; the median of nine."""
  matrix = jnp.ones((_SIDE, _SIDE), jnp.float32)
  product = jax.jit(lambda a: a @ a)
  product(matrix).block_until_ready()
  seconds = []
  for _ in range(9):
    started = time.perf_counter()
    product(matrix).block_until_ready()
    seconds.append(time.perf_counter() - started)
  return 2 * _SIDE**3 / statistics.median(seconds)


def embed_flops(network, image_shape) -> float:
  """Operations of one image's forward pass, as XLA counts them."""
  variables = network.init(jax.random.key(0))
  image = jnp.zeros((1, *image_shape), jnp.float32)
  compiled = jax.jit(network.embed).lower(variables, image).compile()
  costs = compiled.cost_analysis() or {}
  return float(costs['flops'])
