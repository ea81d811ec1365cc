"""Where the time of a training step goes on a CPU, beside PyTorch's step.

  pip install -e '.[bench]'
  python benchmarks/training.py --width=128

One step of SGD on 100 random images of 32×32×3 with the paper's ConvNet, and
its convolutions alone: forward, the gradients of images, the gradients of
kernels, each as the step makes them, for parts of 20 images. All take turns
with PyTorch's step and with a matrix product; figures are medians. The least
cost of a part is that of a product at the measured rate with as many
operations, multiplications by padding included.
"""

from collections.abc import Callable
import os

from absl import flags
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import peer_torch
from benchmarks.rates import (
  count_threads,
  measure_by_turns,
  square_product,
)
from benchmarks.start import start
from dm_jax import EvalConfig, make_network
from dm_jax.devices.arrangement import get_arrangement
from dm_jax.networks.convolution import convolve
from dm_jax.run.facts import describe_machine
from dm_jax.training import step as training
from dm_jax.types import Array

_WIDTH = flags.DEFINE_integer('width', 128, 'Channels of the ConvNet.')
_STEPS = flags.DEFINE_integer('steps', 3, 'Steps in a measurement.')
_ROUNDS = flags.DEFINE_integer(
  'rounds', 9, 'Measurements of each.', lower_bound=1
)
_IMAGES = 100
_PART = get_arrangement('cpu').part
_CLASSES = 10
_SIDES = (32, 16, 8)  # Of the maps that the three convolutions take.
_PRODUCT = 1024  # Side of the matrices that are multiplied.


def make_layers(rng: np.random.Generator) -> list[tuple[Array, Array, Array]]:
  """Returns images, kernel and cotangent of each convolution."""
  width, layers = _WIDTH.value, []
  for side, channels in zip(_SIDES, (3, width, width), strict=True):
    shapes = (
      (_PART, side, side, channels),
      (3, 3, channels, width),
      (_PART, side, side, width),
    )
    draws = [rng.standard_normal(shape, np.float32) for shape in shapes]
    layers.append(tuple(jnp.asarray(draw) for draw in draws))
  return layers


def forward(images: Array, kernel: Array, cotangent: Array) -> Array:
  del cotangent
  return convolve(images, kernel, 1)


def images_gradient(images: Array, kernel: Array, cotangent: Array) -> Array:
  pull = jax.vjp(lambda images: convolve(images, kernel, 1), images)[1]
  return pull(cotangent)[0]


def kernel_gradient(images: Array, kernel: Array, cotangent: Array) -> Array:
  pull = jax.vjp(lambda kernel: convolve(images, kernel, 1), kernel)[1]
  return pull(cotangent)[0]


def repeat(part: Callable, layers, count: int) -> Callable[[], Array]:
  """Returns a compiled loop of a part over all layers."""

  @jax.jit
  def run(layers):
    def body(i, total):
      # What depends on the last turn cannot be moved out of the loop.
      for images, kernel, cotangent in layers:
        results = part(images + 0 * total, kernel, cotangent + 0 * total)
        total += results.sum()
      return total

    return lax.fori_loop(0, count, body, jnp.float32(0))

  return lambda: run(layers)


def make_step(images: Array, labels: Array) -> Callable:
  """Returns the library's steps of training."""
  network = make_network(
    'convnet',
    image_shape=peer_torch.SHAPE,
    classes=_CLASSES,
    width=_WIDTH.value,
  )
  config = training.TrainingConfig.of(EvalConfig(), _PART)
  state = training.init_training(network, config, jax.random.key(0))

  @jax.jit
  def run(state, images, labels):
    def body(i, state):
      rate = jnp.float32(config.learning_rate)
      return training.update(network, config, state, images, labels, rate)[0]

    return lax.fori_loop(0, _STEPS.value, body, state)

  return lambda: run(state, images, labels)


def make_torch_step(images: Array, labels: Array) -> Callable:
  """Returns PyTorch's steps on the same images."""
  device = torch.device('cpu')
  network = peer_torch.make_convnet(
    _WIDTH.value, _CLASSES, peer_torch.SHAPE[0], device
  )
  optimizer = peer_torch.make_optimizer(network, 0.01)
  copied = peer_torch.to_torch(images, device)
  targets = torch.from_numpy(np.array(labels)).long()

  def run() -> None:
    for _ in range(_STEPS.value):
      peer_torch.train_step(network, optimizer, copied, targets)

  return run


def main(argv: list[str]) -> None:
  del argv
  torch.set_num_threads(count_threads())
  rng = np.random.default_rng(0)
  layers = make_layers(rng)
  images = jnp.asarray(
    rng.standard_normal((_IMAGES, *peer_torch.SHAPE), np.float32)
  )
  labels = jnp.arange(_IMAGES, dtype=jnp.int32) % _CLASSES
  count = _STEPS.value * _IMAGES // _PART
  parts = {
    'convolutions, forward': (forward, layers),
    'gradients of images': (images_gradient, layers[1:]),
    'gradients of kernels': (kernel_gradient, layers),
  }
  ways = {
    'PyTorch, the step': make_torch_step(images, labels),
    'dm_jax, the step': make_step(images, labels),
    **{name: repeat(*part, count) for name, part in parts.items()},
    'product': square_product(_PRODUCT),
  }
  seconds = measure_by_turns(ways, _ROUNDS.value)
  rate = 2 * _PRODUCT**3 / seconds.pop('product')
  waiting = os.environ.get('OMP_WAIT_POLICY')
  print(f'{describe_machine()["device"]}, torch {torch.__version__}, ', end='')
  print(f'OMP_WAIT_POLICY={waiting}, product {rate / 1e9:.0f} GFLOP/s')
  print('| what | ms per step | least, ms |\n|---|---|---|')
  for name, each in seconds.items():
    least = ''
    if name in parts:
      flops = sum(
        2 * _IMAGES * images.shape[1] ** 2 * kernel.size
        for images, kernel, _ in parts[name][1]
      )
      least = f'{1e3 * flops / rate:.0f}'
    print(f'| {name} | {1e3 * each / _STEPS.value:.1f} | {least} |')


if __name__ == '__main__':
  start(main)
