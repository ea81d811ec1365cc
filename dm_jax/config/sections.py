"""The library's settings by section, each with its default and its range."""

import dataclasses
from typing import Self

from dm_jax.config.fields import Section, setting
from dm_jax.config.protocols import (
  ALL_OPERATIONS,
  PROTOCOLS,
  SCHEDULES,
  Protocol,
)
from dm_jax.errors import InputError, choose

NORMS = ('instance', 'batch', 'layer', 'group', 'none')
ACTIVATIONS = ('relu', 'sigmoid', 'leaky_relu', 'swish')
POOLINGS = ('avg', 'max', 'none')
INITS = ('real', 'noise')
SELECTIONS = (
  'random',
  'random_full',
  'random_jpeg',
  'herding',
  'k_center',
  'forgetting',
  'whole',
)
METHODS = ('dm', *SELECTIONS)
EMBEDDERS = ('random', 'pool', 'interpolated', 'trajectory')
OPTIMIZERS = ('sgd', 'adam')  # What they are: `matching.optimizer`.
PLACEMENTS = ('auto', 'device', 'host')
PRECISIONS = ('float32', 'bfloat16')
TARGETS = ('fresh', 'cached')


def split_names(text: str) -> tuple[str, ...]:
  """Splits 'a,b' into names; '' and 'none' are no names."""
  names = tuple(filter(None, (name.strip() for name in text.split(','))))
  return () if names == ('none',) else names


