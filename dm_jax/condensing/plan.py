"""Every open setting of condensing, resolved once: the `Plan`.

What a config leaves open depends on network, data, devices and free memory.
`make_plan` alone decides it, with `fit` for what fits into memory; init, step,
loop, notes and records read the plan.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import jax
import numpy as np
import optax

from dm_jax.arguments import GROUPED, check_type
from dm_jax.condensing.fit import Fit, fit_into_memory
from dm_jax.condensing.footprint import activations
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.devices.arrangement import PLAIN, Arrangement, get_arrangement
from dm_jax.devices.free_memory import free_bytes
from dm_jax.devices.layout import ClassLayout, lay_out, lay_out_peers
from dm_jax.errors import InputError
from dm_jax.images import augment
from dm_jax.images.storage import get_storage
from dm_jax.matching.discrepancy import check_images
from dm_jax.matching.objective import (
  Objective,
  classes_embedded_together,
  classes_together,
  make_objective,
)
from dm_jax.matching.optimizer import (
  PixelOptimizer,
  as_transformation,
  resolve_optimizer,
)
from dm_jax.matching.state import check_start
from dm_jax.matching.step import Algorithm, make_algorithm
from dm_jax.matching.terms import Term
from dm_jax.networks.linen import AnyNetwork, Drawn, as_network
from dm_jax.networks.outputs import check_outputs, output_shapes
from dm_jax.types import ImageShape, Json, Network
from dm_jax.words import format_bytes


@dataclasses.dataclass(frozen=True)
class Plan:
  """How images are condensed, with nothing left open.

  Attributes:
    objective: the loss, and how many images pass at a time.
    optimizer: of the pixels.
    layout: the classes on devices, and how many at a time.
    fit: where the real images lie, and the memory that all takes.
  """

  objective: Objective
  optimizer: PixelOptimizer | optax.GradientTransformation
  layout: ClassLayout
  fit: Fit

  @property
  def algorithm(self) -> Algorithm:
    """Init and step; equal plans share what is compiled."""
    return make_algorithm(self.objective, self.optimizer)

  @property
  def placement(self) -> str:
    """Where the real images lie: on the device, too, where one chunk is all."""
    return 'device' if self.layout.chunks == 1 else self.fit.placement

  @property
  def moves(self) -> str:
    """What moves the pixels, for messages."""
    if isinstance(self.optimizer, PixelOptimizer):
      return f'condense.learning_rate {self.optimizer.learning_rate}'
    return 'the optimizer given'

  def describe(self) -> str:
    """Returns a line for the person who watches."""
    fit = self.fit
    size = format_bytes(fit.data_bytes)
    where = {
      'device': f'the real images ({size}) lie on the device',
      'host': f'the real images ({size}) stay on the host and come in chunks',
    }[self.placement]
    if not fit.data_bytes:
      where = 'targets made ahead stand for the real images'
    count = 'all classes' if fit.at_once is None else f'{fit.at_once} classes'
    simple = self.placement == 'device' and fit.at_once is None
    # What is free at the moment says something only where it decided.
    told = fit.free is not None and not simple
    free = f' of {format_bytes(fit.free or 0)} free' if told else ''
    objective, classes = self.objective, self.layout.per_device
    micro_batch = min(objective.micro_batch, objective.batch_real)
    embedding = f', embedding {micro_batch} real images of each at once'
    together = classes_embedded_together(objective, classes)
    if together > 1 and not objective.network.mixes_images:
      embedding = f', embedding the real images of {together} classes at once'
    return (
      f'{where}; a device computes {count} at a time'
      f'{embedding if fit.data_bytes else ""}, in about'
      f' {format_bytes(fit.needed)}{free}'
    )

  def record(self) -> Json:
    """Returns what was resolved, for `results.json`."""
    objective, optimizer = self.objective, self.optimizer
    return {
      'optimizer': dataclasses.asdict(optimizer)
      if isinstance(optimizer, PixelOptimizer)
      else {},
      'batch_real': objective.batch_real,
      'micro_batch': objective.micro_batch,
      'classes_embedded': classes_embedded_together(
        objective, self.layout.per_device
      ),
      'classes_together': classes_together(
        objective, self.layout.per_device, max(objective.sizes)
      ),
      'placement': self.placement,
      'classes_at_once': self.layout.per_device,
      'devices': len(self.layout.devices),
      'needed_bytes': self.fit.needed,
    }


def make_plan(
  config: CondenseConfig,
  data: ClassData,
  network: AnyNetwork,
  placement: str = 'auto',
  *,
  devices: Sequence[Any] | None = None,
  shares: tuple[int, ...] = (),
  terms: tuple[tuple[str, Term], ...] = (),
  optimizer: optax.GradientTransformation | None = None,
  networks: int = 0,
  targets: int = 0,
  free: Callable[[Any], int | None] = free_bytes,
) -> Plan:
  """Resolves what a config leaves open; nothing is computed or compiled.

  Args:
    config: as for `condense`.
    data: the real images.
    network: what embeds them, a `Network` or a Linen module.
    placement: see `DataConfig.placement`.
    devices: of this process; None is all local ones.
    shares: classes of every process, where several share them.
    terms: as for `make_step`.
    optimizer: as for `make_step`.
    networks: that the embedder keeps.
    targets: of each class that are computed ahead, for all of these networks.
    free: device -> the bytes that it can still give, None if it does not say.

  Raises:
    InputError: these images cannot be condensed so; the message says why.
  """
  check_type('data', data, ClassData, remedy=GROUPED)
  check_type('config', config, CondenseConfig)
  network = as_network(network, data.image_shape)
  check_condensable(config, data)
  check_network(config, data, network)
  if targets:
    _check_cached(network)
  own = data.own
  devices = tuple(devices or jax.local_devices())
  if network.needs_whole_batch:
    # It knows no axis either: all classes are one batch, on one device, and
    # no class may be padded to the batch.
    devices = devices[:1]
    smallest = min(config.batch_real, int(data.counts.min()))
    config = dataclasses.replace(config, batch_real=smallest)
  room = free(devices[0])
  config, arrangement = _arrange(
    config, network, own.image_shape, devices[0].platform, room
  )
  moves = optimizer or resolve_optimizer(config, network, data.std)
  objective = make_objective(
    network, config, terms=terms, arrangement=arrangement
  )
  fit = fit_into_memory(
    objective,
    as_transformation(moves),
    own,
    devices,
    room,
    placement,
    config.classes_at_once,
    networks,
    targets,
  )
  spans_all = network.mixes_images and not config.batch_norm_classes
  if shares and spans_all:
    layout = lay_out_peers(shares)
  else:
    whole = config.batch_norm_classes if network.mixes_images else 0
    layout = lay_out(own.classes, devices, whole or 1, fit.at_once)
  if spans_all:
    objective = dataclasses.replace(objective, axis=layout.axis)
  return Plan(objective, moves, layout, fit)


def check_condensable(config: CondenseConfig, data: ClassData) -> None:
  """Raises InputError if these images cannot be condensed so."""
  if np.shape(data.numbers) != (data.classes,):
    raise InputError(
      f'ClassData.numbers must be one integer for each of the {data.classes}'
      f' classes, got shape {np.shape(data.numbers)}'
    )
  augment.parse(config.augment)
  storage = get_storage(config.stored_as)
  storage.check(data.image_shape)
  real = min(config.batch_real, int(data.counts.min()))
  synthetic = storage.trained_on(config.sizes[0], config.decoded_at_once)
  check_images(config.discrepancy, real, synthetic)
  check_start(data, storage, config.largest, config.init)
  held = storage.trained_on(config.largest)
  taken = storage.trained_on(config.largest, config.decoded_at_once)
  if len(config.sizes) > 1 and taken < held:
    raise InputError(
      f'condense.decoded_at_once {config.decoded_at_once} is less than the'
      f' {held} training images of a class, which nested sets share: raise'
      ' it, or condense one condense.images_per_class',
      setting='condense.decoded_at_once',
    )


def check_trained(
  config: CondenseConfig,
  embedder: str,
  remedy: str = 'set embedder.name trajectory, interpolated or pool',
) -> None:
  """Raises InputError for a cross entropy under networks that know nothing.

  Args:
    config: with the weight of the cross entropy.
    embedder: as in `EmbedderConfig.name`.
    remedy: what gives trained networks.
  """
  if config.cross_entropy and embedder == 'random':
    raise InputError(
      f'condense.cross_entropy {config.cross_entropy} needs trained networks:'
      f' {remedy}',
      setting='condense.cross_entropy',
    )


def check_own(
  config: CondenseConfig, network: AnyNetwork | None, remedy: str
) -> None:
  """`check_trained`, where nothing but the network itself embeds.

  The init of a network of one's own may return trained variables; that of a
  built-in one does not.

  Args:
    config: with the weight of the cross entropy.
    network: None is the paper's ConvNet.
    remedy: what else gives trained networks.
  """
  if network is None or isinstance(getattr(network, 'init', None), Drawn):
    remedy = f'{remedy} a network whose init returns trained variables'
    check_trained(config, 'random', remedy)


def _check_cached(network: Network) -> None:
  """Raises InputError if real images cannot be embedded ahead."""
  if network.mixes_images:
    raise InputError(
      'embedder.targets cached needs a network that embeds each image alone:'
      " set network.norm to another than 'batch', or embedder.targets to fresh",
      setting='embedder.targets',
    )


def _arrange(
  config: CondenseConfig,
  network: Network,
  image_shape: ImageShape,
  platform: str,
  room: int | None,
) -> tuple[CondenseConfig, Arrangement]:
  """Resolves what passes through a device together; what the config sets wins.

  Args:
    config: whose `micro_batch` may be open.
    network: what embeds.
    image_shape: H, W, D.
    platform: of the device.
    room: bytes of its memory that are free; None if it is not known.

  Returns:
    The config with its `micro_batch`, and the platform's arrangement.
  """
  arrangement = get_arrangement(platform)
  if config.rematerialise and arrangement.classes > 1:
    arrangement = PLAIN  # Memory was asked for, not speed.
  if config.micro_batch:  # It says how many synthetic images pass, too.
    return config, dataclasses.replace(arrangement, synthetic_images=0)
  micro_batch = real_images_at_once(
    arrangement, config.batch_real, network, image_shape, room
  )
  return dataclasses.replace(config, micro_batch=micro_batch), arrangement


def check_network(
  config: CondenseConfig, data: ClassData, network: Network
) -> None:
  """Raises InputError if these images cannot be condensed with the network."""
  output_shapes(network, data.image_shape)  # Refuses other images.
  if config.cross_entropy:
    check_outputs(
      network,
      config.batch_real,
      data.image_shape,
      data.classes,
      otherwise=', or set condense.cross_entropy to 0',
    )
  classes, together = data.classes, config.batch_norm_classes
  if not network.mixes_images:
    return
  if together and network.needs_whole_batch:
    raise InputError(
      f'condense.batch_norm_classes {together} needs one of the built-in'
      ' networks: leave it at 0 for one of your own'
    )
  if together and (together < 2 or classes % together):
    divisors = [n for n in range(2, classes + 1) if classes % n == 0]
    raise InputError(
      f'condense.batch_norm_classes {together} must divide the {classes}'
      f' classes and be at least 2: use one of {divisors}, or 0 for all'
    )
  per_batch = (together or classes) * min(
    config.largest, config.batch_real, int(data.counts.max())
  )
  if per_batch < 2:
    raise InputError(
      'batch norm needs more than one image in a batch, these settings give'
      f' {classes} class of {per_batch}: raise condense.images_per_class and'
      " condense.batch_real, or use network.norm 'instance'"
    )


def real_images_at_once(
  arrangement: Arrangement,
  batch_real: int,
  network: Network,
  image_shape: ImageShape,
  room: int | None = None,
) -> int:
  """Returns how many real images are embedded at a time.

  Args:
    arrangement: of the platform.
    batch_real: B.
    network: what embeds them.
    image_shape: H, W, D.
    room: bytes of memory that are free; None if it is not known.
  """
  if not arrangement.activations:
    return batch_real
  largest = max(activations(network, image_shape).largest, 1)
  least, most = arrangement.real_images
  wanted = min(max(arrangement.activations // largest, least), most)
  if room is None or room // 16 >= arrangement.activations:
    return wanted
  images = min(max(room // 16 // largest, least), most)
  # Free memory differs by a little from run to run; another number would have
  # everything compiled anew, and sums taken in another order.
  if images >= batch_real:
    return images - images % batch_real
  return max(2 ** (images.bit_length() - 1), least)
