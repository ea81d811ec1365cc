"""`launch.py` with application search: sets, networks, rankings."""

from collections.abc import Iterator, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np

from dm_jax.applications.rankings import compare_rankings
from dm_jax.applications.search import (
  Candidate,
  early_stopping,
  keep_fitting,
  list_space,
  train_networks,
)
from dm_jax.config.sections import EvalConfig, NetworkConfig
from dm_jax.devices.compile_clock import compile_seconds
from dm_jax.errors import InputError
from dm_jax.networks.family import split_families
from dm_jax.networks.labels import label
from dm_jax.networks.registry import make_network
from dm_jax.report.applications import save_figures
from dm_jax.run.job import BASELINE, EVALUATE, Job
from dm_jax.run.make import Maker
from dm_jax.run.progress import Progress
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import check_batches
from dm_jax.types import Json

REAL = 'real'  # Networks trained on the whole set and tested on the test set.


class Ranking(NamedTuple):
  """A set to train the networks on, and how.

  Attributes:
    name: the method that made the set, early_stopping, or `REAL`.
    made: the set.
    config: the protocol.
    images: to test on, uint8 [N, H, W, D].
    labels: int32 [N].
  """

  name: str
  made: SyntheticSet
  config: EvalConfig
  images: np.ndarray
  labels: np.ndarray


def check(job: Job) -> None:
  """Raises InputError if there is no such search on the run's data."""
  if not len(job.split.labels):
    raise InputError(
      'a search chooses by validation images, never by test images: set'
      ' data.validation, e.g. 0.1'
    )
  train, config = job.split.train, job.config.evaluate
  small = job.config.condense.largest * train.classes
  for network in _networks(job):
    made = make_network(
      network, image_shape=train.image_shape, classes=train.classes
    )
    for images in (small, int(train.counts.sum())):
      check_batches(made, images, config.batch_size)


def lead(maker: Maker) -> None:
  """Makes the sets, trains the networks that are left, ranks them.

  Args:
    maker: of the run; its results and workdir get what is found.
  """
  job = maker.job
  networks = _networks(job)
  before = maker.results.get('search', {})
  found: dict[str, Any] = {
    REAL: {'accuracies': {}, 'seconds': {}},
    'sets': {},
    'compile_seconds': 0.0,
    **before,
    'space': job.config.search.space,
    'networks': [label(network) for network in networks],
  }
  maker.results['search'] = found
  left_out = len(list_space(job.config.search.space)) - len(networks)
  if left_out:
    job.say(f'{left_out} networks of the space do not take these images')
  rankings = _rankings(maker)
  _train_all(maker, networks, rankings)
  _agree(maker, rankings)
  maker.save_results()
  save_figures(maker.results, job.folder)


def _networks(job: Job) -> tuple[NetworkConfig, ...]:
  train = job.split.train
  space = list_space(job.config.search.space)
  return keep_fitting(space, train.image_shape, train.classes)


def _rankings(maker: Maker) -> list[Ranking]:
  """Makes all sets, those of the run before the whole one."""
  job = maker.job
  config, split = job.config.evaluate, job.split
  held_out = (split.images, split.labels)
  makers = {job.config.method: functools.partial(maker.make, 0)}
  for method in config.selections:
    makers.setdefault(method, functools.partial(maker.select, method, 0))
  rankings = [
    Ranking(method, make(), config, *held_out)
    for method, make in makers.items()
  ]
  if job.config.search.early_stopping:
    images = len(rankings[0].made.labels)
    key = job.key(BASELINE)
    stopped = early_stopping(split.train, images, config, key=key)
    rankings.append(Ranking('early_stopping', *stopped, *held_out))
  whole = SyntheticSet.from_whole(split.train)
  longer = dataclasses.replace(
    config,
    epochs=config.whole_set_epochs,
    networks=config.whole_set_networks,
  )
  test = (job.dataset.test_images, job.dataset.test_labels)
  return [*rankings, Ranking(REAL, whole, longer, *test)]


def _train_all(
  maker: Maker, networks: tuple[NetworkConfig, ...], rankings: list[Ranking]
) -> None:
  """Trains every network on every set, family by family.

  A family's programs are then used up before those of the next are compiled.
  """
  total = len(networks) * len(rankings)
  records = [_record(maker.results['search'], r.name) for r in rankings]
  done = sum(len(record['accuracies']) for record in records)
  if done == total:
    return
  with Progress(
    total, description='train the networks', unit='network', initial=done
  ) as bar:
    for family in split_families(networks):
      for ranking, record in zip(rankings, records, strict=True):
        for _ in _train(maker, family.members, ranking, record):
          done += 1
          bar.update(done)


def _train(
  maker: Maker,
  members: Sequence[NetworkConfig],
  ranking: Ranking,
  record: dict[str, dict],
) -> Iterator[Candidate]:
  """Trains a family's networks on a set and keeps each, before yielding it.

  Its seconds are without compiling, which all sets share.
  """

  def meet_request(done: int, total: int) -> None:
    if done < total:  # All trained: only the test is left.
      maker.meet_request('training the networks of the search')

  found = maker.results['search']
  compiled = compile_seconds()
  for trained in train_networks(
    members,
    ranking.made,
    ranking.images,
    ranking.labels,
    ranking.config,
    # Other draws than the small sets': equal ones would agree by luck, too.
    key=maker.job.key(EVALUATE, int(ranking.name == REAL)),
    callback=meet_request,
    skip=[n for n in members if label(n) in record['accuracies']],
  ):
    compiling = compile_seconds() - compiled
    compiled += compiling
    name = label(trained.network)
    record['accuracies'][name] = list(trained.result.accuracies)
    record['seconds'][name] = max(0.0, trained.seconds - compiling)
    found['compile_seconds'] += compiling
    spent = maker.results.get('evaluate_seconds', 0.0)
    maker.results['evaluate_seconds'] = spent + trained.seconds
    maker.save_results()
    yield trained


def _record(found: dict[str, Any], name: str) -> dict[str, dict]:
  """The accuracies and seconds of a ranking so far."""
  if name == REAL:
    return found[REAL]
  return found['sets'].setdefault(name, {'accuracies': {}, 'seconds': {}})


def _agree(maker: Maker, rankings: list[Ranking]) -> None:
  """Compares each small set's ranking with the real one."""
  found = maker.results['search']
  names, real = found['networks'], found[REAL]
  found['agreement'] = {}
  for ranking in rankings:
    if ranking.name == REAL:
      continue
    record = found['sets'][ranking.name]
    agreement = compare_rankings(_means(record, names), _means(real, names))
    making = 0.0
    if ranking.name != 'early_stopping':
      making = maker.making_seconds(ranking.name, 0) or 0.0
    found['agreement'][ranking.name] = {
      **dataclasses.asdict(agreement),
      'seconds': making + sum(record['seconds'].values()),
      'real_seconds': sum(real['seconds'].values()),
    }


def _means(record: Json, names: Sequence[str]) -> dict[str, float]:
  """Accuracies in the space's order, in which ties are broken."""
  return {name: float(np.mean(record['accuracies'][name])) for name in names}
