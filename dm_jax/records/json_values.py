"""Frozen dataclasses to JSON and back, by the types of their fields."""

from collections.abc import Mapping, Sequence
import dataclasses
import types
import typing
from typing import Any


def decode(kind: Any, value: Any) -> Any:
  """Returns a JSON value as the type that a field declares.

  Args:
    kind: a dataclass, whose missing and null fields take their defaults; a
      `tuple[X, ...]`, `Mapping[str, X]` or `X | None` of what may stand here;
      or a plain type, which is not checked.
    value: as JSON holds it.

  Raises:
    TypeError, AttributeError: it is of another kind, or lacks a field.
  """
  origin, arguments = typing.get_origin(kind), typing.get_args(kind)
  if origin is types.UnionType:
    return None if value is None else decode(arguments[0], value)
  if dataclasses.is_dataclass(kind):
    known = {
      name: decode(inner, value[name])
      for name, inner in typing.get_type_hints(kind).items()
      if value.get(name) is not None
    }
    return kind(**known)  # pyrefly: ignore
  if origin is tuple:
    return tuple(decode(arguments[0], item) for item in value)
  if origin is Mapping:
    return {name: decode(arguments[1], v) for name, v in value.items()}
  return value


def encode(value: Any) -> Any:
  """Returns a value as JSON holds it: dicts, lists, and plain values."""
  if dataclasses.is_dataclass(value):
    return {
      field.name: encode(getattr(value, field.name))
      for field in dataclasses.fields(value)
    }
  if isinstance(value, Mapping):
    return {name: encode(item) for name, item in value.items()}
  if isinstance(value, Sequence) and not isinstance(value, str):
    return [encode(item) for item in value]
  return value
