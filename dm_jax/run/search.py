"""`launch.py` with application search: sets, networks, rankings."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from dm_jax.applications.rankings import compare_rankings
from dm_jax.applications.search import (
  early_stopping,
  keep_fitting,
  list_space,
  train_networks,
)
from dm_jax.config.sections import EvalConfig, NetworkConfig
from dm_jax.errors import InputError
from dm_jax.images.storage import get_storage
from dm_jax.networks.family import split_families
from dm_jax.networks.labels import label
from dm_jax.networks.registry import make_network
from dm_jax.records.applications import (
  REAL,
  GroupAgreement,
  Search,
  SearchOutcome,
  Trainings,
)
from dm_jax.records.results import Results
from dm_jax.report.applications import save_figures
from dm_jax.run.job import Job, Purpose
from dm_jax.run.make import Maker, making_seconds
from dm_jax.run.progress import Progress
from dm_jax.run.trials import whole_protocol
from dm_jax.selection.select import stored_as
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import check_batches
from dm_jax.types import Key

EARLY_STOPPING = 'early_stopping'


class Ranker(NamedTuple):
  """What ranks networks: a set to train them on, and how they are tested.

  Attributes:
    name: the method that made the set, `EARLY_STOPPING`, or `REAL`.
    made: the set.
    config: the protocol.
    images: to test on, uint8 [N, H, W, D].
    labels: int32 [N].
    key: of the networks.
  """

  name: str
  made: SyntheticSet
  config: EvalConfig
  images: np.ndarray
  labels: np.ndarray
  key: Key


def check(job: Job) -> None:
  """Raises InputError if there is no such search on the run's data."""
  if not len(job.split.labels):
    raise InputError(
      'a search chooses by validation images, never by test images: set'
      ' data.validation, e.g. 0.1'
    )
  train, config = job.split.train, job.config.evaluate
  stored = job.config.condense.largest * train.classes
  storage = job.config.condense.stored_as
  held = {
    get_storage(stored_as(method, storage)).per_stored
    for method in (job.config.method, *config.selections)
  }
  for network in _networks(job):
    made = make_network(
      network, image_shape=train.image_shape, classes=train.classes
    )
    for images in (*(stored * n for n in held), int(train.counts.sum())):
      check_batches(made, images, config.training.batch_size)


def lead(maker: Maker) -> None:
  """Makes the sets, trains the networks that are left, ranks them.

  Args:
    maker: of the run; its results and workdir get what is found.
  """
  job, results = maker.job, maker.results
  networks, space = _networks(job), job.config.search.space
  labels = tuple(map(label, networks))
  before = results.now.search or Search()
  found = dataclasses.replace(before, space=space, networks=labels)
  results.keep(dataclasses.replace(results.now, search=found))
  left_out = len(list_space(space)) - len(networks)
  if left_out:
    job.say(f'{left_out} networks of the space do not take these images')
  _train_all(maker, networks, _rankers(maker))
  results.keep(with_agreement(results.now))
  save_figures(results.now, job.folder)


def _networks(job: Job) -> tuple[NetworkConfig, ...]:
  train = job.split.train
  space = list_space(job.config.search.space)
  return keep_fitting(space, train.image_shape, train.classes)


def _rankers(maker: Maker) -> list[Ranker]:
  """Makes all sets, those of the run before the whole one."""
  job = maker.job
  config, split = job.config.evaluate, job.split
  small = (split.images, split.labels, job.key(Purpose.EVALUATE))
  makers = {job.config.method: functools.partial(maker.make, 0)}
  for method in config.selections:
    makers.setdefault(method, functools.partial(maker.select, method, 0))
  rankers = [
    Ranker(method, make(), config, *small) for method, make in makers.items()
  ]
  if job.config.search.early_stopping:
    images = len(rankers[0].made.labels)
    key = job.key(Purpose.EARLY_STOPPING)
    stopped = early_stopping(split.train, images, config, key=key)
    rankers.append(Ranker(EARLY_STOPPING, *stopped, *small))
  whole = SyntheticSet.from_whole(split.train)
  test = (job.dataset.test_images, job.dataset.test_labels)
  # Other draws than the small sets': equal ones would agree by luck, too.
  key = job.key(Purpose.WHOLE_RANKING)
  return [*rankers, Ranker(REAL, whole, whole_protocol(config), *test, key)]


