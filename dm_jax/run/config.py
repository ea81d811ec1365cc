"""Settings of a run of the command."""

import dataclasses
from typing import Any, Self

from dm_jax.applications.config import ContinualConfig, SearchConfig
from dm_jax.config.fields import at_least, build, check_types, within
from dm_jax.config.sections import (
  METHODS,
  CondenseConfig,
  DataConfig,
  EmbedderConfig,
  EvalConfig,
  NetworkConfig,
  PretrainConfig,
)
from dm_jax.errors import InputError, choose
from dm_jax.types import Json

APPLICATIONS = ('none', 'continual', 'search')


@dataclasses.dataclass(frozen=True)
class OutputConfig:
  """What a run writes and how often. Changes no result.

  Attributes:
    checkpoint_seconds: seconds between two checkpoints; 0 saves after every
      compiled call.
    checkpoints_kept: the newest ones stay.
    pictures: grids drawn between the start and the end.
  """

  checkpoint_seconds: float = 60.0
  checkpoints_kept: int = 3
  pictures: int = 3

  def __post_init__(self):
    check_types(self)
    at_least(1, **{'output.checkpoints_kept': self.checkpoints_kept})
    at_least(
      0,
      **{
        'output.pictures': self.pictures,
        'output.checkpoint_seconds': self.checkpoint_seconds,
      },
    )


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """Everything that `launch.py` takes, as one immutable value.

  Attributes:
    seed: every draw follows from it.
    method: dm, or how real images are selected instead.
    sets: independent sets made and evaluated, K; each gets `evaluate.networks`.
    application: what the sets are for: none (they are evaluated), continual
      (learning) or (architecture) search.
    data: the images.
    network: what embeds them.
    condense: how they are condensed.
    embedder: where the embedding networks come from.
    pretrain: how networks are trained on real images, where that is needed.
    evaluate: how the sets are judged.
    continual: the application of that name.
    search: the application of that name.
    output: what is written.
  """

  seed: int = 0
  method: str = 'dm'
  sets: int = 1
  application: str = 'none'
  data: DataConfig = DataConfig()
  network: NetworkConfig = NetworkConfig()
  condense: CondenseConfig = CondenseConfig()
  embedder: EmbedderConfig = EmbedderConfig()
  pretrain: PretrainConfig = PretrainConfig()
  evaluate: EvalConfig = EvalConfig()
  continual: ContinualConfig = ContinualConfig()
  search: SearchConfig = SearchConfig()
  output: OutputConfig = OutputConfig()

  def __post_init__(self):
    check_types(self)
    within(0, 2**32, seed=self.seed)
    at_least(1, sets=self.sets)
    choose('method', self.method, METHODS)
    choose('application', self.application, APPLICATIONS)
    every, log = self.evaluate.validation_every, self.condense.log_every
    if every % log:
      raise InputError(
        f'evaluate.validation_every {every} must be a multiple of'
        f' condense.log_every {log}'
      )
    if every and not self.data.validation:
      raise InputError(
        'evaluate.validation_every needs validation images: set'
        ' data.validation, e.g. 0.1'
      )

  @property
  def evaluation_network(self) -> NetworkConfig:
    return self.evaluate.network.resolve(self.network)

  @classmethod
  def from_dict(cls, values: Json) -> Self:
    """Builds a checked config from nested dicts; missing fields are defaults.

    Raises:
      InputError: on an unknown field (naming near ones) or a wrong type.
    """
    return build(cls, values, '')

  def to_dict(self) -> dict[str, Any]:
    return dataclasses.asdict(self)

  def settings(self) -> dict[str, Any]:
    """Returns what determines the result: not where data lie, nor output."""
    settings = self.to_dict()
    del settings['output'], settings['data']['dir'], settings['data']['cache']
    del settings['condense']['log_every'], settings['embedder']['dir']
    return settings
