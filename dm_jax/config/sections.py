"""Every setting of a run, its default and its check. The only home of both."""

import dataclasses

from dm_jax.config.fields import at_least, check_types, within
from dm_jax.errors import InputError, choose

ALL_OPERATIONS = 'color_crop_cutout_flip_scale_rotate'
NORMS = ('instance', 'batch', 'layer', 'group', 'none')
ACTIVATIONS = ('relu', 'sigmoid', 'leaky_relu', 'swish')
POOLINGS = ('avg', 'max', 'none')
INITS = ('real', 'noise')
SELECTIONS = ('random', 'herding', 'k_center', 'forgetting', 'whole')
METHODS = ('dm', *SELECTIONS)
EMBEDDERS = ('random', 'pool')
PLACEMENTS = ('auto', 'device', 'host')
PRECISIONS = ('float32', 'bfloat16')


def split_names(text: str) -> tuple[str, ...]:
  """Splits 'a,b' into names; '' and 'none' are no names."""
  names = tuple(filter(None, (name.strip() for name in text.split(','))))
  return () if names == ('none',) else names


def _check_learning_rate(name: str, value: float) -> None:
  if not 0 < value < float('inf'):
    raise InputError(f'{name} must be above 0 and finite, got {value}')


def _check_training(
  section: str, config: 'PretrainConfig | EvalConfig'
) -> None:
  """Checks how SGD trains a network."""
  at_least(1, **{f'{section}.batch_size': config.batch_size})
  at_least(0, **{f'{section}.weight_decay': config.weight_decay})
  _check_learning_rate(f'{section}.learning_rate', config.learning_rate)
  within(0, 1, **{f'{section}.momentum': config.momentum})


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
    cache: a folder in which decoded images are kept and mapped into memory, so
      that they are decoded once and may be more than memory holds; None keeps
      them in memory alone. Changes no result.
    validation: share of each class's training images that is held out, [0, 1):
      for the evaluations on the way and for bucketing trained networks.
    placement: where the real images lie while they are condensed: device (all
      of them), host (brought to the device chunk by chunk of classes), or auto,
      which takes the device if they fit.
  """

  name: str = 'cifar10'
  dir: str | None = None
  resize: int | None = None
  statistics: str | None = None
  cache: str | None = None
  validation: float = 0.0
  placement: str = 'auto'

  def __post_init__(self):
    check_types(self)
    choose('data.placement', self.placement, PLACEMENTS)
    within(0, 1, **{'data.validation': self.validation})
    if not self.name:
      raise InputError('data.name is empty: name a dataset, e.g. cifar10')
    if self.cache == '':
      raise InputError('data.cache is empty: name a folder, or leave it out')
    if self.resize is not None:
      at_least(1, **{'data.resize': self.resize})


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """A network. `dm_jax.networks.make_network` checks name and image size.

  Attributes:
    name: see `dm_jax.networks.names`.
    width: channels of the ConvNet. Every other network's channels scale with
      it, and 128 gives the original's.
    depth: layers of the ConvNet; other networks have a fixed depth.
    norm: `instance` leaves the networks that have no norm in the original (mlp,
      lenet, alexnet) without one.
    activation: of the ConvNet.
    pooling: of the ConvNet.
  """

  name: str = 'convnet'
  width: int = 128
  depth: int = 3
  norm: str = 'instance'
  activation: str = 'relu'
  pooling: str = 'avg'

  def __post_init__(self):
    check_types(self)
    at_least(1, **{'network.width': self.width, 'network.depth': self.depth})
    choose('network.norm', self.norm, NORMS)
    choose('network.activation', self.activation, ACTIVATIONS)
    choose('network.pooling', self.pooling, POOLINGS)


@dataclasses.dataclass(frozen=True)
class NetworkChoice:
  """Changes to a `NetworkConfig`; a field left None is taken from it.

  Another network takes over only width and norm.
  """

  name: str | None = None
  width: int | None = None
  depth: int | None = None
  norm: str | None = None
  activation: str | None = None
  pooling: str | None = None

  def __post_init__(self):
    check_types(self)

  def resolve(self, base: NetworkConfig) -> NetworkConfig:
    changes = {k: v for k, v in vars(self).items() if v is not None}
    if changes.get('name', base.name) != base.name:
      base = NetworkConfig(width=base.width, norm=base.norm)
    return dataclasses.replace(base, **changes)


@dataclasses.dataclass(frozen=True)
class CondenseConfig:
  """How images are condensed. The defaults are the paper's.

  Attributes:
    images_per_class: synthetic images per class, S; or several, ascending:
      then the first 1, 10, ... images of each class are sets of their own.
    steps: optimiser steps.
    batch_real: real images per class and step, B, drawn without replacement.
    learning_rate: of SGD on the normalised pixels; None takes the one that was
      tested with the network, `Network.learning_rate`, the paper's 1 for its
      ConvNet.
    momentum: of the same.
    smoothing: deviation, in pixels, of a Gaussian that smooths each step's
      gradient; 0 leaves it, as in the paper. None takes the one that was tested
      with the network, `Network.smoothing`: 0 for all but ResNets.
    init: real (random training images) or noise (standard normal).
    augment: operations joined by _, or none; one is drawn per class and step.
    discrepancy: how two sets of features are compared.
    micro_batch: real images embedded at a time, and of the synthetic ones as
      many whole classes as come near; 0 chooses by platform. Speed and memory
      only.
    batch_norm_classes: classes that batch norm takes as one batch; 0 is all of
      them, as in the original. Fewer need less memory.
    classes_at_once: the most classes that a device computes at a time; 0 takes
      what fits. Speed and memory only: classes are independent.
    precision: of the embedding, float32 or bfloat16; pixels, features and means
      are float32 in any case.
    rematerialise: whether the synthetic images' activations are computed again
      for the gradient, a micro-batch at a time, rather than kept. Less memory,
      a third more work on these images.
    log_every: steps between two lines of metrics; changes no result.
  """

  images_per_class: int | tuple = 10
  steps: int = 20_000
  batch_real: int = 256
  learning_rate: float | None = None
  momentum: float = 0.5
  smoothing: float | None = None
  init: str = 'real'
  augment: str = ALL_OPERATIONS
  discrepancy: str = 'mean'
  micro_batch: int = 0
  batch_norm_classes: int = 0
  classes_at_once: int = 0
  precision: str = 'float32'
  rematerialise: bool = False
  log_every: int = 100

  def __post_init__(self):
    check_types(self)
    _check_sizes(self.sizes)
    at_least(
      1,
      **{
        'condense.batch_real': self.batch_real,
        'condense.log_every': self.log_every,
      },
    )
    at_least(
      0,
      **{
        'condense.steps': self.steps,
        'condense.micro_batch': self.micro_batch,
        'condense.batch_norm_classes': self.batch_norm_classes,
        'condense.classes_at_once': self.classes_at_once,
      },
    )
    if self.learning_rate is not None:
      _check_learning_rate('condense.learning_rate', self.learning_rate)
    if self.smoothing is not None:
      within(0, float('inf'), **{'condense.smoothing': self.smoothing})
    within(0, 1, **{'condense.momentum': self.momentum})
    choose('condense.init', self.init, INITS)
    choose('condense.precision', self.precision, PRECISIONS)

  @property
  def sizes(self) -> tuple[int, ...]:
    """The nested sets' images per class, ascending; mostly one."""
    sizes = self.images_per_class
    return sizes if isinstance(sizes, tuple) else (sizes,)

  @property
  def largest(self) -> int:
    """S: the images per class that are condensed."""
    return self.sizes[-1]


