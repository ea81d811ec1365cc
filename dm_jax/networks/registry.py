"""Which networks exist, and how they are made by name."""

from collections.abc import Callable
import dataclasses
import numbers
from typing import Any

import flax.linen as nn

from dm_jax.arguments import as_shape, check_type, describe
from dm_jax.config.sections import NORMS, NetworkConfig
from dm_jax.errors import InputError, choose
from dm_jax.networks.classic import MLP, VGG11, AlexNet, LeNet
from dm_jax.networks.convnet import ConvNet, check_convnet
from dm_jax.networks.layers import padded_shape
from dm_jax.networks.linen import as_network, built_in
from dm_jax.networks.resnet import ResNet18
from dm_jax.types import ImageShape, Network


@dataclasses.dataclass(frozen=True)
class Architecture:
  """One of the networks that go by a name.

  Attributes:
    make: (config, classes) -> a module called with (images, batch).
    smallest: least height and width of an image, in pixels.
    options: the fields of `NetworkConfig` that it reads.
    norms: the norms that it takes -> the ones that it then has.
    groups: what the width is a multiple of under group norm: 4 groups, and the
      first layer of all but the ConvNet has half the width.
    check: (config, image_shape) raises InputError where more is asked of them.
    smallest_instance: least of the larger of height and width under instance
      norm, at which its smallest maps still have more than one pixel.
  """

  make: Callable[[NetworkConfig, int], nn.Module]
  smallest: int
  options: tuple[str, ...] = ('width',)
  norms: dict[str, str] = dataclasses.field(
    default_factory=lambda: {norm: norm for norm in NORMS}
  )
  groups: int = 8
  check: Callable[[NetworkConfig, ImageShape], None] = lambda *_: None
  smallest_instance: int = 1


def _resnet(pooled: bool) -> Callable[[NetworkConfig, int], nn.Module]:
  return lambda config, classes: ResNet18(config, classes, pooled)


_NO_NORM = {'instance': 'none', 'none': 'none'}
_CONVNET = ('width', 'depth', 'activation', 'pooling')
ARCHITECTURES = {
  'convnet': Architecture(
    ConvNet, 1, _CONVNET, groups=4, check=check_convnet, smallest_instance=2
  ),
  'mlp': Architecture(MLP, 1, norms=_NO_NORM),
  'lenet': Architecture(LeNet, 16, norms=_NO_NORM),
  'alexnet': Architecture(AlexNet, 8, norms={**_NO_NORM, 'batch': 'batch'}),
  'vgg11': Architecture(VGG11, 32),
  'resnet18': Architecture(_resnet(False), 1, smallest_instance=9),
  'resnet18_ap': Architecture(_resnet(True), 8, smallest_instance=16),
}

# (config, image_shape, classes) -> a Network or a Linen module.
Factory = Callable[[NetworkConfig, ImageShape, int], Any]
_registered: dict[str, Factory] = {}


def names() -> tuple[str, ...]:
  """Returns the names that `make_network` knows."""
  return (*ARCHITECTURES, *_registered)


def check_name(name: str) -> None:
  """Raises InputError, naming near ones, for an unknown network."""
  choose('network', name, names())


def register_network(name: str, factory: Factory) -> None:
  """Lets a network of one's own go by a name, in configs and pools, too.

  Args:
    name: not a built-in one's; letters, digits and underscores. One of your own
      is replaced.
    factory: (config, image_shape, classes) -> a `Network`, or a Linen module
      as `network_from_linen` takes it.

  Raises:
    InputError: the name is a built-in network's, or cannot stand in a pool.

  Example:
    dm_jax.register_network(
      'mine', lambda config, image_shape, classes: MyModule(classes))
  """
  if not isinstance(name, str) or not name.isidentifier():
    raise InputError(f'a network name is letters, digits and _, got {name!r}')
  if name in ARCHITECTURES:
    raise InputError(
      f'there is a network {name!r} already: choose another name'
    )
  if not callable(factory):
    raise InputError(
      'factory must be a function of (config, image_shape, classes), got'
      f' {describe(factory)}'
    )
  _registered[name] = factory


def unused_fields(name: str) -> tuple[str, ...]:
  """Returns the fields of `NetworkConfig` that a network does not read.

  In a config they are left out of account, so that a preset that sets the
  ConvNet's depth can be given another network.
  """
  if name not in ARCHITECTURES:
    return ()
  return tuple(f for f in _CONVNET if f not in ARCHITECTURES[name].options)


