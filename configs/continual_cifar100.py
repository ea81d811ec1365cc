"""Class-incremental CIFAR-100: 20 classes at a time, as the paper's Sec. 4.3.

  python launch.py --config=configs/continual_cifar100.py:steps=5

Each step condenses the images of the new classes into 20 per class; the
memory is their union. After each step 3 networks are trained from scratch on
the memory and tested on all classes seen so far; beside it on memories of
random and of herded real images. Five orders of the classes; steps=10 is the
paper's other setting. Needs what configs/cifar100.py needs. Ours at this
budget: not measured; docs/applications.md has a stream of MNIST.

With a recipe each group trains its own pool: steps=5:recipe=trajectory_short.
For other data: --config.data.name=... and a number of steps that divides the
classes. For a memory of at most a megabyte:
--config.continual.budget_bytes=1000000.
"""

from dm_jax.configs import cifar100, default
from dm_jax.errors import InputError


def get_config(argument=None):
  steps, rest = default.take_argument(argument, 'steps', '5')
  if not steps.isdecimal():
    raise InputError(f'steps must be a whole number, got {steps!r}')
  # Twenty images per class where the argument names no other number.
  config = cifar100.get_config(':'.join(filter(None, ('ipc=20', rest))))
  config.application = 'continual'
  config.continual.steps = int(steps)
  config.evaluate.networks = 3
  config.evaluate.baselines = 'random,herding'
  return config
