"""Class-incremental CIFAR-100: 20 classes at a time, as the paper's Sec. 4.3.

  python launch.py --config=configs/continual_cifar100.py:steps=5

Each step condenses the images of the new classes into 20 per class; the
memory is their union. After each step 3 networks are trained from scratch on
the memory and tested on all classes seen so far; beside it on memories of
random and of herded real images. Five orders of the classes; steps=10 is the
paper's other setting. Needs what configs/cifar100.py needs. Ours at this
budget: not measured; docs/applications.md has smaller ones.

For other data: --config.data.name=... and a number of steps that divides the
classes. For a memory of at most a megabyte:
--config.continual.budget_bytes=1000000.
"""

from dm_jax.configs import cifar100, default
from dm_jax.errors import InputError


def get_config(argument=None):
  config = cifar100.get_config('ipc=20')
  config.application = 'continual'
  config.continual.steps = read_steps(argument or 'steps=5')
  config.evaluate.networks = 3
  config.evaluate.baselines = 'random,herding'
  return config


def read_steps(argument):
  value = default.read_argument(argument, 'steps')
  if not value.isdecimal():
    raise InputError(f'steps must be a whole number, got {value!r}')
  return int(value)
