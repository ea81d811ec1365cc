"""What a run is about to do, checked before anything is written."""

from collections.abc import Callable, Iterator
import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax

from dm_jax.condensing import plan as placement
from dm_jax.condensing.condense import (
  check_condensable,
  check_network,
  make_plan,
)
from dm_jax.config.fields import differences
from dm_jax.config.sections import NetworkConfig, RunConfig
from dm_jax.data import load as data
from dm_jax.data.class_data import Dataset
from dm_jax.data.digest import fingerprint
from dm_jax.data.part import WHOLE, Part
from dm_jax.data.split import Split, hold_out
from dm_jax.images import augment
from dm_jax.matching.discrepancy import get_discrepancy
from dm_jax.networks.labels import label, parse_pool
from dm_jax.networks.registry import make_network, unused_fields
from dm_jax.run import processes
from dm_jax.selection.select import check_selection, needs_training
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.training.embedders import check_pool
from dm_jax.training.evaluate import check_batches
from dm_jax.types import InputError, Key, Network, choose

MODES = ('run', 'condense', 'evaluate')

# What the keys of a run are for: each is the seed's, folded with its number and
# with that of the set.
MAKE, EVALUATE, BASELINE, VALIDATE, EMBED, PRETRAIN = range(6)


@dataclasses.dataclass(frozen=True)
class Job:
  """A run that has been checked and may start.

  Attributes:
    config: all settings.
    mode: one of `MODES`.
    dataset: the real images.
    split: the training images, without those that are held out, and these.
    network: the one that condenses.
    pool: the networks that are evaluated, by label.
    synthetic: what to evaluate, in mode evaluate.
    folder: what the run writes goes here.
    command: how the run was started, for the report.
    say: gets each line for the person who watches.
    first_set: number of the set that lies in the folder itself.
    first_class: number of the first class, see `condense_classes`.
  """

  config: RunConfig
  mode: str
  dataset: Dataset
  split: Split
  network: Network
  pool: dict[str, Network]
  synthetic: SyntheticSet | None
  folder: Path
  command: str
  say: Callable[[str], None]
  first_set: int = 0
  first_class: int = 0

  def key(self, purpose: int, number: int = 0) -> Key:
    """Returns the key for a purpose of this module and a set, 0 to K - 1."""
    fold = jax.random.fold_in
    return fold(fold(jax.random.key(self.config.seed), purpose), number)

  def set_folder(self, number: int) -> Path:
    """Returns where a set is kept: the first one in the folder itself."""
    if number == self.first_set:
      return self.folder
    return self.folder / f'set_{number}'

  @functools.cached_property
  def inputs(self) -> dict[str, str]:
    """Digests of what the run reads; all of its bytes are read for them."""
    digests = {'data': fingerprint(self.dataset, _part(self.config))}
    if self.synthetic is not None:
      digests['synthetic'] = self.synthetic.fingerprint()
    return digests

  @functools.cached_property
  def plan(self) -> placement.Plan:
    """How condensing fits into memory, when first asked for."""
    return make_plan(
      self.config.condense,
      self.split.train,
      self.network,
      self.config.data.placement,
    )

  @property
  def method(self) -> str:
    """What made the set that is judged."""
    if self.synthetic is None:
      return self.config.method
    return self.synthetic.provenance.get('method', 'dm')

  @property
  def sizes(self) -> tuple[int, ...]:
    """The images per class of the sets that are judged, ascending."""
    if self.synthetic is None:
      return self.config.condense.sizes
    return (len(self.synthetic.labels) // self.synthetic.classes,)

  @property
  def sets(self) -> int:
    """K; there is one whole set."""
    alone = self.synthetic is not None or self.config.method == 'whole'
    return 1 if alone else self.config.sets


def prepare(
  config: RunConfig,
  mode: str,
  folder: Path,
  synthetic: Path | None,
  command: str,
  say: Callable[[str], None],
) -> Job:
  """Loads the data and refuses whatever can be refused.

  Args:
    config: all settings.
    mode: one of `MODES`.
    folder: the workdir; not touched.
    synthetic: in mode evaluate, the file of the set.
    command: how the run was started.
    say: gets each line for the person who watches.

  Raises:
    InputError: something given cannot be used; the message says why.
  """
  choose('mode', mode, MODES)
  _check_application(config, mode)
  _check_processes(config, mode)
  if mode == 'evaluate' and synthetic is None:
    raise InputError('mode evaluate needs a set: --synthetic=FILE')
  if mode != 'evaluate' and synthetic is not None:
    raise InputError(f'--synthetic goes with --mode=evaluate, not {mode}')
  for section in (config.condense, config.evaluate, config.pretrain):
    augment.parse(section.augment)
  get_discrepancy(config.condense.discrepancy)
  # Of networks that do not exist it is told before the data are read.
  pool = parse_pool(config.evaluate.pool, config.evaluation_network)
  loaded = None
  if synthetic is not None:  # Only the lead need have the file.
    own = SyntheticSet.load(synthetic) if processes.is_lead() else None
    loaded = processes.broadcast(own)
  dataset = data.load(config.data, _part(config))
  classes = dataset.train.classes
  _check_shares(classes, _whole_batches(config, classes))
  split = hold_out(dataset.train, config.data.validation, config.seed)

  def make(network: NetworkConfig) -> Network:
    return make_network(
      network,
      image_shape=dataset.train.image_shape,
      classes=dataset.train.classes,
    )

  job = Job(
    config=config,
    mode=mode,
    dataset=dataset,
    split=split,
    network=make(config.network if loaded is None else pool[0]),
    pool={label(network): make(network) for network in pool},
    synthetic=loaded,
    folder=folder,
    command=command,
    say=say,
  )
  if loaded is None:
    _check_making(job)
  else:
    _check_fits(loaded, dataset)
  # A stream is checked step by step.
  if mode != 'condense' and config.application != 'continual':
    _check_evaluation(job)
  if processes.count() > 1:
    _check_inputs(job)
  return job


def _check_inputs(job: Job) -> None:
  """Raises InputError if a process reads other data than the lead."""
  changed = differences(job.inputs, processes.broadcast(job.inputs))
  if changed:
    raise InputError(
      f'process {processes.index()} reads other data than process 0'
      f' ({"; ".join(changed)}): give all the same'
    )


def _part(config: RunConfig) -> Part:
  """The classes that this process holds: whole batches of a batch norm."""
  if processes.count() == 1:
    return WHOLE

  def held(classes: int) -> tuple[int, int]:
    together = _whole_batches(config, classes)
    low, high = processes.share(classes // together)
    return low * together, high * together

  return Part(held, processes.total)


def _whole_batches(config: RunConfig, classes: int) -> int:
  """The classes that must not be dealt to different processes."""
  together = config.condense.batch_norm_classes
  return together if together and classes % together == 0 else 1


def _check_application(config: RunConfig, mode: str) -> None:
  """Raises InputError if an application cannot be run so."""
  name = config.application
  if name == 'none':
    return
  wrong = {
    f'--mode={mode}': mode != 'run',
    f'sets {config.sets}': config.sets != 1,
    f'method {config.method}': config.method == 'whole',
    'evaluate.baselines whole': 'whole' in config.evaluate.selections,
    f'evaluate.pool {config.evaluate.pool}': config.evaluate.pool != 'same',
    'several condense.images_per_class': len(config.condense.sizes) > 1,
    'several processes': processes.count() > 1,
  }
  for what, given in wrong.items():
    if given:
      raise InputError(
        f'application {name} does not go with {what}: leave that out, or set'
        ' application none'
      )


def _check_processes(config: RunConfig, mode: str) -> None:
  """Raises InputError if several processes cannot do such a run together."""
  count = processes.count()
  if count == 1:
    return
  settings = {**config.settings(), 'mode': mode}
  changed = differences(settings, processes.broadcast(settings))
  if changed:
    raise InputError(
      f'process {processes.index()} has other settings than process 0'
      f' ({"; ".join(changed)}): start all with the same'
    )
  selected = config.evaluate.selections if mode == 'run' else ()
  baselines = [m for m in selected if m != 'random']
  alone = {
    f'method {config.method}': config.method not in ('dm', 'random'),
    f'evaluate.baselines {",".join(baselines)}': bool(baselines),
    'embedder.name pool': config.embedder.name != 'random',
    'evaluate.validation_every': config.evaluate.validation_every > 0,
  }
  for what, given in alone.items():
    if given:
      raise InputError(
        f'{what} needs the images of all classes, and each of {count} processes'
        ' holds only its own: leave it out, or run it in one process'
      )


def _check_shares(classes: int, together: int) -> None:
  """Raises InputError if a process would have nothing to do."""
  most = classes // together
  if processes.count() > most:
    what = 'classes' if together == 1 else f'batches of {together} classes'
    raise InputError(
      f'{processes.count()} processes are more than the {most} {what}:'
      f' start at most {most}'
    )


def _check_making(job: Job) -> None:
  config, train = job.config, job.split.train
  if config.method != 'dm':
    check_selection(train, config.method, config.condense.largest)
    if needs_training(config.method):
      _check_pretraining(job)
    return
  check_condensable(config.condense, train)
  check_network(config.condense, train, job.network)
  _ = job.plan  # Refuses what fits nowhere.
  if config.embedder.name == 'pool':
    held_out = len(job.split.labels)
    check_pool(train, held_out, config.embedder, config.pretrain)
    _check_pretraining(job)


def _check_pretraining(job: Job) -> None:
  size = min(job.config.pretrain.batch_size, int(job.split.train.counts.sum()))
  if job.network.mixes_images and size == 1:
    raise InputError(
      'batch norm needs more than one image in a batch: raise'
      f' pretrain.batch_size, got {job.config.pretrain.batch_size}'
    )


def _check_evaluation(job: Job) -> None:
  config, train = job.config.evaluate, job.split.train
  counts = {size * train.classes for size in job.sizes}
  if job.synthetic is not None:
    counts = {len(job.synthetic.labels)}
  elif 'whole' in (job.method, *config.selections):
    counts.add(int(train.counts.sum()))
  for network in job.pool.values():
    for count in counts:
      check_batches(network, count, config.batch_size)
  if job.mode != 'run':
    return
  if any(map(needs_training, config.selections)):
    _check_pretraining(job)
  largest = job.config.condense.largest
  for method in config.selections:
    try:
      check_selection(job.split.train, method, largest)
    except InputError as error:
      raise InputError(
        f'{error}; or leave {method} out of evaluate.baselines'
      ) from error


def _check_fits(synthetic: SyntheticSet, dataset: Dataset) -> None:
  train = dataset.train
  old = (synthetic.image_shape, synthetic.class_names)
  new = (train.image_shape, train.class_names)
  if old != new:
    raise InputError(
      f'the synthetic set does not fit the data: it has {synthetic.classes}'
      f' classes of {synthetic.image_shape}, the data {train.classes} of'
      f' {train.image_shape}, names {synthetic.class_names[:3]} against'
      f' {train.class_names[:3]}: give the --config it was made with'
    )


def notes(job: Job) -> list[str]:
  """Returns what a person should know before the run: what was set, to what.

  A preset sets more than it was asked for, e.g. the paper's learning rate for
  large sets.
  """
  config = job.config
  default, given = RunConfig().to_dict(), config.to_dict()
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
  if job.synthetic is not None or config.method != 'dm':
    return lines
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
  for field, paper in {'learning_rate': 1, 'smoothing': 0}.items():
    tested = getattr(job.network, field)
    given = getattr(job.config.condense, field)
    if tested == paper:
      continue
    if given is None:
      yield (
        f'condense.{field} is {tested}, which was tested with {name}; the paper'
        f' has {paper}, for its ConvNet'
      )
    elif given != tested:
      yield f'condense.{field} is {given}, but {tested} was tested with {name}'


def _condensing_network(job: Job) -> str | None:
  """The label of the network that the set was made with, if it is known."""
  if job.synthetic is None:
    return label(job.config.network)
  settings = job.synthetic.provenance.get('config', {}).get('network')
  try:
    return None if settings is None else label(NetworkConfig(**settings))
  except (TypeError, InputError):
    return None  # Of another version.


def facts(job: Job) -> dict[str, Any]:
  """Returns what `results.json` says before anything is measured."""
  train = job.dataset.train
  return {
    'mode': job.mode,
    'application': job.config.application,
    'method': job.method,
    'seed': job.config.seed,
    'command': job.command,
    'sets': job.sets,
    'images_per_class': job.sizes[-1],
    'sizes': list(job.sizes),
    'networks': list(job.pool),
    'condensing_network': _condensing_network(job),
    'data': {
      'name': job.config.data.name,
      'classes': train.classes,
      'class_names': list(train.class_names),
      'train_images': int(job.split.train.counts.sum()),
      'validation_images': len(job.split.labels),
      'test_images': len(job.dataset.test_labels),
      'image_shape': list(train.image_shape),
      'mean': list(train.mean),
      'std': list(train.std),
    },
    'versions': package_versions(),
  }
