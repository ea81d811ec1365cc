"""How long this process has compiled so far."""

import functools

from jax import monitoring

# Lowering and XLA itself. Tracing is left out: its events contain each other.
_EVENTS = (
  '/jax/core/compile/jaxpr_to_mlir_module_duration',
  '/jax/core/compile/backend_compile_duration',
)


class _Clock:
  seconds: float = 0.0

  def listen(
    self, event: str, duration_secs: float, **unused: str | int
  ) -> None:
    if event in _EVENTS:
      self.seconds += duration_secs


@functools.cache
def _clock() -> _Clock:
  clock = _Clock()
  monitoring.register_event_duration_secs_listener(clock.listen)
  return clock


def compile_seconds() -> float:
  """Returns the seconds of compiling since this was first called."""
  return _clock().seconds
