"""What the plans of this folder have in common."""

from collections.abc import Mapping
import importlib
import math
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from dm_jax.config.protocols import PROTOCOLS
from dm_jax.images.storage import get_storage
from dm_jax.report.paper import Figure
from dm_jax.run.config import RunConfig

PROGRAMS = ('dm_jax', 'torch')
# Of the 100 classes, which have 32×32 pixels: the recipe's for that size, where
# their config is made for 64.
TINY_TILES = {'condense.factor': 3}
CIFAR10, TINY_IMAGENET = 'cifar10', 'tiny_imagenet_100_32x32'
# By a folder of images: whose statistics normalise them.
_STATISTICS = {CIFAR10: 'cifar10', TINY_IMAGENET: 'tiny_imagenet'}
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Planned(NamedTuple):
  """A run of a plan.

  Attributes:
    says: the set in words.
    config: of configs/, without .py.
    argument: of that config.
    sets: settings by dotted name, beside `COMMON`.
    judges: the cell whose first set it judges; '' for its own.
    beside: the paper's figure that it is laid beside, where there is one.
    images: the folder of images that it reads below --folders; '' for what its
      config names.
    pool: name of the folder of trained networks, which the cells of one config
      and pool share; '' where a run trains its own.
    program: of `PROGRAMS`, the one that runs it; torch is the plain loop.
  """

  says: str
  config: str
  argument: str
  sets: dict[str, Any]
  judges: str = ''
  beside: Figure | None = None
  images: str = ''
  pool: str = 'pool'
  program: str = PROGRAMS[0]

  @property
  def data(self) -> str:
    """The data that its config names."""
    return self.make_config().data.name

  @property
  def only_in_folders(self) -> bool:
    """Whether its config names other images than the folder has."""
    return self.images == TINY_IMAGENET

  @property
  def pool_place(self) -> str:
    """The folder of its pool, which cells of equal trainings share."""
    return f'{self.pool}_{self.config}'

  def make_config(self, *settings: Mapping[str, Any]) -> RunConfig:
    """Returns the config of the run.

    Args:
      settings: by dotted name, over those of `config`; of several mappings the
        later ones hold.

    Raises:
      InputError: there is no such run.
    """
    preset = importlib.import_module(f'dm_jax.configs.{self.config}')
    config = preset.get_config(self.argument)
    with config.ignore_type():
      for each in settings:
        config.update_from_flattened_dict(each)
    return RunConfig.from_dict(config.to_dict())

  def trained_on(self, stored: int) -> int:
    """Returns how many training images so many stored ones of its sets hold."""
    config = self.make_config(self.sets)
    return get_storage(config.condense.stored_as).trained_on(stored)

  def read_from(self, folders: Path | None) -> dict[str, str]:
    """Returns the settings by which the run reads its folder of images.

    Args:
      folders: holds that folder; None leaves what the config names.
    """
    if folders is None or not self.images:
      return {}
    return {
      'data.name': 'folder',
      'data.dir': str(folders / self.images),
      'data.statistics': _STATISTICS[self.images],
    }


class Command(NamedTuple):
  """A script of a plan, in a process of its own, before all runs.

  Attributes:
    says: what it measures, in words.
    arguments: of python; --record=FILE is added.
    environment: variables that it needs, set before JAX is loaded.
  """

  says: str
  arguments: tuple[str, ...]
  environment: Mapping[str, str] = _NOTHING


def steps_per_epoch(images: int) -> int:
  """Returns the steps of an epoch under the paper's protocol."""
  return math.ceil(images / PROTOCOLS['dm'].batch_size)


def epochs_within(epochs: int, images: int, others: int) -> int:
  """Returns the most epochs on `others` images with no more steps.

  Args:
    epochs: of the paper's protocol, which takes one more, on `images` images.
    images: that are trained on.
    others: that are trained on instead.
  """
  steps = (epochs + 1) * steps_per_epoch(images)
  return max(steps // steps_per_epoch(others) - 1, 0)


def epochs_covering(epochs: int, images: int, others: int) -> int:
  """Returns the fewest epochs on `others` images with at least as many steps.

  Args:
    epochs: of the paper's protocol, which takes one more, on `images` images.
    images: that are trained on.
    others: that are trained on instead.
  """
  steps = (epochs + 1) * steps_per_epoch(images)
  return math.ceil(steps / steps_per_epoch(others)) - 1
