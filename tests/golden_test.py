"""Agreement with the original PyTorch code; see golden/README.md.

$DM_JAX_GOLDEN names another folder of the same layout, with other seeds.
"""

from collections.abc import Callable
import functools
import json
import math
import os
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax import augment
from dm_jax.condense import (
  CondenseState,
  make_optimizer,
  make_problem,
  make_step,
)
from dm_jax.config import CondenseConfig
from dm_jax.data import ClassData
from dm_jax.networks import make_network
from dm_jax.types import Network

FOLDER = Path(os.environ.get('DM_JAX_GOLDEN', Path(__file__).parent / 'golden'))
SPEC = json.loads((FOLDER / 'spec.json').read_text())
NORMS = {
  'instancenorm': 'instance',
  'batchnorm': 'batch',
  'layernorm': 'layer',
  'groupnorm': 'group',
  'none': 'none',
}


@functools.cache
def golden(name):
  with np.load(FOLDER / f'{name}.npz') as file:
    return dict(file)


def check(what, actual, expected, allowed):
  """Compares arrays; `allowed` is the largest absolute difference."""
  actual = np.asarray(actual)
  assert actual.shape == expected.shape, f'{what} has another shape'
  off = np.abs(actual - expected).max()
  assert off <= allowed, (
    f'{what} is off by {off:.3g} where {allowed:.3g} is allowed and the largest'
    f' golden value is {np.abs(expected).max():.3g} ({FOLDER})'
  )


def largest(array):
  return float(np.abs(array).max())


def standard_normal(state, shape):
  return state.standard_normal(size=shape).astype(np.float32)


def channels_last(array):
  """[..., C, H, W] -> [..., H, W, C]."""
  return np.moveaxis(array, -3, -1)


def draw_tensors(entry, seed):
  """The original's parameters, {layer: {'weight': …, 'bias': …}}."""
  state, layers = np.random.RandomState(seed), {}
  for name, shape, kind in entry['params']:
    x = standard_normal(state, shape)
    if kind == 'weight':
      x *= np.float32(math.sqrt(2 / math.prod(shape[1:])))
    elif kind == 'norm_scale':
      x = 1 + np.float32(0.1) * x
    else:
      x *= np.float32(0.1)
    layer, part = name.rsplit('.', 1)
    layers.setdefault(layer, {})[part] = x
  return layers


def make_convnet(entry):
  options = entry['kwargs']
  _, channels, height, width = entry['image_shape_nchw']
  shapes = {name: shape for name, shape, _ in entry['params']}
  (classes,) = shapes['classifier.bias']
  return make_network(
    'convnet',
    image_shape=(height, width, channels),
    classes=classes,
    width=options['net_width'],
    depth=options['net_depth'],
    norm=NORMS[options['net_norm']],
    activation=options['net_act'].replace('leakyrelu', 'leaky_relu'),
    pooling=options['net_pooling'].replace('pooling', ''),
  )


def convnet_params(entry, layers, like):
  """The same parameters in this library's names and layouts."""
  params, block = {}, -1
  for layer, tensors in layers.items():
    weight, bias = tensors['weight'], tensors['bias']
    if layer == 'classifier':
      kernel = flat_channels_last(weight, entry['kwargs']['net_width']).T
      params['Linear_0'] = {'kernel': kernel, 'bias': bias}
    elif weight.ndim == 4:
      block += 1
      kernel = weight.transpose(2, 3, 1, 0)
      params[f'Convolution_{block}'] = {'kernel': kernel, 'bias': bias}
    else:
      name = next(name for name in like if name.endswith(f'Norm_{block}'))
      scale, bias = np.moveaxis(weight, 0, -1), np.moveaxis(bias, 0, -1)
      params[name] = {'scale': scale, 'bias': bias}
  return params


