"""A small class-incremental stream on MNIST, for a laptop.

  python launch.py --config=configs/continual_mnist.py

Five steps of two classes, 10 images of each class in memory: condensed, random
and herded ones. Needs what configs/mnist.py needs, and takes its arguments:
recipe=trajectory_short condenses by that, with a pool that each group trains.
docs/applications.md has figures of longer trainings.
"""

from dm_jax.configs import default, mnist


def get_config(argument=None):
  config = mnist.get_config(argument)
  config.application = 'continual'
  config.continual.steps = 5
  config.continual.orders = 3
  config.network.width = 32
  default.set_short(config)
  config.evaluate.networks = 3
  config.evaluate.epochs = 100
  config.evaluate.baselines = 'random,herding'
  return config
