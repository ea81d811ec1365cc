"""How far the gradients of different steps agree, by network.

  python benchmarks/coherence.py --config=configs/cifar10.py \\
      --config.data.dir=$TFDS_DATA_DIR --config.network.width=32 \\
      --config.condense.batch_real=64 --pool=convnet,resnet18

Every step draws a fresh network, fresh real images and a fresh augmentation.
From the same starting images this takes the gradient of several steps and
prints, for each network of the pool, the mean loss, the mean length of the
gradient, and its coherence: the mean product of two different gradients as a
share of the mean square of one. A coherence of 1 is the same gradient in every
step; of 0, a random walk. A learning rate must be so small that the images get
further by what the steps have in common than by what they have not. Gradients
are smoothed as in a run: with --config.condense.smoothing=0 not at all.

--waves=4,10 adds the share (of the mean square) and the coherence of what lies
in waves shorter than 4 pixels, of 4 to 10, and longer.
"""

import dataclasses
import itertools

from absl import flags
import jax
import jax.numpy as jnp
from ml_collections import config_flags
import numpy as np

from benchmarks.start import start
from dm_jax import make_network, make_plan, make_problem
from dm_jax.data.load import load
from dm_jax.images.smooth import smooth
from dm_jax.matching.optimizer import resolve_optimizer
from dm_jax.networks.labels import label, parse_pool
from dm_jax.run.config import RunConfig

_CONFIG = config_flags.DEFINE_config_file('config', None, 'As for launch.py.')
_POOL = flags.DEFINE_string('pool', 'same', 'As evaluate.pool.')
_WAVES = flags.DEFINE_list('waves', [], 'Lengths in pixels, ascending.')
_STEPS = flags.DEFINE_integer('gradients', 16, 'Steps whose gradient is taken.')


def gradients(network, config, train, key) -> tuple[np.ndarray, np.ndarray]:
  """Returns gradients [steps, pixels] and losses [steps]."""
  algorithm = make_plan(config, train, network).algorithm
  smoothing = resolve_optimizer(config, network).smoothing
  state = algorithm.init(train, key, config.init)
  problem = make_problem(train, key, network.init)

  @jax.jit
  def take(step):
    at_step = dataclasses.replace(state, step=step)
    gradient, compared = algorithm.gradient(at_step, problem)
    losses = jax.tree.leaves(compared.losses)
    return smooth(gradient, smoothing), jnp.stack(losses).sum()

  rows, losses = zip(*map(take, jnp.arange(_STEPS.value)), strict=True)
  return np.reshape(rows, (len(rows), -1)), np.array(losses)


def coherence(rows: np.ndarray) -> float:
  """Returns the mean product of two rows over the mean square of one."""
  products = rows @ rows.T
  squares = np.trace(products)
  count = len(rows)
  return float((products.sum() - squares) / (count - 1) / squares)


def split_waves(rows: np.ndarray, shape, lengths) -> list[np.ndarray]:
  """Returns what lies in waves below the first length, ..., above the last."""
  images = rows.reshape(len(rows), -1, *shape)
  waves = np.fft.fft2(images, axes=(2, 3))
  frequencies = np.hypot(
    *np.meshgrid(*(np.fft.fftfreq(side) for side in shape[:2]), indexing='ij')
  )
  edges = [np.inf, *(1 / float(length) for length in lengths), -1.0]
  parts = []
  for high, low in itertools.pairwise(edges):
    band = (frequencies > low) & (frequencies <= high)
    part = np.fft.ifft2(waves * band[..., None], axes=(2, 3)).real
    parts.append(part.reshape(len(rows), -1))
  return parts


def main(argv: list[str]) -> None:
  del argv
  config = RunConfig.from_dict(_CONFIG.value.to_dict())
  train = load(config.data).train
  print('| network | loss | length of the gradient | coherence |')
  print('|---|---|---|---|')
  for member in parse_pool(_POOL.value, config.network):
    network = make_network(
      member, image_shape=train.image_shape, classes=train.classes
    )
    key = jax.random.key(config.seed)
    rows, losses = gradients(network, config.condense, train, key)
    length = np.linalg.norm(rows, axis=1).mean()
    print(
      f'| {label(member)} | {losses.mean():.3g} | {length:.3g} |'
      f' {coherence(rows):.4f} |',
      flush=True,
    )
    if not _WAVES.value:
      continue
    edges = itertools.pairwise(['0', *_WAVES.value, '∞'])
    parts = split_waves(rows, train.image_shape, _WAVES.value)
    for (low, high), part in zip(edges, parts, strict=True):
      share = (part**2).sum() / (rows**2).sum()
      print(
        f'  waves of {low} to {high} pixels: share {share:.3f},'
        f' coherence {coherence(part):.4f}',
        flush=True,
      )


if __name__ == '__main__':
  flags.mark_flag_as_required('config')
  start(main)
