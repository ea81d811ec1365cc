from pathlib import Path
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax import make_network
from dm_jax.condensing.footprint import Activations, activations
from dm_jax.condensing.plan import make_plan
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.devices import free_memory as memory
from dm_jax.types import Batch, Network

FLOAT = 4


def no_logits(variables, images, *, train):
  return images.reshape(len(images), -1), variables


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


def bytes_of_gradient(made, shape, images):
  """What XLA itself needs for the gradient of so many images' features."""
  variables = jax.eval_shape(made.init, jax.random.key(0))
  batch = jax.ShapeDtypeStruct((images, *shape), jnp.float32)

  def total(batch, variables):
    return made.apply(variables, batch, Batch(train=True)).features.sum()

  lowered = jax.jit(jax.grad(total)).lower(batch, variables)
  fast: Any = {'xla_backend_optimization_level': '0'}
  analysis = lowered.compile(compiler_options=fast).memory_analysis()
  assert analysis is not None
  return analysis.temp_size_in_bytes


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


def device(platform='gpu', stats=None) -> Any:
  return types.SimpleNamespace(platform=platform, memory_stats=lambda: stats)


def test_a_device_says_what_is_free():
  stats = {'bytes_limit': 1000, 'bytes_in_use': 300}
  assert memory.free_bytes(device(stats=stats)) == 700
  assert memory.free_bytes(device(stats={'bytes_limit': 1000})) == 1000


@pytest.mark.parametrize('stats', [None, {}, {'bytes_in_use': 3}])
def test_a_device_may_not_say_what_is_free(stats):
  assert memory.free_bytes(device(stats=stats)) is None


@pytest.fixture
def host(tmp_path, monkeypatch):
  """A host with 5000 kB free; the folder of its container's files."""
  meminfo = tmp_path / 'meminfo'
  meminfo.write_text(
    'MemTotal:       9000 kB\nMemFree:         100 kB\n'
    'MemAvailable:   5000 kB\n'
  )
  monkeypatch.setattr(memory, '_MEMINFO', meminfo)
  monkeypatch.setattr(memory, '_CGROUP', tmp_path)
  monkeypatch.setattr(memory, '_MEMBERSHIP', tmp_path / 'cgroup')
  return tmp_path


@pytest.mark.parametrize(
  ('limit', 'used', 'free'),
  [
    (None, None, 5000 * 1024),
    ('max', 100, 5000 * 1024),
    (2**20, 2**18, 2**20 - 2**18),
    (2**40, 2**18, 5000 * 1024),
    (2**20, 2**21, 0),
  ],
)
def test_a_cpu_has_what_host_and_container_leave(host, limit, used, free):
  if limit is not None:
    (host / 'memory.max').write_text(f'{limit}\n')
    (host / 'memory.current').write_text(f'{used}\n')
  assert memory.free_bytes(device('cpu')) == free


@pytest.mark.parametrize('limits', [(2000, None, 900), (None, 900, 'max')])
def test_a_job_has_what_every_group_around_it_leaves(host, limits):
  (host / 'cgroup').write_text('1:cpu:/other\n0::/slurm/job_1\n')
  job = host / 'slurm' / 'job_1'
  job.mkdir(parents=True)
  for folder, limit in zip((host, host / 'slurm', job), limits, strict=True):
    if limit is not None:
      (folder / 'memory.max').write_text(f'{limit}\n')
      (folder / 'memory.current').write_text('150\n')
  (job / 'memory.stat').write_text('active_file 40\ninactive_file 10\n')
  # 50 of the job's bytes are files that nobody needs to keep.
  free = 800 if limits[-1] == 900 else 750
  assert memory.free_bytes(device('cpu')) == free


def test_elsewhere_nothing_is_known_of_a_cpu(host):
  (host / 'meminfo').unlink()
  assert memory.free_bytes(device('cpu')) is None


def test_this_host_has_some_memory_free():
  free = memory.free_bytes(jax.devices()[0])
  if Path('/proc/meminfo').exists():
    assert free is not None
    assert free > 2**20
