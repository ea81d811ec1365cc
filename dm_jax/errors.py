"""Errors that a person reads, each on one line."""

import ast
from collections.abc import Iterable
import difflib
from typing import Any


class InputError(ValueError):
  """A value that a person gave cannot be used; the message names the remedy.

  Attributes:
    setting: dotted name of the config field it was given in, or None.
  """

  def __init__(self, message: str, *, setting: str | None = None):
    super().__init__(message)
    self.setting = setting


def choose(
  what: str, value: Any, known: Iterable[str], *, setting: str | None = None
) -> None:
  """Raises InputError, naming near ones, if `value` is not in `known`."""
  known = tuple(known)
  if value in known:
    return
  near = difflib.get_close_matches(str(value), known, n=3)
  hint = f'did you mean {" or ".join(near)}? ' if near else ''
  raise InputError(
    f'unknown {what} {value!r}: {hint}known are {", ".join(known)}',
    setting=setting,
  )


def check_text(what: str, text: str) -> None:
  """Raises InputError for text that cannot be written as UTF-8.

  A name of a file or folder that is not UTF-8 reaches Python so, and it would
  first be met where results are written.

  Args:
    what: how the message calls it.
    text: any.
  """
  try:
    text.encode()
  except UnicodeEncodeError:
    raise InputError(f'{what} {text!r} is not UTF-8: rename it') from None


class Diverged(FloatingPointError):
  """The loss or the synthetic images stopped being finite.

  Attributes:
    step: the first step with a loss that is not finite.
    state: the last `CondenseState` that was finite throughout.
  """

  def __init__(self, message: str, step: int, state: Any):
    super().__init__(message)
    self.step = step
    self.state = state


def one_line(error: Exception) -> str:
  """Returns the error's own text on one line.

  ml_collections quotes some messages, and puts a config file's traceback before
  others.
  """
  text = str(error)
  if isinstance(error, (AttributeError, KeyError)) and text[:1] in '\'"':
    text = f'unknown config field {ast.literal_eval(text)}'
  lines = text.strip().splitlines() or [type(error).__name__]
  line = '; '.join(map(str.strip, lines if len(lines) < 3 else lines[-1:]))
  return line.split('InputError: ')[-1]


def first_line(error: BaseException) -> str:
  """Returns an error's first line, or its type where it has no message."""
  lines = str(error).strip().splitlines()
  return lines[0] if lines else type(error).__name__
