"""What a program costs on a GPU, counted from its shapes."""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.arranged import Sizes, condensing, training_step
from benchmarks.folded import folded_logits
from benchmarks.kernel_table import make_table
from benchmarks.kernels import Count, Device, Kernel, count_kernels
from dm_jax import make_network
from dm_jax.devices.arrangement import Arrangement
from dm_jax.errors import InputError
from dm_jax.types import Batch

FLOAT = 4
VALUES = jax.ShapeDtypeStruct((100,), jnp.float32)
SQUARE = jax.ShapeDtypeStruct((10, 10), jnp.float32)


def counted(function, *args):
  count = count_kernels(function, *args)
  return count.number, count.bytes / FLOAT, count.flops


def test_elementwise_operations_are_one_kernel():
  # 100 floats are read, and 100 written.
  assert counted(lambda x: jnp.sin(x) * 2 + x, VALUES) == (1, 200, 0)


def test_what_is_reduced_is_computed_on_the_way():
  # The sum's kernel reads 100 and writes 1; the second reads both.
  assert counted(lambda x: jnp.sin(x).sum(), VALUES) == (1, 101, 0)
  assert counted(lambda x: x - x.sum(), VALUES) == (2, 101 + 201, 0)


def test_a_product_reads_memory():
  # 10 · 10 sums of 10 products.
  assert counted(lambda a, b: a @ b, SQUARE, SQUARE) == (1, 300, 2000)
  # The sine is a kernel of its own, which both products read.
  found = counted(lambda a: (lambda s: (a @ s, s @ a))(jnp.sin(a)), SQUARE)
  assert found == (3, 200 + 2 * 300, 4000)


def test_a_loop_counts_as_often_as_it_turns():
  def loop(a):
    return lax.fori_loop(0, 7, lambda i, a: a @ a, a)

  kernels, values, flops = counted(loop, SQUARE)
  assert flops == 7 * 2000
  # The product, and the counter's own kernel, which moves two integers.
  assert kernels == 14
  assert 7 * 200 <= values <= 7 * (200 + 4)


def test_a_loop_without_a_known_end_is_refused():
  with pytest.raises(InputError, match='use a scan'):
    count_kernels(lambda n: lax.fori_loop(0, n, lambda i, x: x + i, 0), 7)


def test_branches_count_as_often_as_they_are_taken():
  def switch(index, a):
    return lax.switch(index, [lambda a: a @ a, lambda a: (a @ a) @ a], a)

  index = jax.ShapeDtypeStruct((), jnp.int32)
  assert counted(switch, index, SQUARE)[2] == 1.5 * 2000


def test_the_branch_of_a_gpu_is_taken():
  def choose(a):
    return lax.platform_dependent(
      a, cpu=lambda a: a @ a @ a, default=lambda a: a @ a
    )

  assert counted(choose, SQUARE)[2] == 2000


def test_a_part_of_an_array_is_all_that_is_read():
  assert counted(lambda x: jnp.sin(x[:5]), VALUES) == (1, 10, 0)


def test_what_nobody_reads_costs_nothing():
  def program(a):
    _ = a @ a
    return a + 1

  assert counted(program, SQUARE) == (1, 200, 0)


@pytest.mark.parametrize('groups', [1, 2, 4])
def test_convolutions_count_as_xla_counts_them(groups):
  images = jax.ShapeDtypeStruct((3, 8, 8, 8), jnp.float32)
  kernel = jax.ShapeDtypeStruct((3, 3, 8 // groups, 16), jnp.float32)

  def convolve(images, kernel):
    return lax.conv_general_dilated(
      images,
      kernel,
      (1, 1),
      'VALID',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=groups,
    )

  compiled = jax.jit(convolve).lower(images, kernel).compile()
  flops = (compiled.cost_analysis() or {})['flops']
  assert count_kernels(convolve, images, kernel).flops == flops
  # 3 · 6² · 16 outputs of 9 · 8 / groups products.
  assert flops == 2 * 3 * 36 * 16 * 9 * 8 / groups


def test_a_bound_is_the_slowest_of_launch_bytes_and_products():
  device = Device(launch=1.0, bandwidth=10.0, rates={'tf32': 100.0})
  small, wide, deep = Kernel(5), Kernel(40), Kernel(40, 900)
  count = Count([(small, 3.0), (wide, 1.0), (deep, 2.0)])
  assert count.bound(device, 'tf32') == 3 * 1 + 4 + 2 * 9


TINY = Sizes(classes=4, images_per_class=2, batch_real=3, real=5, width=4)


def test_classes_together_take_fewer_kernels_for_the_same_products():
  counts = []
  for classes in (1, 2, 4):
    arrangement = Arrangement(classes=classes, synthetic_images=2 * classes)
    step, arguments = condensing(TINY, arrangement)
    counts.append(count_kernels(step, *jax.eval_shape(arguments)))
  kernels = [count.number for count in counts]
  assert kernels == sorted(kernels, reverse=True)
  assert kernels[-1] < kernels[0] / 2
  flops = [count.flops for count in counts]
  np.testing.assert_allclose(flops, flops[0], rtol=1e-6)


def test_networks_trained_together_take_the_kernels_of_one():
  def kernels(networks, way):
    step, arguments = training_step(TINY, networks, way)
    return count_kernels(step, *jax.eval_shape(arguments)).number

  assert kernels(6, 'mapped') == pytest.approx(6 * kernels(1, 'mapped'))
  assert kernels(6, 'vmapped') == kernels(2, 'vmapped')
  assert kernels(6, 'vmapped') < kernels(2, 'mapped')


def test_networks_folded_into_channels_classify_as_each_does():
  network = make_network(
    'convnet', image_shape=(8, 8, 3), classes=3, width=4, depth=2
  )
  keys = jax.random.split(jax.random.key(0), 3)
  variables = jax.vmap(network.init)(keys)
  images = jax.random.normal(jax.random.key(1), (3, 5, 8, 8, 3))

  def one(variables, images):
    return network.apply(variables, images, Batch(train=True)).logits

  np.testing.assert_allclose(
    jax.jit(folded_logits)(variables, images),
    jax.jit(jax.vmap(one))(variables, images),
    atol=1e-5,
  )


def test_every_way_to_train_networks_moves_them_alike():
  sizes = Sizes(2, 3, width=4, depth=1, image_shape=(8, 8, 3))
  states = []
  for way in ('mapped', 'vmapped', 'folded'):
    step, arguments = training_step(sizes, 2, way)
    states.append(jax.jit(step)(*arguments()))
  for state in states[1:]:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
      state,
      states[0],
    )


def test_a_table_tells_of_each_network():
  row = {
    'images_per_class': 10,
    'networks': 5,
    'way': 'vmapped',
    'kernels': 1234.4,
    'bytes': 2e9,
    'flops': 5e10,
    'bounds': {'tf32': 0.01},
  }
  record = {'what': 'train', 'width': 8, 'device': {'name': 'GPU'}}
  table = make_table({**record, 'rows': [row]})
  assert table.rows == [
    ('10', '5', 'vmapped', '1,234', '2.00', '0.050', '2.000')
  ]
  assert table.columns[-1] == 'Bound per network, TF32, ms'
