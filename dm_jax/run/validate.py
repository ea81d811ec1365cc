"""Evaluates sets on the way, on images held out of the training set."""

from collections.abc import Callable
import dataclasses

from dm_jax.condensing.condense import made_from
from dm_jax.matching.state import CondenseState
from dm_jax.records.results import Validation
from dm_jax.run.interrupts import Request
from dm_jax.run.job import Job, Purpose
from dm_jax.run.results_file import ResultsFile
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import evaluate


def validate(
  job: Job,
  results: ResultsFile,
  request: Request,
  number: int,
  state: CondenseState,
  label: Callable[[SyntheticSet], SyntheticSet],
) -> None:
  """Evaluates the images of a step on the validation images, if it is due.

  Args:
    job: of the run.
    results: get what is found. After a resume the first step is seen again:
      what is there stays.
    request: ends the run.
    number: of the set.
    state: after the step, as it is saved or will be.
    label: gives the set the labels of the run.

  Raises:
    Interrupted: a signal has come.
  """
  config, step = job.config.evaluate.first, int(state.step)
  done = {(row.set, row.step) for row in results.now.validation}
  if (
    not config.validation_every
    or step % config.validation_every
    or (number, step) in done
  ):
    return

  def meet(done: int, total: int) -> None:
    if done < total:  # All trained: only the test is left.
      request.meet(f'validating, step {step} was saved')

  result = evaluate(
    label(made_from(state, job.split.train, job.config.condense)),
    job.split.images,
    job.split.labels,
    dataclasses.replace(config, networks=config.validation_networks),
    key=job.key(Purpose.VALIDATE, number),
    network=next(iter(job.pool.values())),
    callback=meet,
  )
  row = Validation(
    number,
    step,
    job.config.condense.largest,
    result.accuracies,
    result.mean,
    result.std,
  )
  job.say(f'validation accuracy at step {step:,}: {result.mean:.1%}')
  results.keep(results.now.with_validation(row))