@dataclasses.dataclass(frozen=True)
class DataConfig(Section, prefix='data.'):
  """Which images.

  Attributes:
    name: digits, npz, folder, parquet, hf or hf:NAME of Hugging Face, a set of
      the paper (mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
      tiny_imagenet), or any tfds image-classification dataset.
    dir: the file (npz), the folder (folder, parquet, hf), or where the sets of
      the paper, tfds's and the hub's lie or are downloaded to; None is the
      default directory of tfds or the hub.
    resize: pixels; images of all sources but digits and npz are resized to
      resize × resize. None leaves them, and then all must have one size.
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
  dir: str | None = setting(None, changes_result=False, is_path=True)
  resize: int | None = setting(None, at_least=1)
  statistics: str | None = None
  cache: str | None = setting(None, changes_result=False, is_path=True)
  validation: float = setting(0.0, at_least=0, below=1)
  placement: str = setting('auto', choices=PLACEMENTS, changes_result=False)

  def __post_init__(self):
    super().__post_init__()
    if not self.name:
      raise InputError(
        'data.name is empty: name a dataset, e.g. cifar10', setting='data.name'
      )


@dataclasses.dataclass(frozen=True)
class NetworkConfig(Section, prefix='network.'):
  """A network. `dm_jax.make_network` checks name and image size.

  Attributes:
    name: see `dm_jax.networks.registry.names`.
    width: channels of the ConvNet. Every other network's channels scale with
      it, and 128 gives the original's.
    depth: layers of the ConvNet; other networks have a fixed depth.
    norm: `instance` leaves the networks that have no norm in the original (mlp,
      lenet, alexnet) without one.
    activation: of the ConvNet.
    pooling: of the ConvNet.
  """

  name: str = 'convnet'
  width: int = setting(128, at_least=1)
  depth: int = setting(3, at_least=1)
  norm: str = setting('instance', choices=NORMS)
  activation: str = setting('relu', choices=ACTIVATIONS)
  pooling: str = setting('avg', choices=POOLINGS)


@dataclasses.dataclass(frozen=True)
class NetworkChoice(Section, prefix='evaluate.network.'):
  """Changes to a `NetworkConfig`; a field left None is taken from it.

  Another network takes over only width and norm.
  """

  name: str | None = None
  width: int | None = None
  depth: int | None = None
  norm: str | None = None
  activation: str | None = None
  pooling: str | None = None

  def resolve(self, base: NetworkConfig) -> NetworkConfig:
    changes = {k: v for k, v in vars(self).items() if v is not None}
    if changes.get('name', base.name) != base.name:
      base = NetworkConfig(width=base.width, norm=base.norm)
    return dataclasses.replace(base, **changes)


@dataclasses.dataclass(frozen=True)
class CondenseConfig(Section, prefix='condense.'):
  """How images are condensed. The defaults are the paper's.

  Attributes:
    images_per_class: synthetic images per class, S; or several, ascending:
      then the first 1, 10, ... images of each class are sets of their own.
    steps: optimiser steps.
    batch_real: real images per class and step, B, drawn without replacement.
    learning_rate: of the optimiser on the normalised pixels; None takes the one
      that is recommended with network, optimiser and storage
      (`matching.optimizer`), the paper's 1 for its ConvNet and plain images.
    momentum: of sgd; the decay of adam's first moment.
    smoothing: deviation, in pixels, of a Gaussian that smooths each step's
      gradient; 0 leaves it, as in the paper. None takes the one that was tested
      with the network: 0 for all but ResNets.
    init: real (random training images) or noise (standard normal).
    augment: operations joined by _, of which one is drawn per class and step;
      or several such stages joined by +, which are all applied; or none.
    discrepancy: how two sets of features are compared: mean (the paper's),
      covariance, mmd or characteristic, or several joined by commas. A weight
      other than 1 follows a colon: mean,covariance:50.
    cross_entropy: weight of the synthetic images' cross entropy under the
      step's trained network; 0 leaves it out.
    storage: how stored images hold those to train on: plain (they are the
      same), tiles, or one that was registered (`images.storage`).
    factor: tiles a side of a stored image, 2 or more; each is enlarged to a
      whole image to train on. 1 for every storage but tiles.
    decoded_at_once: training images of a class that a step takes at the most,
      drawn anew; 0 is all that the stored images hold.
    clamp: whether the pixels stay in the range of images.
    optimizer: of the pixels: sgd, the paper's, or adam.
    micro_batch: real images embedded at a time, and of the synthetic ones as
      many whole classes as come near; 0 chooses by platform. Speed and memory
      only.
    batch_norm_classes: classes that batch norm takes as one batch; 0 is all of
      them, as in the original. Fewer need less memory.
    classes_at_once: the most classes that a device computes at a time; 0 takes
      what fits. Speed and memory only: classes are independent.
    precision: of the embedding, float32 or bfloat16; pixels, features and means
      are float32 in any case. It is the arrays' type: at float32 XLA multiplies
      in bfloat16 on a TPU and in TF32 on GPUs from Ampere on, unless
      JAX_DEFAULT_MATMUL_PRECISION=float32 is in the environment.
    rematerialise: whether the synthetic images' activations are computed again
      for the gradient, a micro-batch at a time, rather than kept. Less memory,
      a third more work on these images.
    log_every: steps between two lines of metrics; changes no result.
  """

  images_per_class: int | tuple = 10
  steps: int = setting(20_000, at_least=0)
  batch_real: int = setting(256, at_least=1)
  learning_rate: float | None = setting(None, above=0)
  momentum: float = setting(0.5, at_least=0, below=1)
  smoothing: float | None = setting(None, at_least=0, below=float('inf'))
  init: str = setting('real', choices=INITS)
  augment: str = ALL_OPERATIONS
  discrepancy: str = 'mean'
  cross_entropy: float = setting(0.0, at_least=0, below=float('inf'))
  storage: str = 'plain'
  factor: int = setting(1, at_least=1)
  decoded_at_once: int = setting(0, at_least=0)
  clamp: bool = False
  optimizer: str = setting('sgd', choices=OPTIMIZERS)
  micro_batch: int = setting(0, at_least=0, changes_result=False)
  batch_norm_classes: int = setting(0, at_least=0)
  classes_at_once: int = setting(0, at_least=0, changes_result=False)
  precision: str = setting('float32', choices=PRECISIONS)
  rematerialise: bool = setting(False, changes_result=False)
  log_every: int = setting(100, at_least=1, changes_result=False)

  def __post_init__(self):
    super().__post_init__()
    _check_sizes(self.sizes)
    if len(self.sizes) == 1:  # 10 and (10,) are one setting.
      object.__setattr__(self, 'images_per_class', self.sizes[0])
    tiled, named = self.storage == 'tiles', self.storage.startswith('tiles:')
    if tiled != (self.factor > 1) or named:
      raise InputError(
        f'condense.factor {self.factor} does not go with condense.storage'
        f' {self.storage}: set storage tiles and a factor from 2 up, or storage'
        ' plain and factor 1',
        setting='condense.factor',
      )

  @property
  def stored_as(self) -> str:
    """The storage's name in files, which says the factor, too."""
    tiled = self.storage == 'tiles'
    return f'tiles:{self.factor}' if tiled else self.storage

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
      f' that ascend, got {sizes if len(sizes) != 1 else sizes[0]}',
      setting='condense.images_per_class',
    )


