"""A step of the recipe `trajectory` as a plain PyTorch loop.

Written from the paper (TGDD, AAAI 2026) as one would write it first: float32,
one class after the other, each with a backward pass of its own; then one step
of SGD on all pixels. `peer.py` measures it beside the library, `peer_check.py`
sees that both compute the same. Images are as in `peer_torch`.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks import peer_torch
from dm_jax.config.recipes import Recipe
from dm_jax.config.sections import CondenseConfig
from dm_jax.errors import InputError
from dm_jax.images.augment import parse
from dm_jax.matching.optimizer import PixelOptimizer

Pool = list[list[Any]]  # By training and epoch.


def as_published(recipe: Recipe) -> Recipe:
  """Returns the recipe with real images in each step and SGD, as in theirs."""
  return dataclasses.replace(
    recipe,
    embedder=dataclasses.replace(recipe.embedder, targets='fresh'),
    condense=dataclasses.replace(recipe.condense, optimizer='sgd'),
  )


def check_covered(recipe: Recipe, optimizer: PixelOptimizer) -> None:
  """Raises InputError if the recipe asks for more than there is here."""
  covered = (
    recipe.embedder.name == 'trajectory',
    recipe.embedder.targets == 'fresh',
    recipe.condense.discrepancy == 'mean',
    recipe.condense.storage in ('plain', 'tiles'),
    optimizer.name == 'sgd',
    optimizer.smoothing == 0,
  )
  if not all(covered):
    raise InputError(
      'the recipe goes beyond the step in PyTorch, which knows snapshots of'
      ' trainings, fresh targets, the mean, plain images or tiles, and sgd'
      ' without smoothing: add to peer_trajectory.py what it sets'
    )


def make_pool(recipe: Recipe, width: int, classes: int, device) -> Pool:
  """Returns as many networks as the recipe keeps, which need no training."""
  networks, epochs = recipe.embedder.networks, recipe.pretrain.epochs + 1
  side = peer_torch.SHAPE[0]
  return [
    [
      peer_torch.make_convnet(width, classes, side, device)
      for _ in range(epochs)
    ]
    for _ in range(networks)
  ]


def draw_pair(pool: Pool, ahead: int) -> tuple[Any, Any]:
  """Draws a snapshot, and one of the same training `ahead` later at most.

  Nothing is the second where none is to be later: the first serves for both.
  """
  snapshots = pool[int(torch.randint(len(pool), ()))]
  first = int(torch.randint(len(snapshots), ()))
  if not ahead:
    return snapshots[first], None
  end = min(first + ahead, len(snapshots) - 1)
  second = int(torch.randint(first, end + 1, ()))
  return snapshots[first], snapshots[second]


def sample(augment: str, device) -> list[tuple[str, Any]]:
  """Draws of each stage an operation, and its values for all images alike."""
  drawn = []
  for stage in parse(augment):
    name = stage[int(torch.randint(len(stage), ()))]
    drawn.append((name, peer_torch.OPERATIONS[name].sample(1, device)))
  return drawn


def augment_by(drawn, images):
  """Applies what `sample` drew, one after the other."""
  for name, values in drawn:
    images = peer_torch.OPERATIONS[name].apply(images, values)
  return images


def decode(stored, factor: int, grey):
  """Cuts [S, D, H, W] into tiles, each enlarged: [S · factor², D, H, W].

  Sides that the factor does not divide are padded at their end with `grey`
  [D, 1, 1].
  """
  height, width = stored.shape[-2:]
  beyond = (0, -width % factor, 0, -height % factor)
  # The grey moved to 0, which is all that `pad` can fill with for each channel.
  padded = F.pad(stored - grey, beyond) + grey
  rows = padded.chunk(factor, -2)
  tiles = [tile for row in rows for tile in row.chunk(factor, -1)]
  return F.interpolate(
    torch.cat(tiles), stored.shape[-2:], mode='bilinear', align_corners=False
  )


def make_pixel_optimizer(stored, settings: PixelOptimizer):
  """Returns SGD with the rate and momentum of the library's."""
  rate, momentum = settings.learning_rate, settings.momentum
  return torch.optim.SGD([stored], lr=rate, momentum=momentum)


def match(
  pair,
  real: peer_torch.RealImages,
  stored,
  optimizer,
  config: CondenseConfig,
  draw: Callable,
):
  """Takes one step and returns its loss.

  Args:
    pair: the networks of the features and of the logits; where the second is
      None, the first gives both at once.
    real: the real images.
    stored: [C, S, D, H, W], with a gradient.
    optimizer: of these.
    config: the recipe's.
    draw: () -> the augmentation of one class.
  """
  first, second = pair
  for network in filter(None, pair):  # As in the library, only pixels have one.
    network.requires_grad_(False)
  optimizer.zero_grad()
  grey = (0.5 - real.mean) / real.std
  total = torch.zeros((), device=stored.device)
  for label, tiled in enumerate(stored):
    apply = draw()
    images = decode(tiled, config.factor, grey)
    if 0 < config.decoded_at_once < len(images):
      rows = torch.randperm(len(images), device=images.device)
      images = images[rows[: config.decoded_at_once]]
    images = apply(images)
    with torch.no_grad():
      target = first[:-1](apply(real.draw(label, config.batch_real))).mean(0)
    features = first[:-1](images)
    loss = (target - features.mean(0)).square().sum()
    if config.cross_entropy:
      logits = second(images) if second else first[-1](features)
      labels = torch.full((len(images),), label, device=images.device)
      loss = loss + config.cross_entropy * F.cross_entropy(logits, labels)
    loss.backward()
    total += loss.detach()
  optimizer.step()
  if config.clamp:
    low, high = -real.mean / real.std, (1 - real.mean) / real.std
    stored.data.clamp_(low, high)
  return total
