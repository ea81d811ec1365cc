"""The set that a run is given: read, completed by the data, made to fit."""

from collections.abc import Callable
import dataclasses
import os
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError
from dm_jax.exchange.formats import OWN, find_format, read_released
from dm_jax.exchange.released import Released, Wanted, check_experiment
from dm_jax.files import full_path
from dm_jax.run import processes
from dm_jax.run.config import RunConfig
from dm_jax.synthetic_set import RELEASED, SyntheticSet
from dm_jax.types import Json


class SetFile(NamedTuple):
  """Where a set lies, and what its file does not say.

  Attributes:
    path: of the file or folder.
    format: its name; '' finds it by what is there.
    factor: tiles a side.
    experiment: which of several in a DM file.
  """

  path: Path
  format: str = ''
  factor: int = 1
  experiment: int = 0

  @classmethod
  def of(cls, file: str | os.PathLike | Self) -> Self:
    """Returns a path as such a file, which a `SetFile` is; it is made whole."""
    given = file if isinstance(file, cls) else cls(Path(file))
    return given._replace(path=full_path(given.path, '--synthetic'))

  def recognised(self) -> Self:
    """Returns the file with the name of its format.

    Raises:
      InputError: there is none, it is of no known format, or it holds one set
        where several are asked for.
    """
    layout = find_format(self.path, self.format or None)
    check_experiment(self.path, layout, self.experiment)
    return self._replace(format=layout)

  def read(self, data: ClassData | None = None) -> SyntheticSet | Released:
    """Reads a `recognised` set; one that needs statistics comes as it is.

    Args:
      data: the real images, whose order of the classes a file that only names
        them is read in; None where no config names them.

    Raises:
      InputError: see `SyntheticSet.read`.
    """
    if self.format == OWN:
      return SyntheticSet.read(self.path, OWN, factor=self.factor)
    names = None if data is None else data.names
    return read_released(self.path, self.format, Wanted(self.experiment, names))

  def complete(
    self,
    found: SyntheticSet | Released,
    data: ClassData | None,
    say: Callable[[str], None],
  ) -> SyntheticSet:
    """Makes a set of what was read, of statistics and names of the data.

    Args:
      found: see `read`.
      data: the real images; None where no config names them.
      say: gets what a person should know of how it was read.
    """
    if isinstance(found, SyntheticSet):
      return found
    for note in found.told(self.factor):
      say(note)
    known: Json = {}
    if data is not None:
      known = {'mean': data.mean, 'std': data.std, 'class_names': data.names}
    return SyntheticSet.from_released(
      found, self.path, factor=self.factor, **known
    )


def read_on_lead(
  file: SetFile | None, data: ClassData
) -> SyntheticSet | Released | None:
  """Reads the set to judge, see `SetFile.read`; only the lead need have it."""
  if file is None:
    return None
  return processes.broadcast(file.read(data) if processes.is_lead() else None)


def check_fits(
  synthetic: SyntheticSet, train: ClassData, config: RunConfig
) -> None:
  """Raises InputError if a set is not of the data, or not as config says."""
  asked, held = config.condense.stored_as, synthetic.storage
  if asked not in (CondenseConfig().stored_as, held):
    raise InputError(
      f'the synthetic set is stored as {held}, the config asks for {asked}:'
      ' leave condense.storage and condense.factor out, since the file says it',
      setting='condense.storage',
    )
  if config.labels == 'teacher' and synthetic.targets.ndim == 1:
    raise InputError(
      'the synthetic set has classes as labels, the config asks for a teacher:'
      ' leave labels out, since the file says it',
      setting='labels',
    )
  old = (synthetic.image_shape, synthetic.class_names)
  new = (train.image_shape, train.class_names)
  if old != new:
    raise InputError(
      f'the synthetic set does not fit the data: it has {synthetic.classes}'
      f' classes of {synthetic.image_shape}, the data {train.classes} of'
      f' {train.image_shape}, names {synthetic.class_names[:3]} against'
      f' {train.class_names[:3]}: give the --config it was made with'
    )


def with_class_labels(synthetic: SyntheticSet) -> SyntheticSet:
  """Returns a set that teaches its classes, to be scored.

  One that holds real images is told from those that it is scored beside.
  """
  scored = dataclasses.replace(synthetic, targets=synthetic.class_of)
  made = synthetic.provenance
  if made.get('method') not in ('random', 'whole'):
    return scored
  return scored.with_provenance(**{**made, 'method': RELEASED})


def stored_alike(config: RunConfig, synthetic: SyntheticSet) -> RunConfig:
  """Returns settings by which random real images are stored as a set's are.

  Raises:
    InputError: its classes differ in size.
  """
  counts = np.bincount(synthetic.class_of, minlength=synthetic.classes)
  if len({*counts.tolist()}) > 1:
    raise InputError(
      f'the synthetic set has {counts.min()} to {counts.max()} images per class'
      ' and a score takes as many random ones of each: use --mode=evaluate'
    )
  storage, _, factor = synthetic.storage.partition(':')
  condense = dataclasses.replace(
    config.condense,
    images_per_class=int(counts[0]),
    storage=storage,
    factor=int(factor or 1),
  )
  return dataclasses.replace(config, condense=condense)