@dataclasses.dataclass(frozen=True)
class PretrainConfig(Section, prefix='pretrain.'):
  """How networks are trained on the real images.

  They give the features that herding and k-center select in, the forgetting
  events, and the pool of partly trained embedders.

  Attributes:
    epochs: over the real images.
    batch_size: images per step; an epoch leaves out what is left of the last.
    learning_rate: of SGD.
    momentum: of the same.
    weight_decay: added to the gradient, times the parameter.
    augment: as `condense.augment`, with one operation of a stage per batch.
    schedule: of the learning rate: constant; or thirds, a fifth from 2/3 of the
      epochs on, and a fifth of that from 5/6 on.
    cutmix: probability that a batch is mixed by CutMix, in [0, 1].
  """

  epochs: int = setting(20, at_least=1)
  batch_size: int = setting(256, at_least=1)
  learning_rate: float = setting(0.01, above=0)
  momentum: float = setting(0.9, at_least=0, below=1)
  weight_decay: float = setting(5e-4, at_least=0)
  augment: str = ALL_OPERATIONS
  schedule: str = setting('constant', choices=SCHEDULES[1:])
  cutmix: float = setting(0.0, at_least=0, at_most=1)

  @property
  def training(self) -> Protocol:
    """All of it but the epochs."""
    names = [field.name for field in dataclasses.fields(Protocol)]
    return Protocol(**{name: getattr(self, name) for name in names})


@dataclasses.dataclass(frozen=True)
class EmbedderConfig(Section, prefix='embedder.'):
  """Where the network that embeds a step's images comes from.

  Attributes:
    name: random: a fresh one each step, the paper's; pool: drawn from partly
      trained networks whose validation accuracy is in a range; trajectory: a
      snapshot of a training, with a later one of the same training for the
      cross entropy (TGDD); or interpolated: between a network before and after
      its training, with the trained one for the cross entropy (DANCE).
    low: least validation accuracy of a network drawn from the pool, in [0, 1];
      0 where the name is not pool.
    high: the accuracy that it must stay below, in (0, 1]; 1 is no bound, and
      what it is where the name is not pool.
    networks: networks trained for the pool.
    snapshots: copies kept of each, evenly spread over `pretrain.epochs`. Where
      the name is trajectory or interpolated, one after each epoch and one
      before the first are kept instead.
    ahead: epochs that the snapshot for the cross entropy is later than the one
      for the features, at the most; 0 takes one for both. Of a trajectory.
    targets: fresh: real images are drawn and embedded in each step; cached:
      ahead, for each network and class, and a step draws among these. Of a pool
      or a trajectory.
    draws: of `condense.batch_real` real images and an augmentation, for each
      network and class, where they are cached.
    dir: folder of the pool, so that runs can share it; None is the workdir's
      `pool`.
  """

  name: str = setting('random', choices=EMBEDDERS)
  low: float = 0.0
  high: float = 1.0
  networks: int = setting(10, at_least=1)
  snapshots: int = setting(20, at_least=1)
  ahead: int = setting(6, at_least=0)
  targets: str = setting('fresh', choices=TARGETS)
  draws: int = setting(16, at_least=1)
  dir: str | None = setting(None, changes_result=False, is_path=True)

  def __post_init__(self):
    super().__post_init__()
    if not 0 <= self.low < self.high <= 1:
      raise InputError(
        'embedder.low must be at least 0 and below embedder.high, which must be'
        f' at most 1, got {self.low} and {self.high}',
        setting='embedder.low',
      )
    if self.name != 'pool' and (self.low, self.high) != (0, 1):
      field = 'low' if self.low != 0 else 'high'
      raise InputError(
        f'embedder.{field} {getattr(self, field)} is a bound of a pool, and'
        f' embedder.name is {self.name}: set it to pool, or leave embedder.low'
        ' at 0 and embedder.high at 1',
        setting=f'embedder.{field}',
      )
    if self.cached and self.name not in ('pool', 'trajectory'):
      raise InputError(
        'embedder.targets cached needs networks that come again, not embedder'
        f'.name {self.name}: set it to trajectory or pool, or targets to fresh',
        setting='embedder.targets',
      )

  @property
  def cached(self) -> bool:
    """Whether targets are computed ahead."""
    return self.targets == 'cached'

  @property
  def cached_draws(self) -> int:
    """Targets that are computed ahead, for each network and class."""
    return self.draws if self.cached else 0


