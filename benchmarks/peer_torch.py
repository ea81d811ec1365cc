"""Distribution matching and its evaluation as a plain PyTorch loop.

Written from the paper (Zhao & Bilen, WACV 2023) as one would write it first:
float32, one class after the other, a whole batch at a time. `peer.py` measures
it beside the library, `peer_check.py` sees that both compute the same, and
`peer_run.py` does a whole run with it.

Images are normalised [N, D, H, W]. The values of an augmentation are [N, k], or
[1, k] where all images are augmented alike.
"""

from collections.abc import Callable
import functools
import math
import time
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import torch
import torch.nn.functional as F

from dm_jax.errors import InputError

SHAPE = (32, 32, 3)  # (H, W, D)
_TESTED = 500  # Images at a time: activations of all would fill the memory.


def _maps(values) -> Any:
  """[N, k] -> k maps [N, 1, 1, 1]."""
  return values.T[..., None, None, None]


def _color(images, values):
  shift, saturation, contrast = _maps(values)
  images = images + shift
  mean = images.mean(1, keepdim=True)
  images = (images - mean) * saturation + mean
  mean = images.mean((1, 2, 3), keepdim=True)
  return (images - mean) * contrast + mean


def _crop(images, values):
  side, most = images.shape[-1], _most_shift(images.shape[-1])
  rows, columns = _maps(values.long() + most)
  steps = torch.arange(side, device=images.device)
  first = torch.arange(len(images), device=images.device)
  channels = torch.arange(images.shape[1], device=images.device)
  return F.pad(images, (most,) * 4)[
    first[:, None, None, None],
    channels[:, None, None],
    rows + steps[:, None],
    columns + steps,
  ]


