"""Scikit-learn's handwritten digits: the whole path, offline, within 90 s.

  python launch.py --config=configs/digits.py

Needs nothing but the installed package: the 1,797 images of 8×8 pixels are part
of scikit-learn. A ConvNet of width 32 and two layers.

README.md, "The paper's method", run A, has what it gives beside random real
images. The 1 is the first of the 10: one run makes both sets. The paper has no
figure for these images.
"""

from dm_jax.configs import default


def get_config(argument=None):
  config = default.get_config()
  config.data.name = 'digits'
  config.network.width = 32
  config.network.depth = 2
  default.set_augment(config, default.DIGIT_OPERATIONS)
  config.condense.steps = 1000
  config.condense.batch_real = 64
  config.condense.log_every = 20
  config.evaluate.networks = 5
  config.evaluate.epochs = 300
  config.evaluate.baselines = 'random,whole'
  config.evaluate.whole_set_epochs = 200
  default.set_cell(config, argument, (8, 8, 1), 1, 10)
  return config
