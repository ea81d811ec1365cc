"""What a run evaluates: its own sets and the baselines', on every network."""

from collections.abc import Sequence
import dataclasses
import time

from dm_jax.config.sections import EvalConfig
from dm_jax.records.evaluations import Case, Evaluation
from dm_jax.run.groups import groups, watch
from dm_jax.run.interrupts import Request
from dm_jax.run.job import Job, Purpose
from dm_jax.run.make import Maker
from dm_jax.run.results_file import ResultsFile
from dm_jax.run.team import Team
from dm_jax.synthetic_set import SyntheticSet


@dataclasses.dataclass(frozen=True)
class Trial:
  """One case and how it is evaluated.

  Attributes:
    case: what made the sets, their size, and the network, a label in the pool.
    sets: K.
    config: the protocol, one alone; its networks are trained on each set.
  """

  case: Case
  sets: int
  config: EvalConfig

  @property
  def title(self) -> str:
    """What is done, for the person who watches."""
    case = self.case
    per_class = case.images_per_class
    size = '' if per_class is None else f', {per_class} per class'
    under = '' if case.protocol == 'dm' else f', {case.protocol} protocol'
    return f'train {case.network} on {case.method}{size}{under}'

  def is_done(self, found: Evaluation | None) -> bool:
    """Whether every network has been trained on every set."""
    sizes = [*map(len, found.accuracies)] if found else []
    return sizes == [self.config.networks] * self.sets


def run_trials(maker: Maker) -> None:
  """Makes the sets of a run and evaluates what its mode asks for."""
  job = maker.job
  own = [maker.make(number) for number in range(job.sets)]
  if job.mode == 'condense':
    return
  methods = [job.method]
  if job.mode == 'run':
    methods += [m for m in job.config.evaluate.selections if m != job.method]
  for method in methods:
    found = maker.results.now.evaluation
    trials = list_trials(job, method)
    left = [trial for trial in trials if not trial.is_done(found(trial.case))]
    if not left:
      continue
    made = own
    if method != job.method:
      numbers = range(left[0].sets)
      made = [maker.select(method, number) for number in numbers]
    for trial in left:
      size = trial.case.images_per_class
      nested = size is not None and len(job.sizes) > 1
      sized = [m.first(size) for m in made] if nested else made
      run_trial(trial, sized, maker.team, maker.results, maker.request)


def list_trials(job: Job, method: str) -> list[Trial]:
  """Returns what is evaluated of a method, by protocol, then by network.

  Args:
    job: of the run.
    method: its own or a baseline's.
  """
  config, sets, sizes = job.config.evaluate, job.sets, job.sizes[::-1]
  if method == 'whole':
    config, sets, sizes = whole_protocol(config), 1, (None,)
  return [
    Trial(Case(method, network, size, name), sets, config.under(name))
    for name in config.protocols
    for network in job.pool
    for size in sizes
  ]


def whole_protocol(config: EvalConfig) -> EvalConfig:
  """Returns how networks are trained on the whole set.

  Args:
    config: how they are trained on small ones.
  """
  return dataclasses.replace(
    config, epochs=config.whole_set_epochs, networks=config.whole_set_networks
  )


def run_trial(
  trial: Trial,
  made: Sequence[SyntheticSet],
  team: Team,
  results: ResultsFile,
  request: Request,
  *,
  devices: int | None = None,
) -> None:
  """Evaluates a group of networks at a time, saving after each.

  Args:
    trial: what is evaluated.
    made: the sets.
    team: trains the networks.
    results: get what is found; what is there stays.
    request: ends the run.
    devices: that networks are spread over; None is all of the run.

  Raises:
    Interrupted: a signal has come; all groups that are done were kept.
  """
  found = results.now.evaluation(trial.case)
  if trial.is_done(found):
    return
  accuracies = [[*each] for each in found.accuracies] if found else []
  accuracies += [[] for _ in range(trial.sets - len(accuracies))]
  with watch(
    trial.title,
    trial.config,
    request,
    sets=trial.sets,
    trained=sum(map(len, accuracies)),
  ) as watched:
    for number, done in enumerate(accuracies):
      # Not of its images, which would be decoded.
      images = len(made[number].labels)
      for first, group in groups(trial.config, len(done), images, devices):
        started = time.perf_counter()
        result = team.evaluate(
          made[number],
          group,
          purpose=Purpose.EVALUATE,
          number=number,
          network=trial.case.network,
          callback=watched.callback,
          first=first,
        )
        done += result.accuracies
        evaluation = Evaluation.of(trial.case, accuracies[: number + 1])
        seconds = time.perf_counter() - started
        now = results.now.with_evaluation(evaluation)
        results.keep(now.with_evaluating(seconds))
        watched.keep(result)
