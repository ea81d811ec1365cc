"""What a run is about to do, checked before anything is written."""

from collections.abc import Callable
import dataclasses
import enum
import functools
from pathlib import Path
from typing import Any

import jax

from dm_jax.arguments import as_key
from dm_jax.condensing.plan import Plan, make_plan
from dm_jax.data.class_data import WHOLE, Dataset, Part
from dm_jax.data.split import Split
from dm_jax.run import processes
from dm_jax.run.config import RunConfig
from dm_jax.run.inputs import describe_inputs
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.embedders import snapshots_held
from dm_jax.types import Key, Network

MODES = ('run', 'condense', 'evaluate', 'score')
JUDGING = ('evaluate', 'score')  # A set that is given.


class Purpose(enum.IntEnum):
  """What a key of a run is for; the seed's key is folded with its number.

  The numbers stay: another one would draw other images. The images that are
  held out for validation have no purpose, see `split_seed`.
  """

  MAKE = 0
  EVALUATE = 1
  BASELINE = 2
  VALIDATE = 3
  EMBED = 4
  PRETRAIN = 5
  EARLY_STOPPING = 6
  WHOLE_RANKING = 7


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
    synthetic: what to judge, in the modes of `JUDGING`.
    folder: what the run writes goes here.
    command: how the run was started, for the report.
    say: gets each line for the person who watches.
    first_set: number of the set that lies in the folder itself.
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

  def key(self, purpose: Purpose, number: int = 0) -> Key:
    """Returns the key for a purpose and a set, 0 to K - 1."""
    fold = jax.random.fold_in
    return fold(fold(as_key(self.config.seed), purpose), number)

  def set_folder(self, number: int) -> Path:
    """Returns where a set is kept: the first one in the folder itself."""
    if number == self.first_set:
      return self.folder
    return self.folder / f'set_{number}'

  @functools.cached_property
  def inputs(self) -> dict[str, Any]:
    """What the run reads; all of its bytes are read to tell."""
    part = own_part(self.config)
    return describe_inputs(self.dataset, part, self.synthetic)

  @functools.cached_property
  def plan(self) -> Plan:
    """Every open setting of condensing, resolved when first asked for."""
    embedder = self.config.embedder
    networks = snapshots_held(embedder, self.config.pretrain)
    return make_plan(
      self.config.condense,
      self.split.train,
      self.network,
      self.config.data.placement,
      networks=networks,
      targets=networks * embedder.cached_draws,
      shares=processes.shares(self.split.train.classes),
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
    sizes = self.synthetic.sizes
    return sizes[-1:] if self.mode == 'score' else sizes

  @property
  def protocols(self) -> tuple[str, ...]:
    """Those that networks are trained under, the headline's first."""
    names = self.config.evaluate.protocols
    bare = map(unaugmented, names) if self.mode == 'score' else ()
    return (*names, *bare)

  @property
  def sets(self) -> int:
    """K; there is one whole set."""
    alone = self.synthetic is not None or self.config.method == 'whole'
    return 1 if alone else self.config.sets


def unaugmented(protocol: str) -> str:
  """Returns what a protocol is called without its augmentation."""
  return f'unaugmented {protocol}'


def split_seed(config: RunConfig) -> int:
  """Returns the seed of NumPy's draw of the images held out for validation.

  It is the run's own: one that is folded with a purpose would hold out other
  images than earlier versions did.
  """
  return config.seed


def own_part(config: RunConfig) -> Part:
  """The classes that this process holds: whole batches of a batch norm."""
  if processes.count() == 1:
    return WHOLE

  def held(classes: int) -> tuple[int, int]:
    together = whole_batches(config, classes)
    low, high = processes.share(classes // together)
    return low * together, high * together

  return Part(held, processes.total)


def whole_batches(config: RunConfig, classes: int) -> int:
  """The classes that must not be dealt to different processes."""
  together = config.condense.batch_norm_classes
  return together if together and classes % together == 0 else 1
