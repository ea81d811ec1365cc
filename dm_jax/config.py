"""Every setting of a run, its default and its check. The only home of both."""

from collections.abc import Mapping
import dataclasses
import types
import typing
from typing import Any, Self

from dm_jax.types import InputError, Json, choose

ALL_OPERATIONS = 'color_crop_cutout_flip_scale_rotate'
NORMS = ('instance', 'batch', 'layer', 'group', 'none')
ACTIVATIONS = ('relu', 'sigmoid', 'leaky_relu', 'swish')
POOLINGS = ('avg', 'max', 'none')
INITS = ('real', 'noise')


def _at_least(minimum: float, **values) -> None:
  for name, value in values.items():
    if not value >= minimum:
      raise InputError(f'{name} must be at least {minimum}, got {value}')


def _within(low: float, high: float, **values) -> None:
  for name, value in values.items():
    if not low <= value < high:
      raise InputError(f'{name} must be in [{low}, {high}), got {value}')


def _typed(name: str, value: Any, hint) -> Any:
  """Returns `value` if it is of the type `hint`, ints as floats too."""
  union = isinstance(hint, types.UnionType)
  allowed = typing.get_args(hint) if union else (hint,)
  if float in allowed and type(value) is int:
    return float(value)
  if type(value) not in allowed:
    expected = ' or '.join(t.__name__ for t in allowed)
    raise InputError(f'{name} must be of type {expected}, got {value!r}')
  return value


def _check_types(config: Any) -> None:
  """Raises InputError for a field of another type; makes ints floats."""
  for name, hint in typing.get_type_hints(type(config)).items():
    if not dataclasses.is_dataclass(hint):
      value = _typed(name, getattr(config, name), hint)
      object.__setattr__(config, name, value)


