"""Agreement with the original PyTorch code; see golden/README.md.

$DM_JAX_GOLDEN names another folder of the same layout, with other seeds.
"""

import dataclasses
import functools
import json
import math
import os
from pathlib import Path
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dm_jax.condensing.condense import PROBLEM_AXES, STATE_AXES
from dm_jax.condensing.plan import make_plan
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.devices.layout import lay_out
from dm_jax.images import augment
from dm_jax.matching.distances import characteristic_distance
from dm_jax.matching.optimizer import resolve_optimizer
from dm_jax.matching.state import CondenseState, make_problem
from dm_jax.matching.step import make_step
from dm_jax.networks.registry import make_network
from dm_jax.types import Batch, Pair

FOLDER = Path(
  os.environ.get('DM_JAX_GOLDEN', Path(__file__).parents[1] / 'golden')
)
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


def make_convnet(entry, **shape):
  options = entry['kwargs']
  return make_network(
    'convnet',
    **shape,
    width=options['net_width'],
    depth=options['net_depth'],
    norm=NORMS[options['net_norm']],
    activation=options['net_act'].replace('leakyrelu', 'leaky_relu'),
    pooling=options['net_pooling'].replace('pooling', ''),
  )


def make_other(entry, **shape):
  """Makes e.g. resnet18_ap with batch norm of an entry of ResNet18BN_AP."""
  name = entry['torch_class'].lower()
  norm = 'batch' if 'bn' in name else 'instance'
  return make_network(name.replace('bn', ''), **shape, norm=norm)


def make(entry):
  _, channels, height, width = entry['image_shape_nchw']
  _, (classes,), _ = entry['params'][-1]  # The classifier's bias.
  shape = {'image_shape': (height, width, channels), 'classes': classes}
  maker = make_convnet if entry['torch_class'] == 'ConvNet' else make_other
  return maker(entry, **shape)


def to_params(layers, like, channels):
  """The same parameters in this library's names and layouts.

  Layers are numbered by kind in the original's order, in each block of a ResNet
  anew.

  Args:
    layers: as `draw_tensors` gives them.
    like: this library's parameters.
    channels: of the images.
  """
  params, numbers = {}, {}
  for layer, tensors in layers.items():
    scope, block = '', re.match(r'layer(\d)\.(\d)\.', layer)
    if block:
      stage, second = map(int, block.groups())
      scope = f'_Block_{2 * (stage - 1) + second}'
    weight = tensors['weight']
    kind = {2: 'Linear', 4: 'Convolution'}.get(weight.ndim, 'Norm')
    number = numbers.get((scope, kind), 0)
    numbers[scope, kind] = number + 1
    name = f'{kind}_{number}'
    if kind == 'Linear':
      # The first one after maps flattens them; later ones see 1×1 maps.
      layer = {**tensors, 'kernel': flat_channels_last(weight, channels).T}
      channels = len(weight)
    elif kind == 'Convolution':
      layer = {**tensors, 'kernel': weight.transpose(2, 3, 1, 0)}
      channels = len(weight)
    else:
      moved = {k: np.moveaxis(v, 0, -1) for k, v in tensors.items()}
      inner = next(iter((like[scope] if scope else like)[name]))
      layer = {inner: {'scale': moved['weight'], 'bias': moved['bias']}}
    layer.pop('weight', None)
    (params.setdefault(scope, {}) if scope else params)[name] = layer
  return params


