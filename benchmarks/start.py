"""How a script with flags begins, and ends in one line where it must."""

from collections.abc import Callable

from absl import app, flags, logging

from dm_jax.errors import Diverged, InputError
from dm_jax.run.command import exit_in_one_line, find_config


def start(main: Callable[[list[str]], None]) -> None:
  """Parses the flags and calls `main` with what is left of the line."""

  def in_one_line(argv: list[str]) -> None:
    with exit_in_one_line(InputError, OSError, Diverged):
      main(argv)

  flags.FLAGS.verbosity = logging.WARNING  # Orbax tells of every file.
  app.run(in_one_line, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
  # A config file is a program: any kind of error may come.
  with exit_in_one_line(Exception):
    return flags.FLAGS(find_config(argv))
