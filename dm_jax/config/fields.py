"""What every section of settings needs: types, ranges, nested dicts."""

from collections.abc import Mapping
import dataclasses
import types
import typing
from typing import Any

from dm_jax.errors import InputError, choose
from dm_jax.types import Json


def at_least(minimum: float, **values) -> None:
  """Raises InputError, naming it, for a value below the minimum."""
  for name, value in values.items():
    if not value >= minimum:
      raise InputError(f'{name} must be at least {minimum}, got {value}')


def within(low: float, high: float, **values) -> None:
  """Raises InputError, naming it, for a value outside [low, high)."""
  for name, value in values.items():
    if not low <= value < high:
      raise InputError(f'{name} must be in [{low}, {high}), got {value}')


def check_types(config: Any) -> None:
  """Raises InputError for a field of another type; makes ints floats."""
  for name, hint in typing.get_type_hints(type(config)).items():
    if not dataclasses.is_dataclass(hint):
      value = _typed(name, getattr(config, name), hint)
      object.__setattr__(config, name, value)


def build(cls, values: Json, prefix: str):
  """Builds a dataclass from nested dicts; missing fields are defaults.

  Args:
    cls: a frozen dataclass, whose fields may be such themselves.
    values: by field.
    prefix: of the names in messages, e.g. 'data.'.

  Raises:
    InputError: an unknown field (naming near ones) or a wrong type.
  """
  if not isinstance(values, Mapping):
    where = prefix.rstrip('.') or 'the config'
    raise InputError(f'{where} must be a dict of its fields, got {values!r}')
  hints = typing.get_type_hints(cls)
  fields = {}
  for name, value in values.items():
    choose('config field', prefix + name, (prefix + n for n in hints))
    if dataclasses.is_dataclass(hints[name]):
      fields[name] = build(hints[name], value, f'{prefix}{name}.')
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


def _typed(name: str, value: Any, hint) -> Any:
  """Returns `value` if it is of the type `hint`; ints are floats, too.

  A list is a tuple, since JSON knows no tuples.
  """
  union = isinstance(hint, types.UnionType)
  allowed = typing.get_args(hint) if union else (hint,)
  if float in allowed and type(value) is int:
    return float(value)
  if tuple in allowed and type(value) is list:
    return tuple(value)
  if type(value) not in allowed:
    expected = ' or '.join(t.__name__ for t in allowed)
    raise InputError(f'{name} must be of type {expected}, got {value!r}')
  return value
