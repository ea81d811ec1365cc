"""How a script with flags begins, and ends in one line where it must."""

from collections.abc import Callable

from absl import app, flags, logging

from dm_jax.errors import Diverged, InputError
from dm_jax.run.command import exit_in_one_line, find_config
from dm_jax.run.interrupts import hear


def start(main: Callable[[list[str]], None]) -> None:
  """Parses the flags and calls `main` with what is left of the line."""

  def in_one_line(argv: list[str]) -> None:
    with exit_in_one_line(InputError, OSError, Diverged):
      main(argv)

  hear()
  flags.FLAGS.verbosity = logging.WARNING  # Orbax tells of every file.
  app.run(in_one_line, flags_parser=_parse)


def whole_numbers(flag: flags.FlagHolder, count: int = 0) -> tuple[int, ...]:
  """Returns the values of a list flag.

  Args:
    flag: of `DEFINE_list`.
    count: how many there must be; 0 is any number.

  Raises:
    InputError: one is no whole number from 1 up, or there are more or fewer.
  """
  values = flag.value or []
  wanted = len(values) == count or not count
  if not (wanted and all(v.isdecimal() and int(v) for v in values)):
    of = f'{count} ' if count else ''
    raise InputError(
      f'--{flag.name} must be {of}whole numbers from 1 up, joined by commas,'
      f' got {",".join(values)!r}'
    )
  return tuple(map(int, values))


def _parse(argv: list[str]) -> list[str]:
  # A config file is a program: any kind of error may come.
  with exit_in_one_line(Exception):
    return flags.FLAGS(find_config(argv))
