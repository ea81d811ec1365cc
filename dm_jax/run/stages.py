"""The stages of a stream of classes: what they are, and that they can be."""

from collections.abc import Sequence
import dataclasses
import itertools
from typing import NamedTuple

import numpy as np

from dm_jax.applications.memory import condensed_sizes, images_per_class
from dm_jax.applications.stream import class_order, split_groups
from dm_jax.condensing.plan import check_condensable, check_network
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError
from dm_jax.images.storage import get_storage
from dm_jax.networks.registry import make_network
from dm_jax.run.config import RunConfig
from dm_jax.run.job import Job
from dm_jax.selection.select import check_selection, stored_as
from dm_jax.training.evaluate import check_batches
from dm_jax.training.pool import check_pool
from dm_jax.types import Network


class Stage(NamedTuple):
  """A group of classes that arrives.

  Attributes:
    order: of the classes, 0 to `continual.orders` - 1.
    step: of the stream, 0 to `continual.steps` - 1.
    groups: the classes of every group so far; the last one arrives now.
  """

  order: int
  step: int
  groups: tuple[tuple[int, ...], ...]

  @property
  def seen(self) -> tuple[int, ...]:
    """All classes so far, in the order of their arrival."""
    return tuple(itertools.chain(*self.groups))


def list_stages(config: RunConfig, classes: int) -> list[Stage]:
  """Returns all stages, order by order.

  Args:
    config: of the run.
    classes: C.

  Raises:
    InputError: the steps do not divide the classes.
  """
  stages = []
  for order in range(config.continual.orders):
    arriving = class_order(order, classes)
    groups = split_groups(arriving, config.continual.steps)
    stages += [
      Stage(order, step, groups[: step + 1]) for step in range(len(groups))
    ]
  return stages


def methods_of(job: Job) -> tuple[str, ...]:
  """Returns the run's own method and its baselines."""
  methods = (job.config.method, *job.config.evaluate.selections)
  return tuple(dict.fromkeys(methods))


def size_at(job: Job, stage: Stage) -> int:
  """Returns the images per class in memory at a stage."""
  return images_per_class(
    job.config.condense.largest,
    len(stage.seen),
    job.dataset.train.image_shape,
    job.config.continual.store,
    job.config.continual.budget_bytes,
  )


def condense_config(job: Job, size: int) -> CondenseConfig:
  """Returns how the images of a stage are condensed.

  Args:
    job: of the run.
    size: images per class in memory.
  """
  config, budget = job.config.condense, job.config.continual.budget_bytes
  sizes = condensed_sizes(size, budget, config.discrepancy, config.stored_as)
  return dataclasses.replace(config, images_per_class=sizes)


def condensing_network(job: Job, classes: Sequence[int]) -> Network:
  """Makes the network that embeds new classes, and selects among them."""
  return make_network(
    job.config.network,
    image_shape=job.dataset.train.image_shape,
    classes=len(classes),
  )


def evaluation_network(job: Job, stage: Stage) -> Network:
  """Makes the network that tells apart the classes seen so far."""
  return make_network(
    job.config.evaluation_network,
    image_shape=job.dataset.train.image_shape,
    classes=len(stage.seen),
  )


def check(job: Job) -> None:
  """Raises InputError if the run's data cannot come as such a stream."""
  if job.config.embedder.dir is not None:
    raise InputError(
      'embedder.dir would have a pool of one group embed another: leave it out,'
      ' each group then trains its own'
    )
  for stage in list_stages(job.config, job.dataset.train.classes):
    _check_stage(job, stage)


def _check_stage(job: Job, stage: Stage) -> None:
  """Raises InputError for what would stop the run later, at this stage."""
  size, new = size_at(job, stage), stage.groups[-1]
  data = _without_images(job.split.train, new)
  network = condensing_network(job, new)
  judged = evaluation_network(job, stage)
  storage = job.config.condense.stored_as
  for method in methods_of(job):
    if method == 'dm':
      condense = condense_config(job, size)
      check_condensable(condense, data)
      check_network(condense, data, network)
      if job.config.embedder.name != 'random':
        held_out = int(np.isin(job.split.labels, new).sum())
        check_pool(data, held_out, job.config.embedder, job.config.pretrain)
    else:
      check_selection(data, method, size, storage)
    each = get_storage(stored_as(method, storage)).per_stored
    images = size * len(stage.seen) * each
    batch = job.config.evaluate.training.batch_size
    check_batches(judged, images, batch)
  if not np.isin(job.dataset.test_labels, new).any():
    names = ', '.join(data.class_names)
    raise InputError(
      f'the test set has no image of the classes {names}, which arrive together'
      f' in order {stage.order}: use fewer continual.steps, or other data'
    )


def _without_images(data: ClassData, classes: Sequence[int]) -> ClassData:
  """Some classes in name only, for checks: takes no memory."""
  shape = (len(classes), *data.images.shape[1:])
  return dataclasses.replace(
    data,
    images=np.broadcast_to(np.uint8(0), shape),
    counts=np.asarray(data.counts)[list(classes)],
    numbers=None,
    class_names=tuple(data.class_names[label] for label in classes),
  )
