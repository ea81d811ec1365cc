"""Ablation: where the synthetic images start, on CIFAR-10, 10 per class.

  python launch.py --config=configs/ablation_init.py:init=noise
  python launch.py --config=configs/ablation_init.py:init=real

`noise` starts from standard normal pixels, `real` from random real images.
Needs what configs/cifar10.py needs. Ours at this budget: not measured.
"""

from dm_jax.configs import cifar10, default


def get_config(argument=None):
  config = cifar10.get_config('ipc=10')
  config.condense.init = default.read_argument(argument or 'init=noise', 'init')
  return config
