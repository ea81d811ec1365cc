import jax

from dm_jax.devices.compile_clock import compile_seconds


def test_compiling_is_timed():
  before = compile_seconds()
  jax.jit(lambda x: x * 3 + 1)(jax.numpy.arange(7.0)).block_until_ready()
  assert compile_seconds() > before
