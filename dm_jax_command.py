"""What `dm_jax` and `launch.py` start: it loads the package, then the command.

A module of its own, since importing `dm_jax` takes seconds, in which a person
may think better of it.
"""

import os
import signal
import sys


def main() -> None:
  """Runs the command; Ctrl-C is one line, also while the package loads."""
  signal.signal(signal.SIGINT, _stop)
  from dm_jax.run import interrupts, launch

  interrupts.hear()
  launch.main()


def _stop(number: int, _) -> None:
  print('stopped before anything was done', file=sys.stderr)
  # No exception: the packages that load would swallow it, or tell of it.
  os._exit(128 + number)
