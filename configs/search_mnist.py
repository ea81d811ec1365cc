"""A small architecture search on MNIST, for a laptop.

  python launch.py --config=configs/search_mnist.py

24 small ConvNets, trained on 10 condensed or random images per class and, for
the ranking that these should foretell, once over the whole set. Needs
what configs/mnist.py needs. docs/applications.md has the figures and the time.
"""

from dm_jax.configs import mnist


def get_config():
  config = mnist.get_config('ipc=10')
  config.application = 'search'
  config.search.space = 'small'
  config.data.validation = 0.1
  config.network.width = 32
  config.condense.steps = 500
  config.condense.batch_real = 64
  config.evaluate.networks = 1
  config.evaluate.epochs = 100
  config.evaluate.whole_set_epochs = 0  # One pass.
  return config
