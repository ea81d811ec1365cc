"""Ablation: networks of a given accuracy instead of random ones, CIFAR-10.

  python launch.py --config=configs/ablation_embedder.py:accuracy=30-40 \\
      --config.embedder.dir=runs/pool
  python launch.py --config=configs/ablation_embedder.py:accuracy=random

The pool is trained once and shared through --config.embedder.dir; each step
draws one of its networks whose accuracy, in %, on a tenth of the training
images that is held out, is in the range. `random` holds the same images out.
Needs what configs/cifar10.py needs. Ours at this budget: not measured.
"""

from dm_jax.configs import cifar10, default
from dm_jax.errors import InputError


def get_config(argument=None):
  config = cifar10.get_config('ipc=10')
  config.data.validation = 0.1
  value = default.read_argument(argument or 'accuracy=30-40', 'accuracy')
  if value == 'random':
    return config
  low, _, high = value.partition('-')
  if not (low.isdecimal() and high.isdecimal()):
    raise InputError(f'accuracy must be like 30-40, or random, got {value!r}')
  config.embedder.name = 'pool'
  config.embedder.low = int(low) / 100
  config.embedder.high = int(high) / 100
  return config
