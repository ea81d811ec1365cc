from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax import make_network
from dm_jax.condensing.footprint import (
  Activations,
  activations,
  measured_bytes,
)
from dm_jax.condensing.plan import make_plan
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.types import Batch, Network

FLOAT = 4


def no_logits(variables, images, *, train):
  return images, variables  # Nothing that counts.


def network(embed, weights=64 * 5):
  return Network.from_functions(
    init=lambda key: jax.random.normal(key, (weights,)),
    embed=embed,
    logits=no_logits,
  )


def tanh_layer(weights, images):
  flat = images.reshape(len(images), -1)  # 64 values of 8 × 8 pixels.
  return jnp.tanh(flat @ weights.reshape(64, 5))  # 320, then 5, then 5.


def test_activations_are_counted_by_hand():
  counted = activations(network(tanh_layer), (8, 8, 1))
  assert counted == Activations(
    all=(64 + 320 + 5 + 5) * FLOAT,
    largest=320 * FLOAT,
    features=5 * FLOAT,
    network=320 * FLOAT,
  )


def test_lower_precision_halves_what_is_on_the_way_alone():
  counted = activations(network(tanh_layer), (8, 8, 1), 'bfloat16')
  assert counted == Activations(
    all=(64 + 320 + 5 + 5) * FLOAT // 2,
    largest=320 * FLOAT // 2,
    features=5 * FLOAT,
    network=320 * FLOAT,
  )


def test_logits_that_nobody_reads_count_nothing():
  def embed_again(variables, images, *, train):
    return tanh_layer(variables, images) * 2.0, variables

  twice = Network.from_functions(
    network(tanh_layer).init, tanh_layer, embed_again
  )
  expected = activations(network(tanh_layer), (8, 8, 1))
  assert activations(twice, (8, 8, 1)) == expected


def test_what_is_inside_of_compiled_functions_counts():
  counted = activations(network(jax.jit(tanh_layer)), (8, 8, 1))
  assert counted.all == (64 + 320 + 5 + 5) * FLOAT


def test_one_branch_is_computed_the_longest_counts():
  def embed(weights, images):
    flat = images.reshape(len(images), -1)  # 64
    return jax.lax.platform_dependent(
      flat,
      cpu=lambda x: x + 1.0,  # 64
      default=lambda x: jnp.sin(jnp.cos(x)),  # 64 + 64
    )

  counted = activations(network(embed, 3), (8, 8, 1))
  chosen = 1  # An int32 or two say which branch.
  assert 3 * 64 <= counted.all / FLOAT <= 3 * 64 + 3 * chosen


def test_every_turn_of_a_loop_counts():
  def embed(weights, images):
    flat = images.reshape(len(images), -1)  # 64
    return jax.lax.scan(lambda x, _: (jnp.sin(x), None), flat, length=7)[0]

  counted = activations(network(embed, 3), (8, 8, 1))
  assert counted.all >= (1 + 7) * 64 * FLOAT
  assert counted.all <= (1 + 2 * 7) * 64 * FLOAT


@pytest.mark.parametrize('donated', [(), (0,)])
def test_a_compiled_program_is_measured_by_hand(donated):
  values = jax.ShapeDtypeStruct((1000,), jnp.float32)
  add = jax.jit(lambda x: x + 1, donate_argnums=donated)
  # One array goes in and one comes out: the same, where it is donated.
  expected = 1000 * FLOAT * (1 if donated else 2)
  assert measured_bytes(add.lower(values).compile()) == expected


def bytes_of_gradient(made, shape, images):
  """What XLA itself needs for the gradient of so many images' features."""
  variables = jax.eval_shape(made.init, jax.random.key(0))
  batch = jax.ShapeDtypeStruct((images, *shape), jnp.float32)

  def total(batch, variables):
    return made.apply(variables, batch, Batch(train=True)).features.sum()

  lowered = jax.jit(jax.grad(total)).lower(batch, variables)
  fast: Any = {'xla_backend_optimization_level': '0'}
  measured = measured_bytes(lowered.compile(compiler_options=fast))
  assert measured is not None
  return measured


@pytest.mark.parametrize('norm', ['instance', 'batch'])
@pytest.mark.parametrize('name', ['convnet', 'resnet18'])
def test_estimates_are_not_below_what_xla_needs_nor_far_above(name, norm):
  shape, classes, size = (16, 16, 3), 2, 8
  made = make_network(
    name, image_shape=shape, classes=classes, width=32, norm=norm
  )
  labels = np.arange(40) % classes
  data = ClassData.from_arrays(np.zeros((40, *shape), np.uint8), labels)
  # Small real batches: what is kept for the gradient is what counts.
  config = CondenseConfig(images_per_class=size, batch_real=2, micro_batch=2)
  chosen = make_plan(
    config, data, made, 'device', devices=jax.devices()[:1]
  ).fit
  assert chosen.at_once is None
  # Of independent classes one at a time is differentiated.
  together = 1 if norm == 'instance' else classes
  needed = bytes_of_gradient(made, shape, together * size)
  assert needed <= chosen.needed <= 8 * needed