def _train_all(
  maker: Maker, networks: tuple[NetworkConfig, ...], rankers: list[Ranker]
) -> None:
  """Trains every network on every set, family by family.

  A family's programs are then used up before those of the next are compiled.
  """
  total, done = len(networks) * len(rankers), _found(maker).trained
  if done == total:
    return
  with Progress(
    total, description='train the networks', unit='network', initial=done
  ) as bar:
    for family in split_families(networks):
      for ranker in rankers:
        _train(maker, family.members, ranker, bar)


def _train(
  maker: Maker, members: Sequence[NetworkConfig], ranker: Ranker, bar: Progress
) -> None:
  """Trains a family's networks on a set, and keeps each when it is tested.

  Its seconds are without compiling, which all sets share.
  """

  def meet_request(done: int, total: int) -> None:
    if done < total:  # All trained: only the test is left.
      doing = 'training the networks of the search'
      maker.request.meet(f'{doing}, finished networks are kept')

  known = _found(maker).trainings(ranker.name).accuracies
  for trained in train_networks(
    members,
    ranker.made,
    ranker.images,
    ranker.labels,
    ranker.config,
    key=ranker.key,
    callback=meet_request,
    skip=[network for network in members if label(network) in known],
  ):
    found = _found(maker)
    trainings = found.trainings(ranker.name).with_network(
      label(trained.network),
      trained.result.accuracies,
      max(0.0, trained.seconds - trained.compile_seconds),
    )
    found = dataclasses.replace(
      found.with_trainings(ranker.name, trainings),
      compile_seconds=found.compile_seconds + trained.compile_seconds,
    )
    now = maker.results.now.with_evaluating(trained.seconds)
    maker.results.keep(dataclasses.replace(now, search=found))
    bar.update(found.trained)


def _found(maker: Maker) -> Search:
  """What the search has shown so far."""
  found = maker.results.now.search
  assert found is not None
  return found


def with_agreement(results: Results) -> Results:
  """Compares each small set's ranking with the real one.

  Args:
    results: of a search whose networks are all trained.

  Returns:
    The same with `search.agreement`.
  """
  found = results.search
  assert found is not None
  agreement = {name: _outcome(results, found, name) for name in found.sets}
  found = dataclasses.replace(found, agreement=agreement)
  return dataclasses.replace(results, search=found)


def _outcome(results: Results, found: Search, name: str) -> SearchOutcome:
  """What the ranking by one set is worth, and what it cost."""
  small, real = found.trainings(name), found.real
  agreement = compare_rankings(
    _means(small, found.networks), _means(real, found.networks)
  )
  # Images for early stopping are drawn, which takes no time to speak of.
  making = 0.0 if name == EARLY_STOPPING else making_seconds(results, name, 0)
  training = sum(small.seconds.values())
  return SearchOutcome(
    groups=tuple(
      GroupAgreement(**dataclasses.asdict(group)) for group in agreement.groups
    ),
    picked=agreement.picked,
    picked_accuracy=agreement.picked_accuracy,
    best=agreement.best,
    best_accuracy=agreement.best_accuracy,
    seconds=None if making is None else making + training,
    real_seconds=sum(real.seconds.values()),
  )


def _means(trainings: Trainings, networks: Sequence[str]) -> dict[str, float]:
  """Accuracies in the space's order, in which ties are broken."""
  known = trainings.accuracies
  return {name: float(np.mean(known[name])) for name in networks}
