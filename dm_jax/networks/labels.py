"""The networks that one evaluation trains, written as one line of text."""

import dataclasses
from typing import Any

from dm_jax.config.sections import NetworkChoice, NetworkConfig, split_names
from dm_jax.errors import InputError, choose
from dm_jax.networks.registry import check_name, names, unused_fields

# The original's evaluation pools.
POOLS = {
  'same': 'same',
  'architectures': 'mlp,convnet,lenet,alexnet,vgg11,resnet18',
  'batch_norm': 'convnet:norm=batch,convnet:norm=batch:activation=swish,'
  'alexnet:norm=batch,vgg11:norm=batch,resnet18:norm=batch',
  'width': 'convnet:width=32,convnet:width=64,convnet:width=128,'
  'convnet:width=256',
  'depth': 'convnet:depth=1,convnet:depth=2,convnet:depth=3,convnet:depth=4',
  'activation': 'convnet:activation=sigmoid,convnet:activation=relu,'
  'convnet:activation=leaky_relu',
  'pooling': 'convnet:pooling=none,convnet:pooling=max,convnet:pooling=avg',
  'norm': 'convnet:norm=none,convnet:norm=batch,convnet:norm=layer,'
  'convnet:norm=instance,convnet:norm=group',
}


def parse_pool(text: str, base: NetworkConfig) -> tuple[NetworkConfig, ...]:
  """Reads a pool.

  Args:
    text: members joined by commas; each is `same`, the name of a pool, or a
      network's name, which changes may follow: `vgg11:norm=batch:width=64`.
    base: what `same` is, and what members take over where they say nothing: a
      network of the same name everything, another width and norm.

  Returns:
    The members in that order, each once.

  Raises:
    InputError: an unknown member or change, or no member.
  """
  members: dict[NetworkConfig, None] = {}
  for name in split_names(text):
    for member in POOLS.get(name, name).split(','):
      members[_parse_member(member, base)] = None
  if not members:
    raise InputError("evaluate.pool has no member: give e.g. 'same'")
  return tuple(members)


def _parse_member(text: str, base: NetworkConfig) -> NetworkConfig:
  name, *changes = text.split(':')
  if name == 'same':
    name = base.name
  elif name not in names():
    choose('member of evaluate.pool', name, (*POOLS, *names()))
  check_name(name)
  values: dict[str, Any] = {'name': name}
  kinds = {f.name: f.type for f in dataclasses.fields(NetworkConfig)}
  for change in changes:
    field, _, value = change.partition('=')
    choose(f'change in {text!r}', field, [k for k in kinds if k != 'name'])
    values[field] = _read(kinds[field], value, change)
  return NetworkChoice(**values).resolve(base)


def _read(kind, value: str, change: str) -> int | str:
  if kind is not int:
    return value
  if not value.isdecimal():
    raise InputError(f'{change!r} in evaluate.pool must be a whole number')
  return int(value)


def label(config: NetworkConfig) -> str:
  """Writes a network as a member of a pool; what is at its default is left out.

  Example:
    >>> label(NetworkConfig(norm='batch', width=32))
    'convnet:width=32:norm=batch'
  """
  default = NetworkConfig(name=config.name)
  unused = unused_fields(config.name)
  changes = [
    f'{name}={value}'
    for name, value in dataclasses.asdict(config).items()
    if value != getattr(default, name) and name not in unused
  ]
  return ':'.join([config.name, *changes])