def flat_channels_last(flat, channels):
  """[N, C·H·W] -> [N, H·W·C], of square maps."""
  side = math.isqrt(flat.shape[1] // channels)
  maps = flat.reshape(len(flat), channels, side, side)
  return channels_last(maps).reshape(len(flat), -1)


ENTRIES = {entry['name']: entry for entry in SPEC['networks']}


def build(entry, seed):
  """Returns the network of an entry and the original's parameters for it."""
  network = make(entry)
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  variables = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  channels = entry['image_shape_nchw'][1]
  layers = draw_tensors(entry, seed)
  params = to_params(layers, shapes['params'], channels)
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
    outputs = network.apply(variables, images, Batch(train=True))
    return outputs.features, outputs.logits

  features, logits = outputs(variables, images)
  arrays = golden('networks')
  if f'{name}/features' in arrays:  # The original's MLP and LeNet give none.
    expected = arrays[f'{name}/features']
    channels = [shape[0] for _, shape, _ in entry['params'] if len(shape) == 4][
      -1
    ]
    expected = flat_channels_last(expected, channels)
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


def test_characteristic():
  spec = json.loads((FOLDER / 'recipe.json').read_text())['characteristic']

  def state(name):
    return np.random.RandomState(spec[f'{name}_seed'])

  real, synthetic = (
    state(name).uniform(size=spec[f'{name}_shape']).astype(np.float32)
    for name in ('real', 'synthetic')
  )
  frequencies = standard_normal(state('frequency'), spec['frequency_shape'])
  given = (real, np.ones(len(real), np.float32), synthetic, frequencies)
  distance = characteristic_distance(*map(jnp.asarray, given))
  expected = golden('recipe')['characteristic']
  check('the distance', distance, expected, 1e-4 * expected)


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


def condense_golden(config, entry, seeds, devices=1):
  """Yields (loss, gradient, images) after each step of `make_step`.

  Args:
    config: learning rate and momentum.
    entry: of the network.
    seeds: of the parameters, one for each step.
    devices: that the classes are dealt to, as one batch of a batch norm.
  """
  data, images = dm_images()
  network, _ = build(entry, seeds[0])
  layout = lay_out(data.classes, jax.devices()[:devices])
  axes = (STATE_AXES, PROBLEM_AXES)
  step = layout.map(make_step(network, config, axis=layout.axis), axes)
  moves = resolve_optimizer(config, network).make()
  optimizer = jax.vmap(moves.init)(images)
  state = CondenseState(jnp.int32(0), images, optimizer, ({'mean': ()},))
  velocity = jnp.zeros_like(images)
  for seed in seeds:
    _, variables = build(entry, seed)
    embedder = jax.tree_util.Partial(same_variables, variables)
    problem = make_problem(data, jax.random.key(0), embedder)
    before = state.images
    dealt = layout.deal(state, axes[0], donated=True)
    dealt, losses = step(dealt, layout.deal(problem, axes[1]))
    state = layout.gather(dealt, axes[0])
    earlier = config.momentum * velocity
    velocity = (before - state.images) / (config.learning_rate or 1.0)
    loss = layout.gather_last(losses['mean']).sum()
    yield loss, velocity - earlier, state.images


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
    check(f'{what}syn', images, expected, float(rate) * allowed)


@pytest.mark.parametrize('devices', [1, 2, 3])
def test_batch_norm_with_all_classes_as_one_batch(devices):
  norms = {e['kwargs'].get('net_norm'): e for e in ENTRIES.values()}
  entry, seed = norms['batchnorm'], SPEC['dm']['batchnorm_param_seed']
  config = CondenseConfig(learning_rate=1.0, augment='none')
  loss, gradient, _ = next(condense_golden(config, entry, [seed], devices))
  check_loss_and_gradient(
    'dm_batchnorm/', loss, gradient, golden('dm_batchnorm')
  )


RECIPE = json.loads((FOLDER / 'recipe.json').read_text())


def uniform(seed, shape):
  array = np.random.RandomState(seed).uniform(size=shape).astype(np.float32)
  return channels_last(array)


def recipe_problem(number):
  """The algorithm, the first state and what iteration `number` reads."""
  spec = RECIPE['step']
  real = uniform(spec['real_seed'], spec['real_shape'])
  classes, batch, *shape = real.shape
  network = make_network(
    'convnet',
    image_shape=tuple(shape),
    classes=classes,
    width=spec['network']['width'],
    depth=spec['network']['depth'],
  )
  data = ClassData(
    images=255 * real,  # Of unit range, as these pixels are.
    counts=np.full(classes, batch, np.int32),
    mean=(0.0,) * shape[-1],
    std=(1.0,) * shape[-1],
  )
  config = CondenseConfig(
    images_per_class=spec['images_per_class'],
    batch_real=batch,
    init='noise',
    augment='none',
    storage='tiles',
    factor=spec['factor'],
    cross_entropy=spec['alpha'],
    learning_rate=spec['learning_rate'],
    momentum=0.0,
  )
  like = jax.eval_shape(network.init, jax.random.key(0))

  def variables(seed):
    layers = draw_tensors(spec['network'], seed)
    params = to_params(layers, like['params'], shape[-1])
    return {**like, 'params': jax.tree.map(jnp.asarray, params)}

  pair = Pair(
    variables(spec['network']['theta_seeds'][number]),
    variables(spec['network']['phi_seeds'][number]),
  )
  embedder = jax.tree_util.Partial(same_variables, pair)
  problem = make_problem(data, jax.random.key(0), embedder)
  plan = make_plan(config, data, network)
  start = uniform(spec['stored_seed'], spec['stored_shape'])
  start = start.reshape(classes, -1, *shape)
  return plan.algorithm, data, problem, start


@pytest.mark.parametrize('number', [0, 1], ids=['step0', 'step1'])
def test_matching_tiles_with_cross_entropy(number):
  spec, arrays = RECIPE['step'], golden('recipe')
  algorithm, data, problem, images = recipe_problem(number)
  velocity = np.zeros_like(images)
  if number:
    gradient = channels_last(arrays['step0/grad']).reshape(images.shape)
    for c in range(spec['classes']):
      _, velocity = step_by_class(images, velocity, gradient, c)
    images = channels_last(arrays['step0/stored']).reshape(images.shape)
    images = np.clip(images, 0, 1)  # As it does before each iteration.
  state = algorithm.init(data, jax.random.key(0), 'noise')
  at = jax.jit(
    lambda images: algorithm.gradient(
      dataclasses.replace(state, images=images), problem
    )
  )
  expected = channels_last(arrays[f'step{number}/grad']).reshape(images.shape)
  allowed = 1e-3 * largest(expected)
  for c in range(spec['classes']):
    gradient, compared = jax.device_get(at(images))
    for name, term in {'match': 'mean', 'ce': 'cross_entropy'}.items():
      value = arrays[f'step{number}/{name}_{c}']
      weight = spec['alpha'] if name == 'ce' else 1
      loss = compared.losses[term][c] / weight
      check(f'step{number}/{name}_{c}', loss, value, 1e-4 * value)
    check_pixels(f'step{number}/grad', gradient[c], expected[c], allowed)
    images, velocity = step_by_class(images, velocity, gradient, c)
  expected = channels_last(arrays[f'step{number}/stored']).reshape(images.shape)
  allowed *= 2 * spec['learning_rate']
  check_pixels(f'step{number}/stored', images, expected, allowed)


def check_pixels(what, actual, expected, allowed):
  """Compares all pixels but those below a ReLU that rounding opens or shuts."""
  off = np.abs(actual - expected)
  assert (off > allowed).mean() <= 0.01, what
  check(what, actual, expected, 50 * allowed)


def step_by_class(images, velocity, gradient, label):
  """The original's SGD step on all images for one of the classes."""
  spec = RECIPE['step']
  of_class = np.zeros_like(gradient)
  of_class[label] = gradient[label]
  velocity = spec['momentum'] * velocity + of_class
  return images - spec['learning_rate'] * velocity, velocity


def test_steps_by_class_are_one_step_without_momentum_at_twice_the_rate():
  """Of two classes; the rest of a velocity comes in the next iterations."""
  images = velocity = np.zeros((2, 1))
  gradient = np.array([[1.0], [-3.0]])
  for label in (0, 1, *[0] * 18):
    now = gradient if not images.any() or label else np.zeros((2, 1))
    images, velocity = step_by_class(images, velocity, now, label)
  descent = optax.sgd(2 * RECIPE['step']['learning_rate'])
  updates, _ = descent.update(gradient, descent.init(gradient))
  np.testing.assert_allclose(images, np.asarray(updates), rtol=2**-18)