def _check_learning_rate(name: str, value: float) -> None:
  if not 0 < value < float('inf'):
    raise InputError(f'{name} must be above 0 and finite, got {value}')


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which images.

  Attributes:
    name: digits, npz, folder, or any tfds image-classification dataset.
    dir: the file (npz), the folder (folder) or the tfds data directory; None
      is tfds's own default directory.
    resize: pixels; images of a folder or a tfds set are resized to resize ×
      resize. None leaves them, and then all must have one size.
    statistics: a set whose published mean and deviation normalise the images,
      e.g. tiny_imagenet for a folder of it. None takes those published under
      the set's own name, and computes them where there are none.
  """

  name: str = 'cifar10'
  dir: str | None = None
  resize: int | None = None
  statistics: str | None = None

  def __post_init__(self):
    _check_types(self)
    if not self.name:
      raise InputError('data.name is empty: name a dataset, e.g. cifar10')
    if self.resize is not None:
      _at_least(1, **{'data.resize': self.resize})


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """A network. `dm_jax.networks.make_network` checks name and image size."""

  name: str = 'convnet'
  width: int = 128
  depth: int = 3
  norm: str = 'instance'
  activation: str = 'relu'
  pooling: str = 'avg'

  def __post_init__(self):
    _check_types(self)
    _at_least(1, **{'network.width': self.width, 'network.depth': self.depth})
    choose('network.norm', self.norm, NORMS)
    choose('network.activation', self.activation, ACTIVATIONS)
    choose('network.pooling', self.pooling, POOLINGS)


@dataclasses.dataclass(frozen=True)
class NetworkChoice:
  """Changes to a `NetworkConfig`; a field left None is taken from it."""

  name: str | None = None
  width: int | None = None
  depth: int | None = None
  norm: str | None = None
  activation: str | None = None
  pooling: str | None = None

  def __post_init__(self):
    _check_types(self)

  def resolve(self, base: NetworkConfig) -> NetworkConfig:
    changes = {k: v for k, v in vars(self).items() if v is not None}
    return dataclasses.replace(base, **changes)


@dataclasses.dataclass(frozen=True)
class CondenseConfig:
  """How images are condensed. The defaults are the paper's.

  Attributes:
    images_per_class: synthetic images per class, S.
    steps: optimiser steps.
    batch_real: real images per class and step, B, drawn without replacement.
    learning_rate: of SGD on the normalised pixels.
    momentum: of the same.
    init: real (random training images) or noise (standard normal).
    augment: operations joined by _, or none; one is drawn per class and step.
    discrepancy: how two sets of features are compared.
    micro_batch: real images embedded at a time; 0 chooses by platform. Speed
      and memory only.
    log_every: steps between two lines of metrics; changes no result.
  """

  images_per_class: int = 10
  steps: int = 20_000
  batch_real: int = 256
  learning_rate: float = 1.0
  momentum: float = 0.5
  init: str = 'real'
  augment: str = ALL_OPERATIONS
  discrepancy: str = 'mean'
  micro_batch: int = 0
  log_every: int = 100

  def __post_init__(self):
    _check_types(self)
    _at_least(
      1,
      **{
        'condense.images_per_class': self.images_per_class,
        'condense.batch_real': self.batch_real,
        'condense.log_every': self.log_every,
      },
    )
    _at_least(
      0,
      **{
        'condense.steps': self.steps,
        'condense.micro_batch': self.micro_batch,
      },
    )
    _check_learning_rate('condense.learning_rate', self.learning_rate)
    _within(0, 1, **{'condense.momentum': self.momentum})
    choose('condense.init', self.init, INITS)


@dataclasses.dataclass(frozen=True)
class EvalConfig:
  """How a synthetic set is judged. The defaults are the original protocol's.

  Attributes:
    networks: fresh networks trained, M.
    epochs: E; E + 1 are run, as in the original, and the learning rate falls
      tenfold after epoch ⌊E/2⌋ + 1.
    batch_size: images per step.
    learning_rate: before it falls.
    momentum: of SGD; the buffer starts afresh where the learning rate falls.
    weight_decay: added to the gradient, times the parameter.
    augment: operations joined by _, or none; one per batch, its parameters
      drawn for each image.
    network: changes to the condensing network.
    random_baseline: also train on as many random real images.
    whole_set: also train on all real images.
    whole_set_epochs: E for the whole set.
    whole_set_networks: networks trained on the whole set.
  """

  networks: int = 20
  epochs: int = 1000
  batch_size: int = 256
  learning_rate: float = 0.01
  momentum: float = 0.9
  weight_decay: float = 5e-4
  augment: str = ALL_OPERATIONS
  network: NetworkChoice = NetworkChoice()
  random_baseline: bool = True
  whole_set: bool = False
  whole_set_epochs: int = 100
  whole_set_networks: int = 1

  def __post_init__(self):
    _check_types(self)
    _at_least(
      1,
      **{
        'evaluate.networks': self.networks,
        'evaluate.batch_size': self.batch_size,
        'evaluate.whole_set_networks': self.whole_set_networks,
      },
    )
    _at_least(
      0,
      **{
        'evaluate.epochs': self.epochs,
        'evaluate.whole_set_epochs': self.whole_set_epochs,
        'evaluate.weight_decay': self.weight_decay,
      },
    )
    _check_learning_rate('evaluate.learning_rate', self.learning_rate)
    _within(0, 1, **{'evaluate.momentum': self.momentum})


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
    _check_types(self)
    _at_least(1, **{'output.checkpoints_kept': self.checkpoints_kept})
    _at_least(
      0,
      **{
        'output.pictures': self.pictures,
        'output.checkpoint_seconds': self.checkpoint_seconds,
      },
    )


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """Everything that `launch.py` takes, as one immutable value."""

  seed: int = 0
  data: DataConfig = DataConfig()
  network: NetworkConfig = NetworkConfig()
  condense: CondenseConfig = CondenseConfig()
  evaluate: EvalConfig = EvalConfig()
  output: OutputConfig = OutputConfig()

  def __post_init__(self):
    _check_types(self)
    _within(0, 2**32, seed=self.seed)

  @property
  def evaluation_network(self) -> NetworkConfig:
    return self.evaluate.network.resolve(self.network)

  @classmethod
  def from_dict(cls, values: Json) -> Self:
    """Builds a checked config from nested dicts; missing fields are defaults.

    Raises:
      InputError: on an unknown field (naming near ones) or a wrong type.
    """
    return _from_dict(cls, values, '')

  def to_dict(self) -> dict[str, Any]:
    return dataclasses.asdict(self)

  def settings(self) -> dict[str, Any]:
    """Returns what determines the result: not where data lie, nor output."""
    settings = self.to_dict()
    del settings['output'], settings['data']['dir']
    del settings['condense']['log_every']
    return settings


def _from_dict(cls, values: Json, prefix: str):
  if not isinstance(values, Mapping):
    where = prefix.rstrip('.') or 'the config'
    raise InputError(f'{where} must be a dict of its fields, got {values!r}')
  hints = typing.get_type_hints(cls)
  fields = {}
  for name, value in values.items():
    choose('config field', prefix + name, (prefix + n for n in hints))
    if dataclasses.is_dataclass(hints[name]):
      fields[name] = _from_dict(hints[name], value, f'{prefix}{name}.')
    else:
      fields[name] = _typed(prefix + name, value, hints[name])
  return cls(**fields)


def differences(old: Json, new: Json, prefix: str = '') -> list[str]:
  """Returns 'field: old -> new' for every leaf that differs."""
  lines = []
  for name in sorted(old.keys() | new.keys()):
    a, b = old.get(name), new.get(name)
    if isinstance(a, dict) and isinstance(b, dict):
      lines += differences(a, b, f'{prefix}{name}.')
    elif a != b:
      lines.append(f'{prefix}{name}: {a!r} -> {b!r}')
  return lines