def flat_channels_last(flat, channels):
  """[N, C·H·W] -> [N, H·W·C], of square maps."""
  side = math.isqrt(flat.shape[1] // channels)
  maps = flat.reshape(len(flat), channels, side, side)
  return channels_last(maps).reshape(len(flat), -1)


# Torch class -> how to make the network, and how to give it the parameters.
# Entries of other classes are not compared.
NETWORKS: dict[str, tuple[Callable[..., Network], Callable]] = {
  'ConvNet': (make_convnet, convnet_params)
}
ENTRIES = {
  entry['name']: entry
  for entry in SPEC['networks']
  if entry['torch_class'] in NETWORKS
}


def build(entry, seed):
  """Returns the network of an entry and the original's parameters for it."""
  make, to_params = NETWORKS[entry['torch_class']]
  network = make(entry)
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  variables = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  params = to_params(entry, draw_tensors(entry, seed), shapes['params'])
  chex.assert_trees_all_equal_shapes(params, shapes['params'])
  return network, {**variables, 'params': jax.tree.map(jnp.asarray, params)}


@pytest.mark.parametrize('name', ENTRIES)
def test_features_and_logits(name):
  entry = ENTRIES[name]
  network, variables = build(entry, entry['param_seed'])
  state = np.random.RandomState(entry['input_seed'])
  images = channels_last(standard_normal(state, entry['image_shape_nchw']))

  @jax.jit
  def outputs(variables, images):
    logits, _ = network.logits(variables, images, train=True)
    return network.embed(variables, images), logits

  features, logits = outputs(variables, images)
  arrays = golden('networks')
  expected = arrays[f'{name}/features']
  expected = flat_channels_last(expected, entry['kwargs']['net_width'])
  check(f'{name}/features', features, expected, 1e-4 * largest(expected))
  expected = arrays[f'{name}/logits']
  check(f'{name}/logits', logits, expected, 1e-4 * largest(expected))


@pytest.mark.parametrize('mode', ['siamese', 'per_image'])
@pytest.mark.parametrize('operation', SPEC['dsa']['meaning'])
def test_augmentation(operation, mode):
  arrays, spec = golden('dsa'), SPEC['dsa']
  state = np.random.RandomState(spec['input_seed'])
  images = channels_last(standard_normal(state, spec['shape_nchw']))
  values = arrays[f'{operation}/{mode}/param'].astype(np.float32)
  if operation in ('brightness', 'saturation', 'contrast'):
    values = values.reshape(-1)
  else:
    values = values.reshape(len(values), -1)
  one = getattr(augment, operation)
  if mode == 'siamese':
    output = jax.jit(jax.vmap(one, (0, None)))(images, values[0])
  else:
    output = jax.jit(jax.vmap(one))(images, values)
  expected = channels_last(arrays[f'{operation}/{mode}/output'])
  check(f'{operation}/{mode}/output', output, expected, 2e-5)


def dm_images():
  """Returns the real data and the synthetic images [C, S, H, W, D]."""
  spec = SPEC['dm']
  state = np.random.RandomState(spec['data_seed'])
  real = channels_last(standard_normal(state, spec['real_shape']))
  synthetic = channels_last(standard_normal(state, spec['syn_shape']))
  classes, count, *_, channels = real.shape
  data = ClassData(
    images=real,
    counts=np.full(classes, count, np.int32),
    # The golden images are not uint8: with these, normalising is the identity.
    mean=(0.0,) * channels,
    std=(1 / 255,) * channels,
    class_names=tuple(map(str, range(classes))),
  )
  return data, jnp.asarray(synthetic)


def same_variables(variables, key):
  """An embedder that gives one fixed network."""
  del key
  return variables


def condense_golden(config, entry, seeds):
  """Yields (loss, gradient, images) after each step of `make_step`.

  Args:
    config: learning rate and momentum.
    entry: of the network.
    seeds: of the parameters, one for each step.
  """
  data, images = dm_images()
  network, _ = build(entry, seeds[0])
  step = jax.jit(make_step(network, config))
  optimizer = jax.vmap(make_optimizer(config).init)(images)
  state = CondenseState(jnp.int32(0), images, optimizer)
  velocity = jnp.zeros_like(images)
  for seed in seeds:
    _, variables = build(entry, seed)
    embedder = jax.tree_util.Partial(same_variables, variables)
    problem = make_problem(data, jax.random.key(0), embedder)
    before = state.images
    state, losses = step(state, problem)
    earlier = config.momentum * velocity
    velocity = (before - state.images) / config.learning_rate
    yield losses.sum(), velocity - earlier, state.images


def check_loss_and_gradient(what, loss, gradient, arrays, prefix=''):
  expected = arrays[f'{prefix}loss']
  check(f'{what}loss', loss, expected, 1e-4 * largest(expected))
  expected = channels_last(arrays[f'{prefix}grad'])
  check(f'{what}grad', gradient, expected, 1e-3 * largest(expected))


def test_two_steps():
  spec, arrays = SPEC['dm'], golden('dm_steps')
  entry = ENTRIES[spec['network'].split()[0]]
  _, _, rate, _, momentum = spec['optimizer'].split()
  config = CondenseConfig(
    learning_rate=float(rate), momentum=float(momentum), augment='none'
  )
  steps = condense_golden(config, entry, spec['param_seeds'])
  for number, (loss, gradient, images) in enumerate(steps):
    prefix = f'step{number}/'
    what = f'dm_steps/{prefix}'
    check_loss_and_gradient(what, loss, gradient, arrays, prefix)
    expected = channels_last(arrays[f'{prefix}syn'])
    # Images are off by what the gradients that moved them may be off.
    allowed = 1e-3 * (number + 1) * largest(arrays[f'{prefix}grad'])
    check(f'{what}syn', images, expected, config.learning_rate * allowed)


def test_batch_norm_with_all_classes_as_one_batch():
  norms = {e['kwargs'].get('net_norm'): e for e in ENTRIES.values()}
  entry, seed = norms['batchnorm'], SPEC['dm']['batchnorm_param_seed']
  config = CondenseConfig(augment='none')
  loss, gradient, _ = next(condense_golden(config, entry, [seed]))
  check_loss_and_gradient(
    'dm_batchnorm/', loss, gradient, golden('dm_batchnorm')
  )
