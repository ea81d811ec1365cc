"""How a Linen module becomes a `Network`."""

from collections.abc import Callable
import dataclasses
import functools
import inspect
from typing import Any, cast

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from dm_jax.arguments import describe
from dm_jax.errors import InputError
from dm_jax.networks.layers import Linear, flatten
from dm_jax.networks.outputs import refused_shape
from dm_jax.types import (
  Array,
  Batch,
  ImageShape,
  Key,
  Network,
  Outputs,
  Variables,
)

AnyNetwork = Network | nn.Module

_STATISTICS = 'batch_stats'
# What modules call the argument that says whether they are in training, and
# whether it says so or the contrary.
_TRAIN_NAMES = {
  'train': True,
  'training': True,
  'is_training': True,
  'deterministic': False,
  'use_running_average': False,
}


@dataclasses.dataclass(frozen=True)
class Drawn:
  """`Network.init` of the built-in networks: other variables for each key."""

  module: nn.Module
  image_shape: ImageShape

  def __call__(self, key: Key) -> Variables:
    images = jnp.zeros((1, *self.image_shape), jnp.float32)
    return self.module.init(key, images, Batch(train=False))


@functools.lru_cache
def built_in(
  module: nn.Module,
  image_shape: ImageShape,
  mixes_images: bool,
  name: str,
  constants: tuple[str, ...] = (),
) -> Network:
  """Wraps a module whose call (images, batch) gives a `layers.Forward`."""

  def apply(variables, images, batch: Batch) -> Outputs:
    mutable = [_STATISTICS] if batch.train else []
    (features, layers, logits), updated = module.apply(
      variables, images, batch, mutable=mutable
    )
    return Outputs(features, layers, logits, {**variables, **updated})

  return Network(
    Drawn(module, image_shape),
    apply,
    mixes_images,
    takes_padding=True,
    name=name,
    constants=constants,
  )


def as_network(network: AnyNetwork, image_shape: ImageShape) -> Network:
  """Returns a `Network` as it is, and wraps a Linen module.

  Raises:
    InputError: it is neither, or a module that cannot be wrapped.
  """
  if isinstance(network, Network):
    return network
  if isinstance(network, nn.Module):
    return network_from_linen(network, image_shape)
  raise InputError(
    'network must be a dm_jax.Network or a Linen module, got'
    f' {describe(network)}: make one by dm_jax.make_network(name, ...)'
  )


def network_from_linen(module: nn.Module, image_shape: ImageShape) -> Network:
  """Makes a `Network` of any Linen module that classifies images.

  Batch norm is known by the module's collection `batch_stats`; its real batches
  are then as large as the smallest class allows, on one device.

  Args:
    module: its call takes images [N, H, W, D], normalised, and, if it likes, by
      keyword one of train, training, is_training, deterministic or
      use_running_average. It gives (features [N, F], logits [N, C]), or logits
      alone: then the features are what its last `nn.Dense` was given.
    image_shape: (H, W, D).

  Raises:
    InputError: the module does not do so, draws random numbers (dropout), or
      has a field that cannot be hashed (a list).

  Example:
    network = dm_jax.network_from_linen(MyResNet(classes=10), (32, 32, 3))
  """
  if not isinstance(module, nn.Module):
    raise InputError(
      f'module must be an instance of a Linen module, got {describe(module)}'
    )
  try:
    hash(module)
  except TypeError:
    raise InputError(
      f'{type(module).__name__} has a field that cannot be hashed, such as a'
      ' list: give it a tuple'
    ) from None
  return _wrap(cast(Any, module), tuple(image_shape))


@functools.lru_cache
def _wrap(module: Any, image_shape: ImageShape) -> Network:
  """Equal modules give the same functions, so that programs are shared."""
  argument = _train_argument(module)

  def init(key) -> Variables:
    images = jnp.zeros((1, *image_shape), jnp.float32)
    return module.init(key, images, **argument(False))

  def apply(variables, images, batch: Batch) -> Outputs:
    last_inputs = []

    def keep(function, args, kwargs, context):
      if isinstance(context.module, (nn.Dense, Linear)):
        last_inputs[:] = [args[0]]
      return function(*args, **kwargs)

    with nn.intercept_methods(keep):
      outputs, updated = module.apply(
        variables,
        images,
        **argument(batch.train),
        mutable=[_STATISTICS] if batch.train else [],
      )
    features, logits = _split(outputs, last_inputs)
    return Outputs(features, (), logits, {**variables, **updated})

  name = type(module).__name__
  with refused_shape(name, image_shape):
    try:
      shapes = jax.eval_shape(init, jax.random.key(0))
      images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
      jax.eval_shape(lambda v, x: apply(v, x, Batch(True)), shapes, images)
    except flax.errors.InvalidRngError as error:
      raise InputError(
        f'{name} draws random numbers, as dropout does: pass one that does not'
      ) from error
  return Network(init, apply, mixes_images=_STATISTICS in shapes)


def _train_argument(module: nn.Module) -> Callable[[bool], dict[str, Any]]:
  """Returns train -> the keyword that tells the module's call of it, if any."""
  known = inspect.signature(type(module).__call__).parameters
  for name, plain in _TRAIN_NAMES.items():
    if name in known:
      return lambda train: {name: train == plain}
  return lambda train: {}


def _split(outputs: Any, last_inputs: list[Array]) -> tuple[Array, Array]:
  """Returns (features [N, F], logits [N, C])."""
  if isinstance(outputs, tuple) and len(outputs) == 2:
    features, logits = outputs
  elif isinstance(outputs, jax.Array) and last_inputs:
    features, logits = last_inputs[0], outputs
  else:
    raise InputError(
      'a Linen module must give (features, logits), or logits of which its last'
      ' nn.Dense is the classifier'
    )
  if logits.ndim != 2:
    raise InputError(f'logits must be [N, C], the module gives {logits.shape}')
  return flatten(features), logits
