"""Settings of a run of the command."""

import dataclasses
from typing import Any, Self

from dm_jax.applications.config import ContinualConfig, SearchConfig
from dm_jax.config.fields import Section, binding, build, setting
from dm_jax.config.sections import (
  METHODS,
  CondenseConfig,
  DataConfig,
  EmbedderConfig,
  EvalConfig,
  NetworkConfig,
  PretrainConfig,
)
from dm_jax.errors import InputError
from dm_jax.types import Json

APPLICATIONS = ('none', 'continual', 'search')
LABELS = ('class', 'teacher')


@dataclasses.dataclass(frozen=True)
class OutputConfig(Section, prefix='output.'):
  """What a run writes and how often. Changes no result.

  Attributes:
    checkpoint_seconds: seconds between two checkpoints; 0 saves after every
      compiled call.
    checkpoints_kept: the newest ones stay.
    pictures: grids drawn between the start and the end.
  """

  checkpoint_seconds: float = setting(60.0, at_least=0)
  checkpoints_kept: int = setting(3, at_least=1)
  pictures: int = setting(3, at_least=0)


@dataclasses.dataclass(frozen=True)
class RunConfig(Section):
  """Everything that `launch.py` takes, as one immutable value.

  Attributes:
    seed: every draw follows from it.
    method: dm, or how real images are selected instead.
    sets: independent sets made and evaluated, K; each gets `evaluate.networks`.
    application: what the sets are for: none (they are evaluated), continual
      (learning) or (architecture) search.
    labels: of the training images: their class; or teacher, the mean of the
      probabilities that the last network of each training in the pool of
      `embedder` gives them. Of baselines, too, but for the whole set.
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

  seed: int = setting(0, at_least=0, below=2**32)
  method: str = setting('dm', choices=METHODS)
  sets: int = setting(1, at_least=1)
  application: str = setting('none', choices=APPLICATIONS)
  labels: str = setting('class', choices=LABELS)
  data: DataConfig = DataConfig()
  network: NetworkConfig = NetworkConfig()
  condense: CondenseConfig = CondenseConfig()
  embedder: EmbedderConfig = EmbedderConfig()
  pretrain: PretrainConfig = PretrainConfig()
  evaluate: EvalConfig = EvalConfig()
  continual: ContinualConfig = ContinualConfig()
  search: SearchConfig = SearchConfig()
  output: OutputConfig = setting(OutputConfig(), changes_result=False)

  def __post_init__(self):
    super().__post_init__()
    every, log = self.evaluate.validation_every, self.condense.log_every
    if every % log:
      raise InputError(
        f'evaluate.validation_every {every} must be a multiple of'
        f' condense.log_every {log}',
        setting='evaluate.validation_every',
      )
    if every and not self.data.validation:
      raise InputError(
        'evaluate.validation_every needs validation images: set'
        ' data.validation, e.g. 0.1',
        setting='evaluate.validation_every',
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
    return build(cls, values)

  def to_dict(self) -> dict[str, Any]:
    """Returns all settings, those of the protocol as they are used."""
    return dataclasses.asdict(self._resolved)

  def settings(self) -> dict[str, Any]:
    """Returns the settings that can change a result; a workdir keeps them."""
    values = binding(self._resolved)
    if len(self.evaluate.protocols) > 1:  # No field says it of them all.
      values['evaluate']['flip'] = self.evaluate.flip
    return values

  @property
  def _resolved(self) -> Self:
    return dataclasses.replace(self, evaluate=self.evaluate.resolve())
