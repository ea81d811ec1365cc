"""What a run evaluates: its own sets and the baselines', on every network."""

from collections.abc import Callable, Iterator
import dataclasses
import functools
import itertools
import math
import time

import jax

from dm_jax.config.sections import EvalConfig
from dm_jax.records.results import headline
from dm_jax.run.interrupts import Interrupted
from dm_jax.run.job import EVALUATE
from dm_jax.run.make import Maker
from dm_jax.run.progress import Progress
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import EvalResult

_SHARE = 5  # Networks that a device trains between two saves, at most.


@dataclasses.dataclass(frozen=True)
class Trial:
  """One kind of set, one size and one network, an entry of `results.json`.

  Attributes:
    method: what made the sets.
    size: images per class, or None for the whole set.
    network: label in the pool.
    sets: K.
    config: the protocol; its networks are trained on each set.
    make: number -> set 0 to K - 1; not called where all is done already.
  """

  method: str
  size: int | None
  network: str
  sets: int
  config: EvalConfig
  make: Callable[[int], SyntheticSet]

  @property
  def title(self) -> str:
    """What is done, for the person who watches."""
    size = '' if self.size is None else f', {self.size} per class'
    return f'train {self.network} on {self.method}{size}'

  def entry(self, results: dict) -> dict:
    """Returns the trial's entry in the results, made if it is not there."""
    key = {
      'method': self.method,
      'images_per_class': self.size,
      'network': self.network,
    }
    entries = results.setdefault('evaluations', [])
    for entry in entries:
      if key.items() <= entry.items():
        return entry
    entries.append({**key, 'accuracies': []})
    return entries[-1]


def run_trials(maker: Maker) -> None:
  """Makes the sets of a run and evaluates what its mode asks for."""
  made = [maker.make(number) for number in range(maker.job.sets)]
  if maker.job.mode == 'condense':
    return
  for trial in list_trials(maker, made.__getitem__):
    run_trial(maker, trial)


def list_trials(
  maker: Maker, own: Callable[[int], SyntheticSet]
) -> Iterator[Trial]:
  """Yields what is to be evaluated, the run's own sets before its baselines.

  Args:
    maker: of the run.
    own: number -> the set that the run made.
  """
  job = maker.job
  makers = {job.method: own}
  if job.mode == 'run':
    for method in job.config.evaluate.selections:
      makers.setdefault(method, functools.partial(maker.select, method))
  for method, make in makers.items():
    make = functools.lru_cache(maxsize=1)(make)
    for label in job.pool:
      yield from _trials_of(job, method, label, make)


def _trials_of(job, method: str, network: str, make) -> Iterator[Trial]:
  config = job.config.evaluate
  if method == 'whole':
    longer = dataclasses.replace(
      config,
      epochs=config.whole_set_epochs,
      networks=config.whole_set_networks,
    )
    yield Trial(method, None, network, 1, longer, make)
    return
  for size in reversed(job.sizes):

    def first(number: int, size: int = size) -> SyntheticSet:
      made = make(number)
      return made if len(job.sizes) == 1 else made.first(size)

    yield Trial(method, size, network, job.sets, config, first)


def run_trial(maker: Maker, trial: Trial) -> None:
  """Evaluates a group of networks at a time, saving after each."""
  entry = trial.entry(maker.results)
  total = trial.config.networks
  per_network = trial.config.epochs + 1
  if [*map(len, entry['accuracies'])] == [total] * trial.sets:
    return
  with Progress(
    trial.sets * total * per_network,
    description=trial.title,
    unit='epoch',
    initial=sum(map(len, entry['accuracies'])) * per_network,
  ) as bar:
    for number in range(trial.sets):
      accuracies: list[list[float]] = entry['accuracies']
      if len(accuracies) == number:
        accuracies.append([])
      before = sum(map(len, accuracies[:number]))
      done = accuracies[number]
      if len(done) == total:
        continue
      made = trial.make(number)
      size = _group_size(total - len(done), jax.device_count())
      while len(done) < total:
        started = time.perf_counter()
        shown = (before + len(done)) * per_network
        group = range(len(done), len(done) + size)
        done += _train_group(maker, trial, number, made, group, bar, shown)
        so_far = EvalResult(tuple(itertools.chain(*accuracies)))
        entry |= {'mean': so_far.mean, 'std': so_far.std}
        _keep(maker, time.perf_counter() - started)
        _meet_request(maker, trial, len(done))


def _train_group(
  maker: Maker, trial: Trial, number: int, made, group: range, bar, shown: int
) -> tuple[float, ...]:
  """Trains some of the networks on a set; returns their accuracies."""

  def callback(epochs_done: int, epochs: int) -> None:
    bar.update(shown + epochs_done)
    if epochs_done < epochs:  # All trained: only the test is left.
      _meet_request(maker, trial, group.start)

  result = maker.team.evaluate(
    made,
    dataclasses.replace(trial.config, networks=len(group)),
    purpose=EVALUATE,
    number=number,
    network=trial.network,
    callback=callback,
    first=group.start,
  )
  return result.accuracies


def _meet_request(maker: Maker, trial: Trial, done: int) -> None:
  if maker.request.number:
    total = trial.config.networks
    raise Interrupted(
      f'stopped ({trial.title}) after {done} of {total} networks; the same'
      ' command goes on from there',
      maker.request.number,
    )


def _group_size(networks: int, devices: int) -> int:
  """How many networks to train between two saves.

  Args:
    networks: those not yet trained.
    devices: that they are spread over.

  Returns:
    Of the divisors that give no device more than `_SHARE` networks the one that
    is done soonest, and of several such the largest: groups of one size share
    what is compiled.
  """

  def turns(size: int) -> int:
    """How many networks the busiest device trains, one after the other."""
    return networks // size * math.ceil(size / devices)

  sizes = range(1, min(networks, _SHARE * devices) + 1)
  divisors = [size for size in sizes if networks % size == 0]
  return min(divisors, key=lambda size: (turns(size), -size))


def _keep(maker: Maker, seconds: float) -> None:
  results = maker.results
  results.setdefault('evaluate_seconds', 0.0)
  results['evaluate_seconds'] += seconds
  results |= headline(results)
  maker.save_results()
