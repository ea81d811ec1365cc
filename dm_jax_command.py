"""What `dm_jax` and `launch.py` start: it loads the package, then the command.

A module of its own, since importing `dm_jax` takes seconds, in which a person
may think better of it.
"""

import signal
import sys


def main() -> None:
  """Runs the command; Ctrl-C is one line, also while the package loads."""
  try:
    from dm_jax.run import launch

    launch.main()
  except KeyboardInterrupt:
    print('stopped; the same command goes on', file=sys.stderr)
    sys.exit(128 + signal.SIGINT)