def _cutout(images, values):
  side = images.shape[-1]
  row, column = _maps(values - side // 4)
  steps = torch.arange(side, device=images.device)
  rows = (steps >= row) & (steps < row + side // 2)
  columns = (steps >= column) & (steps < column + side // 2)
  return images * ~(rows.mT & columns)


def _flip(images, values):
  return torch.where(_maps(values)[0] > 0.5, images.flip(3), images)


def _resample(images, matrices):
  """Resamples bilinearly at matrices [N, 2, 3] · (u, v, 1), zeros outside."""
  shape = (len(matrices), *images.shape[1:])
  grid = F.affine_grid(matrices, shape, align_corners=False)
  grid = grid.expand(len(images), -1, -1, -1)
  return F.grid_sample(images, grid, align_corners=False)


def _scale(images, values):
  return _resample(images, F.pad(torch.diag_embed(values), (0, 1)))


def _rotate(images, values):
  cos, sin = values.cos(), values.sin()
  matrices = torch.cat([cos, -sin, sin, cos], 1).reshape(-1, 2, 2)
  return _resample(images, F.pad(matrices, (0, 1)))


def _most_shift(side: int) -> int:
  return round(side * 0.125)


class _Operation(NamedTuple):
  """An augmentation whose values are uniform in [low, high)."""

  apply: Callable
  low: tuple[float, ...]
  high: tuple[float, ...]
  whole: bool = False

  def sample(self, count: int, device):
    low = torch.tensor(self.low, device=device)
    high = torch.tensor(self.high, device=device)
    draw = torch.rand(count, len(low), device=device)
    values = low + (high - low) * draw
    return values.floor() if self.whole else values


_SHIFT = _most_shift(SHAPE[0])
_TURN = math.radians(15)
OPERATIONS = {
  'color': _Operation(_color, (-0.5, 0, 0.5), (0.5, 2, 1.5)),
  'crop': _Operation(_crop, (-_SHIFT,) * 2, (_SHIFT + 1,) * 2, True),
  'cutout': _Operation(_cutout, (0, 0), (SHAPE[0] + 1,) * 2, True),
  'flip': _Operation(_flip, (0,), (2,), True),
  'scale': _Operation(_scale, (1 / 1.2,) * 2, (1.2,) * 2),
  'rotate': _Operation(_rotate, (-_TURN,), (_TURN,)),
}


def draw_augmentation(count: int, device) -> Callable:
  """Draws one operation, and values for each of `count` images."""
  number = int(torch.randint(len(OPERATIONS), ()))
  operation = list(OPERATIONS.values())[number]
  values = operation.sample(count, device)
  return lambda images: operation.apply(images, values)


def keep(images):
  """No augmentation."""
  return images


def to_torch(images, device):
  """Copies [..., H, W, D] as [..., D, H, W]."""
  copied = np.array(np.moveaxis(np.asarray(images), -1, -3), order='C')
  return torch.from_numpy(copied).to(device)


def make_convnet(width: int, classes: int, side: int, device):
  """Returns the paper's ConvNet of depth 3; the last layer classifies."""
  layers, channels = [], SHAPE[-1]
  for _ in range(3):
    layers += [
      torch.nn.Conv2d(channels, width, 3, padding=1, device=device),
      torch.nn.GroupNorm(width, width, device=device),
      torch.nn.ReLU(inplace=True),
      torch.nn.AvgPool2d(2),
    ]
    channels, side = width, side // 2
  features = channels * side**2
  return torch.nn.Sequential(
    *layers,
    torch.nn.Flatten(),
    torch.nn.Linear(features, classes, device=device),
  )


class RealImages(NamedTuple):
  """uint8 [N, D, H, W] of each class, and what normalises them [D, 1, 1]."""

  images: Any
  mean: Any
  std: Any

  @classmethod
  def from_classes(cls, images, mean, std, device, counts=None) -> Self:
    """Takes uint8 [C, N, H, W, D], D values each, and images of each class."""
    statistics = np.array([mean, std], np.float32)[..., None, None]
    mean, std = torch.from_numpy(statistics).to(device)
    copied = to_torch(images, device)
    if counts is not None:  # Classes with fewer are padded.
      copied = [own[:count] for own, count in zip(copied, counts, strict=True)]
    return cls(copied, mean, std)

  def draw(self, label: int, count: int):
    """Draws normalised images of a class, without replacement."""
    images = self.images[label]
    rows = torch.randperm(len(images), device=images.device)[:count]
    return (images[rows].float() / 255 - self.mean) / self.std


def match(network, real: RealImages, synthetic, optimizer, batch, draw):
  """Takes one step of Algorithm 1 and returns its loss.

  Args:
    network: what embeds.
    real: the real images.
    synthetic: [C, S, D, H, W], with a gradient.
    optimizer: of these.
    batch: real images per class.
    draw: () -> the augmentation of one class.
  """
  network.requires_grad_(False)  # As in the library, only pixels have one.
  embed = network[:-1]
  losses = []
  for label, images in enumerate(synthetic):
    apply = draw()
    with torch.no_grad():
      target = embed(apply(real.draw(label, batch))).mean(0)
    features = embed(apply(images)).mean(0)
    losses.append((target - features).square().sum())
  loss = torch.stack(losses).sum()
  optimizer.zero_grad()
  loss.backward()
  optimizer.step()
  return loss.detach()


def make_pixel_optimizer(synthetic):
  return torch.optim.SGD([synthetic], lr=1.0, momentum=0.5)


def make_optimizer(network, rate: float):
  return torch.optim.SGD(
    network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4
  )


def train_step(network, optimizer, images, labels):
  """Takes one step on the mean cross entropy and returns the logits before."""
  logits = network(images)
  optimizer.zero_grad()
  F.cross_entropy(logits, labels).backward()
  optimizer.step()
  return logits.detach()


def train(network, images, labels, epochs: int) -> None:
  """Trains by the evaluation protocol; `epochs` are all that are run."""
  optimizer = make_optimizer(network, 0.01)
  for epoch in range(epochs):
    if epoch == (epochs - 1) // 2 + 2:
      optimizer = make_optimizer(network, 0.001)
    order = torch.randperm(len(images), device=images.device)
    for rows in order.split(256):
      apply = draw_augmentation(len(rows), images.device)
      train_step(network, optimizer, apply(images[rows]), labels[rows])


def count_correct(network, images, labels) -> int:
  """Counts the images that are classified right, some at a time."""
  with torch.no_grad():
    return sum(
      int((network(part).argmax(1) == right).sum())
      for part, right in zip(
        images.split(_TESTED), labels.split(_TESTED), strict=True
      )
    )


class Progress(NamedTuple):
  """How far a set has come; all that is needed to go on.

  Attributes:
    step: steps done.
    seconds: that they took.
    synthetic: [C, S, D, H, W], with a gradient.
    optimizer: of these.
  """

  step: int
  seconds: float
  synthetic: Any
  optimizer: Any


def start_set(real: RealImages, per_class: int) -> Progress:
  """Starts a synthetic set from real images, drawn for each class."""
  start = [real.draw(label, per_class) for label in range(len(real.images))]
  synthetic = torch.stack(start).requires_grad_()
  return Progress(0, 0.0, synthetic, make_pixel_optimizer(synthetic))


def condense(real: RealImages, start: Progress, steps: int, width: int, batch):
  """Yields how far the set has come after each step, and the step's loss.

  Args:
    real: the real images.
    start: see `start_set`; moved in place.
    steps: in all, those done included.
    width: of the networks that embed, a fresh one in each step.
    batch: real images per class.
  """
  classes, device = len(real.images), start.synthetic.device
  draw = functools.partial(draw_augmentation, 1, device)
  now = start
  while now.step < steps:
    began = time.perf_counter()
    network = make_convnet(width, classes, SHAPE[0], device)
    loss = match(network, real, now.synthetic, now.optimizer, batch, draw)
    loss = float(loss)  # Waits for the device.
    spent = time.perf_counter() - began
    now = now._replace(step=now.step + 1, seconds=now.seconds + spent)
    yield now, loss


def judge(synthetic, tests, width: int, epochs: int) -> float:
  """Trains a fresh network on a set and returns its accuracy, in [0, 1].

  Args:
    synthetic: [C, S, D, H, W], normalised.
    tests: images to test on, normalised [N, D, H, W], and their labels [N].
    width: of the network.
    epochs: all that are run.
  """
  classes, per_class, *shape = synthetic.shape
  device = synthetic.device
  labels = torch.arange(classes, device=device).repeat_interleave(per_class)
  network = make_convnet(width, classes, SHAPE[0], device)
  train(network, synthetic.detach().reshape(-1, *shape), labels, epochs)
  return count_correct(network, *tests) / len(tests[0])


def choose_device() -> torch.device:
  """Returns PyTorch's name of the device that JAX uses.

  Raises:
    InputError: PyTorch cannot use it.
  """
  platform = jax.default_backend()
  if platform == 'cpu':
    return torch.device('cpu')
  if platform != 'gpu' or not torch.cuda.is_available():
    raise InputError(
      f'JAX uses the {platform}, which this PyTorch does not: install a PyTorch'
      ' for it, or set JAX_PLATFORMS=cpu'
    )
  return torch.device('cuda')