@dataclasses.dataclass(frozen=True)
class EvalConfig(Section, prefix='evaluate.'):
  """How a synthetic set is judged. The defaults are the original protocol's.

  Attributes:
    protocol: gives each field of `Protocol` that is left None here. Several,
      joined by commas, and a run judges every set under each, with networks
      that start alike; of the first one are the headline and what is evaluated
      on the way.
    networks: fresh networks trained, M.
    networks_at_once: the most that a device trains together; 0 chooses by
      platform. Speed and memory only.
    epochs: E, see `epochs_run`.
    batch_size: see `Protocol`, also for the next six.
    learning_rate: as above.
    momentum: as above.
    weight_decay: as above.
    augment: as above.
    schedule: as above.
    cutmix: as above.
    flip: whether a mirrored image is one of the same class; False leaves `flip`
      out of the protocol's augmentation.
    network: changes to the condensing network.
    pool: networks to evaluate, joined by commas: same (the one of `network`),
      a pool's name (`networks.labels.POOLS`), or a network's name, which may be
      followed by changes, as in convnet,vgg11:norm=batch.
    baselines: what the same number of real images is chosen by, to train on
      them, too; joined by commas, of `SELECTIONS`, or none. Those of random
      are stored as the synthetic ones are, all others as they are, but for
      random_jpeg: JPEG files in place of the same number, that take no more
      bytes than a class's stored synthetic images do as 8-bit pixels.
    whole_set_epochs: E for the whole set.
    whole_set_networks: networks trained on the whole set.
    validation_every: steps of condensing between two evaluations on the
      validation images; 0 is none.
    validation_networks: networks trained for each of those.
  """

  protocol: str = 'dm'
  networks: int = setting(20, at_least=1)
  networks_at_once: int = setting(0, at_least=0, changes_result=False)
  epochs: int = setting(1000, at_least=0)
  batch_size: int | None = setting(None, at_least=1)
  learning_rate: float | None = setting(None, above=0)
  momentum: float | None = setting(None, at_least=0, below=1)
  weight_decay: float | None = setting(None, at_least=0)
  augment: str | None = None
  schedule: str | None = setting(None, choices=SCHEDULES)
  cutmix: float | None = setting(None, at_least=0, at_most=1)
  # What it changes stands in the resolved `augment`.
  flip: bool = setting(True, changes_result=False)
  network: NetworkChoice = NetworkChoice()
  pool: str = 'same'
  baselines: str = 'random'
  whole_set_epochs: int = setting(100, at_least=0)
  whole_set_networks: int = setting(1, at_least=1)
  validation_every: int = setting(0, at_least=0)
  validation_networks: int = setting(3, at_least=1)

  def __post_init__(self):
    super().__post_init__()
    field = 'evaluate.protocol'
    for name in self.protocols:
      choose(field, name, PROTOCOLS, setting=field)
    if len(set(self.protocols)) < len(self.protocols):
      raise InputError(
        f'{field} {self.protocol} names one twice: name each once',
        setting=field,
      )
    for name in self.selections:
      field = 'evaluate.baselines'
      choose(field, name, SELECTIONS, setting=field)

  @property
  def protocols(self) -> tuple[str, ...]:
    """The protocols' names, at least one."""
    return tuple(name.strip() for name in self.protocol.split(','))

  def under(self, protocol: str) -> Self:
    """Returns the same settings with one protocol alone."""
    return dataclasses.replace(self, protocol=protocol)

  @property
  def first(self) -> Self:
    """The same settings with the first protocol alone."""
    return self.under(self.protocols[0])

  @property
  def training(self) -> Protocol:
    """The protocol, which must be one, with the fields given here."""
    if len(self.protocols) > 1:
      raise InputError(
        f'evaluate.protocol {self.protocol} is several, and networks are'
        ' trained under one at a time: name one',
        setting='evaluate.protocol',
      )
    base = PROTOCOLS[self.protocols[0]]
    if not self.flip:
      augment = base.augment.replace('flip+', '').replace('flip_', '')
      base = dataclasses.replace(base, augment=augment)
    given = {name: getattr(self, name) for name in vars(base)}
    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(base, **given)

  @property
  def epochs_run(self) -> int:
    """E + 1 under the schedule half, else E, but at least 1."""
    half = self.training.schedule == 'half'
    return self.epochs + 1 if half else max(self.epochs, 1)

  def resolve(self) -> Self:
    """Returns the same protocol with every field of it given.

    Several have no field in common: they are returned as they are.
    """
    if len(self.protocols) > 1:
      return self
    return dataclasses.replace(self, **vars(self.training))

  @property
  def selections(self) -> tuple[str, ...]:
    """The baselines' names."""
    return split_names(self.baselines)
