"""Asserts that the library and the PyTorch loop compute the same."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import peer_torch, peer_trajectory
import dm_jax
from dm_jax.devices.arrangement import get_arrangement
from dm_jax.images import augment
from dm_jax.matching.optimizer import resolve_optimizer
from dm_jax.training import step as training
from dm_jax.types import Pair

_WIDTH = 8
_SIDE = 16
_TOLERANCE = 1e-4  # Of the largest value.


def check(device, recipe: str) -> None:
  """Asserts that both compute the same, in full float32.

  Args:
    device: PyTorch's.
    recipe: whose step is measured.
  """
  exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
  with exact, jax.default_matmul_precision('float32'):
    check_matching(device)
    if recipe != 'paper':
      check_trajectory(device, recipe)
    check_training(device)
    check_augmentation(device)


def random_data(classes: int, count: int, side: int) -> dm_jax.ClassData:
  """Returns `count` images of random pixels of each class."""
  draw = np.random.default_rng(0).integers
  pixels = draw(0, 256, (classes * count, side, side, 3), np.uint8)
  labels = np.repeat(np.arange(classes), count)
  return dm_jax.ClassData.from_arrays(pixels, labels)


def make_network(classes: int) -> dm_jax.Network:
  return dm_jax.make_network(
    'convnet', image_shape=(_SIDE, _SIDE, 3), classes=classes, width=_WIDTH
  )


def to_convnet(variables, classes: int, device):
  """Copies the library's fresh ConvNet, whose norms scale by 1 and add 0."""
  params = jax.tree.map(np.array, variables['params'])
  network = peer_torch.make_convnet(_WIDTH, classes, _SIDE, device)
  for number in range(3):
    layer = params[f'Convolution_{number}']
    kernel = layer['kernel'].transpose(3, 2, 0, 1)
    _copy(kernel, layer['bias'], network[4 * number])
  layer = params['Linear_0']
  maps = layer['kernel'].reshape(_SIDE // 8, _SIDE // 8, _WIDTH, classes)
  kernel = maps.transpose(3, 2, 0, 1).reshape(classes, -1)
  _copy(kernel, layer['bias'], network[-1])
  return network


def _copy(kernel, bias, layer) -> None:
  layer.weight.data.copy_(torch.from_numpy(kernel))
  layer.bias.data.copy_(torch.from_numpy(bias))


def same_variables(variables, key):
  """An embedder that gives one fixed network."""
  del key
  return variables


def assert_close(what: str, ours, theirs) -> None:
  ours, theirs = np.asarray(ours), theirs.cpu().numpy()
  off = np.abs(ours - theirs).max() / np.abs(ours).max()
  assert off <= _TOLERANCE, f'{what} differ by {off:.2g} of the largest'


def check_matching(device) -> None:
  """Asserts that two steps give the same losses and pixels, unaugmented."""
  data = random_data(classes=2, count=6, side=_SIDE)
  network = make_network(data.classes)
  variables = network.init(jax.random.key(1))
  # All images of each class: the order in which they are drawn is no matter.
  config = dm_jax.CondenseConfig(
    images_per_class=3, batch_real=6, augment='none'
  )
  embedder = jax.tree_util.Partial(same_variables, variables)
  key = jax.random.key(0)
  problem = dm_jax.make_problem(data, key, embedder)
  state = dm_jax.init_state(data, config, key, network=network)
  step = jax.jit(dm_jax.make_step(network, config))
  real = peer_torch.RealImages.from_classes(
    data.images, data.mean, data.std, device
  )
  synthetic = peer_torch.to_torch(state.images, device).requires_grad_()
  optimizer = peer_torch.make_pixel_optimizer(synthetic)
  copied = to_convnet(variables, data.classes, device)
  for _ in range(2):  # The second one shows the momentum.
    state, losses = step(state, problem)
    loss = peer_torch.match(
      copied, real, synthetic, optimizer, 6, lambda: peer_torch.keep
    )
    assert_close('losses', losses['mean'].sum(), loss)
    moved = np.moveaxis(np.asarray(state.images), -1, -3)
    assert_close('synthetic images', moved, synthetic.detach())


def check_trajectory(device, name: str) -> None:
  """Asserts the same of the recipe, and of its augmentations together."""
  stored, count = 3, 27  # Nine real images start a stored one.
  data = random_data(classes=2, count=count, side=_SIDE)
  recipe = peer_trajectory.as_published(
    dm_jax.recipe(name, image_shape=data.image_shape, images_per_class=stored)
  )
  check_stages(device, recipe.condense.augment)
  network = make_network(data.classes)
  # All images of each class, stored or real: in any order.
  config = dataclasses.replace(
    recipe.condense, batch_real=count, augment='none', decoded_at_once=0
  )
  moves = resolve_optimizer(config, network)
  peer_trajectory.check_covered(recipe, moves)
  first, second = map(network.init, jax.random.split(jax.random.key(1)))
  key = jax.random.key(0)
  step = jax.jit(dm_jax.make_step(network, config))
  start = dm_jax.init_state(data, config, key, network=network)
  real = peer_torch.RealImages.from_classes(
    data.images, data.mean, data.std, device
  )
  for variables in (Pair(first, second), first):  # As `embedder.ahead` says.
    embedder = jax.tree_util.Partial(same_variables, variables)
    problem = dm_jax.make_problem(data, key, embedder)
    networks = variables if isinstance(variables, Pair) else (variables,)
    copied = [to_convnet(v, data.classes, device) for v in networks]
    pair = (*copied, None)[:2]
    state = start
    stored = peer_torch.to_torch(state.images, device).requires_grad_()
    optimizer = peer_trajectory.make_pixel_optimizer(stored, moves)
    for _ in range(2):
      state, losses = step(state, problem)
      loss = peer_trajectory.match(
        pair, real, stored, optimizer, config, lambda: peer_torch.keep
      )
      assert_close('losses', np.sum([*losses.values()]), loss)
      moved = np.moveaxis(np.asarray(state.images), -1, -3)
      assert_close('stored images', moved, stored.detach())


def check_stages(device, text: str) -> None:
  """Asserts that one draw of all stages makes the same of every image."""
  images = random_images()
  drawn = peer_trajectory.sample(text, device)
  theirs = peer_trajectory.augment_by(
    drawn, peer_torch.to_torch(images, device)
  )
  stages = augment.parse(text)
  ours = tuple(
    augment.Augmentation(jnp.int32(stage.index(name)), padded(values)[0])
    for stage, (name, values) in zip(stages, drawn, strict=True)
  )
  apply = jax.vmap(lambda image: augment.apply(ours, image, stages))
  assert_close(text, np.moveaxis(np.asarray(apply(images)), -1, 1), theirs)


def random_images():
  draw = np.random.default_rng(0).standard_normal
  return jnp.asarray(draw((64, *peer_torch.SHAPE), np.float32))


def padded(values):
  """[N, k] of PyTorch -> [N, 3] as the library has them."""
  return jnp.asarray(F.pad(values, (0, 3 - values.shape[1])).cpu().numpy())


def check_training(device) -> None:
  """Asserts that eight steps give the same logits, unaugmented."""
  count, classes = 12, 3
  draw = np.random.default_rng(0).standard_normal
  images = jnp.asarray(draw((count, _SIDE, _SIDE, 3), np.float32))
  labels = jnp.arange(count, dtype=jnp.int32) % classes
  part = get_arrangement(jax.devices()[0].platform).part
  config = training.TrainingConfig.of(dm_jax.EvalConfig(), part)
  network = make_network(classes)
  rate = 0.1  # Above the protocol's, so that the weight decay shows.
  state = training.init_training(network, config, jax.random.key(0))
  copied = to_convnet(state.variables, classes, device)
  optimizer = peer_torch.make_optimizer(copied, rate)
  copied_images = peer_torch.to_torch(images, device)
  copied_labels = torch.from_numpy(np.array(labels)).long().to(device)
  for _ in range(8):
    state, ours = training.update(
      network, config, state, images, labels, jnp.float32(rate)
    )
    theirs = peer_torch.train_step(
      copied, optimizer, copied_images, copied_labels
    )
    assert_close('logits', ours, theirs)


def check_augmentation(device) -> None:
  """Asserts that each operation makes the same of the same values."""
  images = random_images()
  copied = peer_torch.to_torch(images, device)
  for name, operation in peer_torch.OPERATIONS.items():
    values = operation.sample(len(images), device)
    theirs = operation.apply(copied, values)
    ours = jax.vmap(augment.OPERATIONS[name].apply)(images, padded(values))
    assert_close(name, np.moveaxis(np.asarray(ours), -1, 1), theirs)
