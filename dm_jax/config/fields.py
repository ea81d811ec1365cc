"""Declares settings at their fields: type, default, range, what they change."""

from collections.abc import Mapping
import dataclasses
import functools
import os
import types
import typing
from typing import Any, ClassVar

import numpy as np

from dm_jax.errors import InputError, choose
from dm_jax.files import full_path
from dm_jax.types import Json
from dm_jax.words import short_repr


@dataclasses.dataclass(frozen=True)
class Rule:
  """What is declared of a setting. None passes where the type allows it.

  Attributes:
    at_least: the least value.
    below: with `at_least`, the least value that is too large.
    at_most: with `at_least`, the largest value.
    above: the largest value that is too small; the value must be finite.
    choices: the only values.
    changes_result: False where it decides on speed, memory, places or output
      alone, so that a run may resume with another value. Results may then
      differ by the rounding of another order of summation.
    is_path: whether it names a file or folder; it is kept as `full_path`.
  """

  at_least: float | None = None
  below: float | None = None
  at_most: float | None = None
  above: float | None = None
  choices: tuple[str, ...] = ()
  changes_result: bool = True
  is_path: bool = False

  def check(self, name: str, value: Any) -> None:
    """Raises InputError for a value out of range. NaN is in none."""
    if self.choices:
      choose(name, value, self.choices, setting=name)
    low, high, above = self.at_least, self.below, self.above
    if low is not None and high is not None:
      expected, good = f'in [{low}, {high})', low <= value < high
    elif low is not None and self.at_most is not None:
      most = self.at_most
      expected, good = f'in [{low}, {most}]', low <= value <= most
    elif low is not None:
      expected, good = f'at least {low}', value >= low
    elif above is not None:
      expected = f'above {above} and finite'
      good = above < value < float('inf')
    else:
      return
    if not good:
      raise InputError(f'{name} must be {expected}, got {value}', setting=name)


def setting(default: Any, **rule: Any) -> Any:
  """Returns a field of a `Section` with a default and what `Rule` declares."""
  return dataclasses.field(default=default, metadata={'rule': Rule(**rule)})


class Section:
  """Base of a frozen dataclass of settings: checks types and ranges.

  Attributes:
    prefix: of its fields' names in messages, e.g. 'data.'.
  """

  prefix: ClassVar[str] = ''

  def __init_subclass__(cls, prefix: str = ''):
    cls.prefix = prefix

  def __post_init__(self):
    for field, hint in _fields(type(self)).items():
      if dataclasses.is_dataclass(hint):
        continue
      name = self.prefix + field.name
      value, rule = getattr(self, field.name), _rule(field)
      if rule.is_path and isinstance(value, str | os.PathLike):
        value = str(full_path(value, name, setting=name))
      value = _typed(name, value, hint)
      object.__setattr__(self, field.name, value)
      if value is not None:
        rule.check(name, value)


def build(cls: Any, values: Json) -> Any:
  """Builds a section from nested dicts; missing fields are defaults.

  Args:
    cls: its class; fields may be sections themselves.
    values: by field.

  Raises:
    InputError: an unknown field (naming near ones) or a wrong value.
  """
  if not isinstance(values, Mapping):
    where = cls.prefix.rstrip('.')
    raise InputError(
      f'{where or "the config"} must be a dict of its fields, got {values!r}',
      setting=where or None,
    )
  hints = {field.name: hint for field, hint in _fields(cls).items()}
  known = [cls.prefix + name for name in hints]
  given = {}
  for name, value in values.items():
    full = f'{cls.prefix}{name}'
    choose('config field', full, known, setting=full)
    nested = dataclasses.is_dataclass(hints[name])
    given[name] = build(hints[name], value) if nested else value
  return cls(**given)


def binding(section: Any) -> dict[str, Any]:
  """Returns the settings that can change a result, as nested dicts."""
  return {
    field.name: binding(value) if dataclasses.is_dataclass(value) else value
    for field in _fields(type(section))
    if _rule(field).changes_result
    for value in [getattr(section, field.name)]
  }


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


@functools.cache
def _fields(cls: type) -> dict[dataclasses.Field, Any]:
  """The types of a section's fields, by field."""
  hints = typing.get_type_hints(cls)
  return {field: hints[field.name] for field in dataclasses.fields(cls)}


def _rule(field: dataclasses.Field) -> Rule:
  return field.metadata.get('rule', Rule())


def _typed(name: str, value: Any, hint) -> Any:
  """Returns `value` if it is of the type `hint`; ints are floats, too.

  A list is a tuple, since JSON knows no tuples; NumPy's numbers are Python's.
  """
  value = value.item() if isinstance(value, np.generic) else value
  union = isinstance(hint, types.UnionType)
  allowed = typing.get_args(hint) if union else (hint,)
  if float in allowed and type(value) is int:
    return float(value)
  if tuple in allowed and type(value) is list:
    return tuple(value)
  if type(value) not in allowed:
    shown = short_repr(value) if hasattr(value, 'shape') else repr(value)
    expected = ' or '.join(t.__name__ for t in allowed)
    raise InputError(
      f'{name} must be of type {expected}, got {shown}', setting=name
    )
  return value