def paper_network(image_shape: ImageShape) -> NetworkConfig:
  """Returns the paper's ConvNet: four layers from 64 pixels on, else three."""
  depth = 4 if min(image_shape[:2]) >= 64 else NetworkConfig().depth
  return NetworkConfig(depth=depth)


def make_network(
  network: str | NetworkConfig,
  *,
  image_shape: ImageShape | None = None,
  classes: int | None = None,
  **options,
) -> Network:
  """Makes one of the networks that go by a name.

  Args:
    network: a name, or a whole config.
    image_shape: (H, W, D); must be given.
    classes: C, the outputs of the classifier; must be given.
    **options: with a name, the other fields of `NetworkConfig`.

  Returns:
    The network; equal arguments give equal functions, so that compiled code
    is shared.

  Raises:
    InputError: an unknown name or option, a norm that the network does not
      come with, or images that are too small.

  Example:
    network = dm_jax.make_network('convnet', image_shape=(32, 32, 3),
                                  classes=10, norm='batch')
  """
  named = isinstance(network, str)
  if named:
    network = _from_options(network, options)
  check_type(
    'network',
    network,
    NetworkConfig,
    remedy="give a name, e.g. 'convnet', or a NetworkConfig",
  )
  if options and not named:
    raise InputError(f'options {sorted(options)} go with a name, not a config')
  check_name(network.name)
  if image_shape is None or classes is None:
    raise InputError(
      f'network {network.name} needs the shape of its images and the number of'
      ' classes: give e.g. image_shape=(32, 32, 3), classes=10'
    )
  image_shape = as_shape(image_shape)
  if not isinstance(classes, numbers.Integral) or classes < 1:
    raise InputError(
      f'network {network.name} needs classes=C, a whole number from 1 up, got'
      f' {classes!r}'
    )
  if network.name in _registered:
    made = _registered[network.name](network, image_shape, classes)
    return as_network(made, image_shape)
  architecture = ARCHITECTURES[network.name]
  _check(network, architecture, image_shape)
  default = NetworkConfig()
  unused = {
    field: getattr(default, field) for field in unused_fields(network.name)
  }
  norm = architecture.norms[network.norm]
  config = dataclasses.replace(network, norm=norm, **unused)
  module = architecture.make(config, classes)
  return built_in(module, image_shape, norm == 'batch', network.name)


def _from_options(name: str, options: dict[str, Any]) -> NetworkConfig:
  """Raises InputError for an option that the network does not read."""
  check_name(name)
  fields = {field.name for field in dataclasses.fields(NetworkConfig)}
  for option in options:
    choose('network option', option, sorted(fields - {'name'}))
  unused = sorted(set(options) & set(unused_fields(name)))
  if unused:
    raise InputError(
      f'network {name} has no {unused[0]}: it takes width and norm'
    )
  return NetworkConfig(name=name, **options)


def _check(
  config: NetworkConfig, architecture: Architecture, image_shape: ImageShape
) -> None:
  """Raises InputError if the network does not come so."""
  name, smallest = config.name, architecture.smallest
  if config.norm not in architecture.norms:
    known = ', '.join(architecture.norms)
    raise InputError(
      f'network {name} does not come with network.norm {config.norm!r}: known'
      f' are {known}'
    )
  groups = architecture.groups
  if config.norm == 'group' and config.width % groups:
    raise InputError(
      f'network.norm group needs a width that {groups} divides, got'
      f' {config.width}'
    )
  architecture.check(config, image_shape)
  if min(padded_shape(image_shape)[:2]) < smallest:
    height, width = image_shape[:2]
    raise InputError(
      f'network {name} takes images from {smallest}×{smallest} pixels on, these'
      f' are {height}×{width}: use data.resize (folders and tfds) or another'
      ' network, e.g. convnet'
    )
  smallest, side = architecture.smallest_instance, max(image_shape[:2])
  if config.norm == 'instance' and side < smallest:
    # One pixel less its own mean is 0: the features of all images are alike.
    height, width = image_shape[:2]
    raise InputError(
      f'network {name} with network.norm instance takes images from {smallest}'
      f'×{smallest} pixels on, these are {height}×{width}: the norm makes 0 of'
      ' maps of one pixel; use another network.norm, e.g. batch'
    )


def default_network(image_shape: ImageShape, classes: int) -> Network:
  """The paper's ConvNet, of the depth that it uses for such images."""
  return make_network(
    paper_network(image_shape), image_shape=image_shape, classes=classes
  )
