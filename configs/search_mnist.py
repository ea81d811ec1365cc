"""A small architecture search on MNIST, for a laptop.

  python launch.py --config=configs/search_mnist.py

24 small ConvNets, trained on 10 condensed or random images per class and, for
the ranking that these should foretell, once over the whole set. Needs
what configs/mnist.py needs, and takes its arguments, such as
recipe=trajectory_short. docs/applications.md has the figures and the time.
"""

from dm_jax.configs import default, mnist


def get_config(argument=None):
  config = mnist.get_config(argument)
  config.application = 'search'
  config.search.space = 'small'
  config.data.validation = 0.1
  config.network.width = 32
  default.set_short(config)
  config.evaluate.networks = 1
  config.evaluate.epochs = 100
  config.evaluate.whole_set_epochs = 0  # One pass.
  return config
