"""SIGTERM and Ctrl-C as a request that a run meets at its next safe point."""

from collections.abc import Iterator
import contextlib
import signal
import sys

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
  """A run stopped because a signal asked it to.

  Attributes:
    signal: its number.
  """

  def __init__(self, message: str, number: int):
    super().__init__(message)
    self.signal = number


class Request:
  """Whether a signal has come; `number` is 0 until then."""

  number: int = 0

  def meet(self, doing: str) -> None:
    """Raises Interrupted if a signal has come.

    Args:
      doing: what the run stops in, e.g. 'training the pool'.
    """
    if self.number:
      message = f'stopped ({doing}); the same command goes on'
      raise Interrupted(message, self.number)


class _Heard:
  """Acts on Ctrl-C as Python does, and remembers it in `number`.

  A KeyboardInterrupt that comes in a callback of the interpreter's, such as
  those of the garbage collector and of the lock of imports, goes no further.
  """

  number: int = 0

  def __call__(self, number: int, _) -> None:
    self.number = number
    raise KeyboardInterrupt


def hear() -> None:
  """Lets a Ctrl-C that goes lost before a run stop it as it begins."""
  signal.signal(signal.SIGINT, _Heard())


@contextlib.contextmanager
def deferred() -> Iterator[Request]:
  """Turns the first signal into a `Request`; a second one acts as ever.

  One that came before, see `hear`, is a request from the beginning.
  """
  request = Request()
  # None stands for a handler that was not installed from Python.
  previous = {n: signal.getsignal(n) or signal.SIG_DFL for n in _SIGNALS}
  for handler in previous.values():
    if isinstance(handler, _Heard):
      request.number = handler.number

  def restore():
    for number, handler in previous.items():
      signal.signal(number, handler)

  def handle(number, frame):
    request.number = number
    restore()
    print(
      'stopping where the run can go on; once more stops at once',
      file=sys.stderr,
    )

  for number in _SIGNALS:
    signal.signal(number, handle)
  try:
    yield request
  finally:
    restore()
