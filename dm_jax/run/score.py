"""Scores a set by class labels, beside random real images and all of them."""

import dataclasses

from dm_jax.config.sections import EvalConfig
from dm_jax.errors import InputError
from dm_jax.records.evaluations import Case
from dm_jax.records.score import Accuracies, Score
from dm_jax.run.job import Job, unaugmented
from dm_jax.run.make import Maker
from dm_jax.run.prepare import check_evaluation
from dm_jax.run.trials import Trial, run_trial, whole_protocol
from dm_jax.selection.select import check_selection
from dm_jax.training.evaluate import check_batches


def check(job: Job) -> None:
  """Raises InputError if the job's set cannot be scored."""
  config = job.config
  several = {
    f'evaluate.protocol {config.evaluate.protocol}': (
      len(config.evaluate.protocols) > 1
    ),
    f'evaluate.pool {config.evaluate.pool}': len(job.pool) > 1,
  }
  for what, given in several.items():
    if given:
      raise InputError(
        f'a score is of one network under one protocol, and {what} names'
        ' several: name one'
      )
  check_evaluation(job)
  train, condense = job.split.train, config.condense
  check_selection(train, 'random', condense.largest, condense.stored_as)
  (network,) = job.pool.values()
  batch = config.evaluate.training.batch_size
  check_batches(network, int(train.counts.sum()), batch)


def lead(maker: Maker) -> None:
  """Trains networks on the set and beside it, and keeps the scores."""
  job, (size,) = maker.job, maker.job.sizes
  (network,), (augmented,) = job.pool, job.config.evaluate.protocols
  made = {
    job.method: maker.make(0),
    'random': maker.select('random', 0),
    'whole': maker.select('whole', 0),
  }
  bare = unaugmented(augmented)
  settings = job.config.evaluate
  wanted = {
    'synthetic': (job.method, size, augmented, settings),
    'random': ('random', size, augmented, settings),
    'synthetic_bare': (job.method, size, bare, _bare(settings)),
    'random_bare': ('random', size, bare, _bare(settings)),
    'whole': ('whole', None, augmented, whole_protocol(settings)),
  }
  means = {}
  for name, (method, images, protocol, config) in wanted.items():
    case = Case(method, network, images, protocol)
    trial = Trial(case, 1, config)
    run_trial(trial, [made[method]], maker.team, maker.results, maker.request)
    found = maker.results.now.evaluation(case)
    assert found is not None
    means[name] = found.mean
  score = Score.of(Accuracies(**means))
  maker.results.keep(dataclasses.replace(maker.results.now, score=score))


def _bare(config: EvalConfig) -> EvalConfig:
  """Returns the same protocol without augmentation."""
  return dataclasses.replace(config, augment='none', cutmix=0.0)
