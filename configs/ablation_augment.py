"""Ablation: one augmentation alone, or none, on CIFAR-10, 10 per class.

  for op in none color crop cutout flip scale rotate; do
    python launch.py --config=configs/ablation_augment.py:augment=$op
  done

The operation is used for condensing and for training alike, as in the original.
Needs what configs/cifar10.py needs. Ours at this budget: not measured.
"""

from dm_jax.configs import cifar10, default


def get_config(argument=None):
  config = cifar10.get_config('ipc=10')
  operations = default.read_argument(argument or 'augment=none', 'augment')
  default.set_augment(config, operations)
  return config
