"""An error as one line for a person."""

import ast


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