def _check_sizes(sizes: tuple) -> None:
  whole = all(type(size) is int and size >= 1 for size in sizes)
  if not sizes or not whole or list(sizes) != sorted(set(sizes)):
    raise InputError(
      'condense.images_per_class must be at least 1, or several such numbers'
      f' that ascend, got {sizes if len(sizes) != 1 else sizes[0]}'
    )


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
  """How networks are trained on the real images.

  They give the features that herding and k-center select in, the forgetting
  events, and the pool of partly trained embedders.

  Attributes:
    epochs: over the real images.
    batch_size: images per step; an epoch leaves out what is left of the last.
    learning_rate: of SGD.
    momentum: of the same.
    weight_decay: added to the gradient, times the parameter.
    augment: operations joined by _, or none.
  """

  epochs: int = 20
  batch_size: int = 256
  learning_rate: float = 0.01
  momentum: float = 0.9
  weight_decay: float = 5e-4
  augment: str = ALL_OPERATIONS

  def __post_init__(self):
    check_types(self)
    at_least(1, **{'pretrain.epochs': self.epochs})
    _check_training('pretrain', self)


@dataclasses.dataclass(frozen=True)
class EmbedderConfig:
  """Where the network that embeds a step's images comes from.

  Attributes:
    name: random (a fresh one each step, the paper's), or pool: drawn from
      partly trained networks whose validation accuracy is in a range.
    low: least validation accuracy of a network drawn from the pool, in [0, 1].
    high: the accuracy that it must stay below, in (0, 1]; 1 is no bound.
    networks: networks trained for the pool.
    snapshots: copies kept of each, evenly spread over `pretrain.epochs`.
    dir: folder of the pool, so that runs can share it; None is the workdir's
      `pool`.
  """

  name: str = 'random'
  low: float = 0.0
  high: float = 1.0
  networks: int = 10
  snapshots: int = 20
  dir: str | None = None

  def __post_init__(self):
    check_types(self)
    choose('embedder.name', self.name, EMBEDDERS)
    at_least(
      1,
      **{
        'embedder.networks': self.networks,
        'embedder.snapshots': self.snapshots,
      },
    )
    if not 0 <= self.low < self.high <= 1:
      raise InputError(
        'embedder.low must be at least 0 and below embedder.high, which must be'
        f' at most 1, got {self.low} and {self.high}'
      )


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
    pool: networks to evaluate, joined by commas: same (the one of `network`),
      a pool's name (`dm_jax.networks.POOLS`), or a network's name, which may be
      followed by changes, as in convnet,vgg11:norm=batch.
    baselines: what the same number of real images is chosen by, to train on
      them, too; joined by commas, of `SELECTIONS`, or none.
    whole_set_epochs: E for the whole set.
    whole_set_networks: networks trained on the whole set.
    validation_every: steps of condensing between two evaluations on the
      validation images; 0 is none.
    validation_networks: networks trained for each of those.
  """

  networks: int = 20
  epochs: int = 1000
  batch_size: int = 256
  learning_rate: float = 0.01
  momentum: float = 0.9
  weight_decay: float = 5e-4
  augment: str = ALL_OPERATIONS
  network: NetworkChoice = NetworkChoice()
  pool: str = 'same'
  baselines: str = 'random'
  whole_set_epochs: int = 100
  whole_set_networks: int = 1
  validation_every: int = 0
  validation_networks: int = 3

  def __post_init__(self):
    check_types(self)
    at_least(
      1,
      **{
        'evaluate.networks': self.networks,
        'evaluate.whole_set_networks': self.whole_set_networks,
        'evaluate.validation_networks': self.validation_networks,
      },
    )
    at_least(
      0,
      **{
        'evaluate.epochs': self.epochs,
        'evaluate.whole_set_epochs': self.whole_set_epochs,
        'evaluate.validation_every': self.validation_every,
      },
    )
    _check_training('evaluate', self)
    for name in self.selections:
      choose('evaluate.baselines', name, SELECTIONS)

  @property
  def selections(self) -> tuple[str, ...]:
    """The baselines' names."""
    return split_names(self.baselines)
