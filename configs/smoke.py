"""A run of seconds that touches everything; its figures mean nothing.

python launch.py --config=configs/smoke.py
"""

from dm_jax.configs import default


def get_config(argument=None):
  config = default.get_config()
  config.data.name = 'digits'
  config.network.width = 4
  config.network.depth = 1
  config.condense.steps = 20
  config.condense.batch_real = 8
  config.condense.log_every = 5
  default.set_augment(config, default.DIGIT_OPERATIONS)
  config.evaluate.networks = 2
  config.evaluate.epochs = 3
  config.evaluate.baselines = 'random,whole'
  config.evaluate.whole_set_epochs = 1
  config.output.pictures = 1
  default.set_cell(config, argument, (8, 8, 1), 2)
  return config
