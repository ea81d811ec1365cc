"""A small class-incremental stream on MNIST, for a laptop.

  python launch.py --config=configs/continual_mnist.py

Five steps of two classes, 10 images of each class in memory: condensed, random
and herded ones. Needs what configs/mnist.py needs. docs/applications.md has the
figures and the time.
"""

from dm_jax.configs import mnist


def get_config():
  config = mnist.get_config('ipc=10')
  config.application = 'continual'
  config.continual.steps = 5
  config.continual.orders = 3
  config.network.width = 32
  config.condense.steps = 500
  config.condense.batch_real = 64
  config.pretrain.epochs = 5
  config.evaluate.networks = 3
  config.evaluate.epochs = 100
  config.evaluate.baselines = 'random,herding'
  return config
