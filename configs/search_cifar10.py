"""Architecture search on CIFAR-10: what a small set's ranking is worth.

  python launch.py --config=configs/search_cifar10.py:space=paper

Trains every network of the space (paper: 720 ConvNets, small: 24) for 200
epochs on 10 images per class that are condensed, random or herded, and on the
whole set for as many steps (early stopping), ranks them by accuracy on
validation images that are held out of the training set, and compares with their
test accuracy after training on the whole set (the paper's Sec. 4.4), on which
most of the time is spent. Needs what configs/cifar10.py needs, and takes its
arguments as well: space=paper:recipe=trajectory. Ours at this budget: not
measured; configs/search_mnist.py has a smaller one.
"""

from dm_jax.configs import cifar10, default


def get_config(argument=None):
  space, rest = default.take_argument(argument, 'space', 'paper')
  config = cifar10.get_config(rest)
  config.application = 'search'
  config.search.space = space
  config.data.validation = 0.1
  config.evaluate.networks = 1
  config.evaluate.epochs = 200
  config.evaluate.baselines = 'random,herding'
  return config
