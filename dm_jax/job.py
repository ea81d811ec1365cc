"""What a run is about to do, checked before anything is written."""

from collections.abc import Callable
import dataclasses
from pathlib import Path
from typing import Any

import jax

from dm_jax import augment, data
from dm_jax.condense import check_condensable
from dm_jax.config import RunConfig
from dm_jax.data import Dataset
from dm_jax.discrepancy import get_discrepancy
from dm_jax.networks import check_name, make_network
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.types import InputError, Key, Network, choose

MODES = ('run', 'condense', 'evaluate')

# What the keys of a run are for: each is the seed's, folded with its number.
CONDENSE, EVALUATE, CHOOSE_RANDOM = range(3)


@dataclasses.dataclass(frozen=True)
class Job:
  """A run that has been checked and may start.

  Attributes:
    config: all settings.
    mode: one of `MODES`.
    dataset: the real images.
    networks: the one that condenses and the one that is evaluated.
    synthetic: what to evaluate, in mode evaluate.
    folder: what the run writes goes here.
    command: how the run was started, for the report.
    say: gets each line for the person who watches.
  """

  config: RunConfig
  mode: str
  dataset: Dataset
  networks: tuple[Network, ...]
  synthetic: SyntheticSet | None
  folder: Path
  command: str
  say: Callable[[str], None]

  def key(self, purpose: int) -> Key:
    """Returns the key for one of the purposes of this module."""
    return jax.random.fold_in(jax.random.key(self.config.seed), purpose)

  def inputs(self) -> dict[str, str]:
    """Returns digests of what the run reads."""
    digests = {'data': data.fingerprint(self.dataset)}
    if self.synthetic is not None:
      digests['synthetic'] = self.synthetic.fingerprint()
    return digests


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
  if mode == 'evaluate' and synthetic is None:
    raise InputError('mode evaluate needs a set: --synthetic=FILE')
  if mode != 'evaluate' and synthetic is not None:
    raise InputError(f'--synthetic goes with --mode=evaluate, not {mode}')
  for operations in (config.condense.augment, config.evaluate.augment):
    augment.parse(operations)
  get_discrepancy(config.condense.discrepancy)
  for network in (config.network, config.evaluation_network):
    check_name(network.name)
  loaded = None if synthetic is None else SyntheticSet.load(synthetic)
  dataset = data.load(config.data)
  train = dataset.train
  if loaded is None:
    check_condensable(config.condense, train)
    networks = (config.network, config.evaluation_network)
  else:
    _check_fits(loaded, dataset)
    networks = (config.evaluation_network, config.evaluation_network)
  if mode == 'run' and config.evaluate.random_baseline:
    _check_baseline(config, train)
  made = tuple(
    make_network(n, image_shape=train.image_shape, classes=train.classes)
    for n in networks
  )
  return Job(config, mode, dataset, made, loaded, folder, command, say)


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


def _check_baseline(config: RunConfig, train) -> None:
  per_class, smallest = config.condense.images_per_class, train.counts.min()
  if per_class > smallest:
    raise InputError(
      f'the random baseline needs {per_class} images of each class, the'
      f' smallest has {smallest}: set evaluate.random_baseline False'
    )


def facts(job: Job) -> dict[str, Any]:
  """Returns what `results.json` says before anything is measured."""
  train = job.dataset.train
  return {
    'mode': job.mode,
    'seed': job.config.seed,
    'command': job.command,
    'images_per_class': job.config.condense.images_per_class
    if job.synthetic is None
    else len(job.synthetic.labels) // job.synthetic.classes,
    'data': {
      'name': job.config.data.name,
      'classes': train.classes,
      'class_names': list(train.class_names),
      'train_images': int(train.counts.sum()),
      'test_images': len(job.dataset.test_labels),
      'image_shape': list(train.image_shape),
      'mean': list(train.mean),
      'std': list(train.std),
    },
    'versions': package_versions(),
  }
