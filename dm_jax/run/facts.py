"""Facts of a run that are no results: its settings, versions and machine."""

from collections.abc import Iterator
import dataclasses
import os
from pathlib import Path
import resource
import sys
from typing import Any

import jax

from dm_jax.config.fields import differences
from dm_jax.config.sections import DataConfig, NetworkConfig
from dm_jax.errors import InputError
from dm_jax.matching.optimizer import is_tested, resolve_optimizer
from dm_jax.networks.labels import label
from dm_jax.networks.registry import unused_fields
from dm_jax.records.results import Data
from dm_jax.report.grid import is_drawable
from dm_jax.run.config import RunConfig
from dm_jax.run.job import Job
from dm_jax.synthetic_set import package_versions


def notes(job: Job) -> list[str]:
  """Returns what a person should know before the run: what was set, to what.

  A preset sets more than it was asked for, e.g. the paper's learning rate for
  large sets.
  """
  config = job.config
  several = len(config.evaluate.protocols) > 1
  default, given = (
    # Fields of several protocols are open: only those given are told.
    dataclasses.asdict(settings) if several else settings.to_dict()
    for settings in (RunConfig(), config)
  )
  for settings in (default, given):
    del settings['output'], settings['data']
  changed = [
    line.replace(': ', ' ').replace(' ->', ', not', 1)
    for line in differences(given, default)
  ]
  lines = []
  if changed:
    lines.append(f'settings of this run: {"; ".join(changed)}')
  unused = [
    f'network.{field}'
    for field in unused_fields(config.network.name)
    if getattr(config.network, field) != getattr(NetworkConfig(), field)
  ]
  if unused:
    lines.append(f'{config.network.name} does not use {", ".join(unused)}')
  lines += job.dataset.notes
  if not is_drawable(job.dataset.train.image_shape):
    channels = job.dataset.train.image_shape[-1]
    lines.append(
      f'images of {channels} channels are not drawn: pictures have 1 or 3'
    )
  if not condenses(job):
    return lines
  if not _plans_by_stage(job):
    lines.append(job.plan.describe())
  low, high = job.split.train.held_range
  spare = jax.local_device_count() - (high - low)
  if spare > 0:
    lines.append(
      f'warning: {spare} of {jax.local_device_count()} devices do not condense:'
      f' there are {high - low} classes'
    )
  return [*lines, *_tested_settings(job)]


def _tested_settings(job: Job) -> Iterator[str]:
  """Says where a network's own settings are taken, and where they are not."""
  name = job.config.network.name
  condense = job.config.condense
  optimizer, storage = condense.optimizer, condense.storage
  where = f'{optimizer} and {name}'
  if storage != 'plain':
    where += f' and storage {storage}'
  left_open = dataclasses.replace(condense, learning_rate=None, smoothing=None)
  found = resolve_optimizer(left_open, job.network, job.split.train.std)
  resolved = {
    'learning_rate': float(f'{found.learning_rate:.3g}'),
    'smoothing': found.smoothing,
  }
  if not is_tested(name, optimizer, storage):
    if condense.learning_rate is None:
      yield (
        f'condense.learning_rate is {resolved["learning_rate"]}, which was not'
        f' tested with {where}: choose it by validation images'
      )
    return
  for field, paper in {'learning_rate': 1, 'smoothing': 0}.items():
    tested, given = resolved[field], getattr(condense, field)
    if tested == paper:
      continue
    if given is None:
      yield (
        f'condense.{field} is {tested}, recommended with {where}; the'
        f' paper has {paper}, for sgd and its ConvNet'
      )
    elif given != tested:
      yield (
        f'condense.{field} is {given}, but {tested} is recommended with {where}'
      )


def _place(data: DataConfig) -> str | None:
  """The name of one's own folder or file of images."""
  if data.name not in ('folder', 'npz', 'parquet', 'hf') or not data.dir:
    return None
  path = Path(data.dir).expanduser().resolve()
  name = path.stem if data.name == 'npz' else path.name
  return os.fsencode(name).decode(errors='replace')  # It need not be UTF-8.


def _condensing_network(job: Job) -> str | None:
  """The label of the network that the set was made with, if it is known."""
  if job.synthetic is None:
    return label(job.config.network)
  settings = job.synthetic.provenance.get('config', {}).get('network')
  try:
    return None if settings is None else label(NetworkConfig(**settings))
  except (TypeError, InputError):
    return None  # Of another version.


def _teachers(job: Job) -> int | None:
  """The networks that label the job's sets; None where classes do."""
  if job.synthetic is None:
    taught = job.config.labels == 'teacher'
    return job.config.embedder.networks if taught else None
  if job.synthetic.targets.ndim == 1:
    return None
  count = job.synthetic.provenance.get('teachers')
  return count if isinstance(count, int) else 0


def condenses(job: Job) -> bool:
  """Whether the run makes sets by distribution matching."""
  return job.synthetic is None and job.config.method == 'dm'


def _plans_by_stage(job: Job) -> bool:
  """Whether each group of classes is planned for when it arrives."""
  return job.config.application == 'continual'


def _stored_images(job: Job) -> int | None:
  """Returns the images of a set that `sizes` do not say, else None."""
  if job.synthetic is None:
    return None
  count = len(job.synthetic.class_of)
  even = count == job.sizes[-1] * job.synthetic.classes
  return None if even else count


def facts(job: Job) -> dict[str, Any]:
  """Returns the fields of `Results` that are known before the run."""
  train = job.dataset.train
  return {
    'mode': job.mode,
    'application': job.config.application,
    'method': job.method,
    'seed': job.config.seed,
    'command': job.command,
    'sets': job.sets,
    'images_per_class': job.sizes[-1],
    'sizes': job.sizes,
    'stored_images': _stored_images(job),
    'networks': tuple(job.pool),
    'teachers': _teachers(job),
    'protocols': job.protocols,
    'condensing_network': _condensing_network(job),
    'data': Data(
      name=job.config.data.name,
      place=_place(job.config.data),
      classes=train.classes,
      class_names=tuple(train.class_names),
      train_images=int(job.split.train.counts.sum()),
      # Of all processes; `split` holds those of this one.
      validation_images=int(
        job.dataset.train.counts.sum() - job.split.train.counts.sum()
      ),
      test_images=len(job.dataset.test_labels),
      image_shape=tuple(train.image_shape),
      mean=tuple(train.mean),
      std=tuple(train.std),
    ),
    'versions': package_versions(),
  }


def describe_machine(earlier_peak: int = 0) -> dict[str, Any]:
  """Returns `device` and the `peak_bytes` that this process has used so far.

  Args:
    earlier_peak: of the run before it was resumed.
  """
  devices = jax.local_devices()
  first = devices[0]
  if first.platform == 'cpu':
    name = f'CPU, {os.cpu_count()} cores'
  else:
    name = f'{len(devices)} × {first.device_kind}'
  if jax.process_count() > 1:
    name = f'{jax.process_count()} processes, each {name}'
  peaks = [(d.memory_stats() or {}).get('peak_bytes_in_use') for d in devices]
  peak = max((p for p in peaks if p), default=0)
  if not peak:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = used if sys.platform == 'darwin' else used * 1024
  return {'device': name, 'peak_bytes': max(peak, earlier_peak)}
