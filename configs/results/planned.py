"""What the plans of this folder have in common."""

from collections.abc import Mapping
import importlib
from typing import Any, NamedTuple

from dm_jax.run.config import RunConfig


class Planned(NamedTuple):
  """A run of a plan.

  Attributes:
    says: the set in words.
    config: of configs/, without .py.
    argument: of that config.
    sets: settings by dotted name, beside `COMMON`.
    judges: the cell whose first set it judges; '' for its own.
  """

  says: str
  config: str
  argument: str
  sets: dict[str, Any]
  judges: str = ''

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
