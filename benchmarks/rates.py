"""What this machine does and could do, and what a network asks of it."""

from collections.abc import Callable
import os
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from dm_jax.types import Batch

_SIDE = 2048  # Of the matrices that are multiplied.
# In one call, so that on a GPU, which takes one in microseconds, the start of a
# kernel and the wait for it do not count.
_PRODUCTS = 16


def square_product(
  side: int, dtype: str = 'float32'
) -> Callable[[], jax.Array]:
  """Returns a product of two square matrices: 2 · side³ operations."""
  return square_products(side, 1, dtype)


def square_products(
  side: int, count: int, dtype: str = 'float32'
) -> Callable[[], jax.Array]:
  """Returns products of square matrices, each of the one before it."""
  matrix = jnp.full((side, side), 1 / side, dtype)  # The products are equal.

  @jax.jit
  def multiply(a):
    return jax.lax.fori_loop(0, count, lambda _, b: a @ b, a)

  return lambda: multiply(matrix)


def matrix_rate(dtype: str = 'float32') -> float:
  """FLOP/s of a matrix product of this type; the median of nine."""
  product = square_products(_SIDE, _PRODUCTS, dtype)
  product().block_until_ready()
  seconds = []
  for _ in range(9):
    started = time.perf_counter()
    product().block_until_ready()
    seconds.append(time.perf_counter() - started)
  return 2 * _SIDE**3 * _PRODUCTS / statistics.median(seconds)


def embed_flops(network, image_shape) -> float:
  """Operations of one image's forward pass, as XLA counts them."""
  variables = network.init(jax.random.key(0))
  image = jnp.zeros((1, *image_shape), jnp.float32)

  @jax.jit
  def embed(variables, image):
    return network.apply(variables, image, Batch(train=True)).features

  compiled = embed.lower(variables, image).compile()
  costs = compiled.cost_analysis() or {}
  return float(costs['flops'])


def count_threads() -> int:
  """Returns how many threads XLA takes on the CPU: the cores it may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def measure_by_turns(
  ways: dict[str, Callable[[], Any]], rounds: int
) -> dict[str, float]:
  """Calls each once to compile it, then all by turns; median seconds."""
  seconds = {name: [] for name in ways}
  for call in ways.values():
    jax.block_until_ready(call())
  for _ in range(rounds):
    for name, call in ways.items():
      started = time.perf_counter()
      jax.block_until_ready(call())
      seconds[name].append(time.perf_counter() - started)
  return {name: statistics.median(each) for name, each in seconds.items()}
