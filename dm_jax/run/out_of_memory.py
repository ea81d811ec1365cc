"""One line of remedies where the memory of a device runs out."""

from collections.abc import Iterator
import contextlib

import jax

from dm_jax.errors import InputError, first_line
from dm_jax.run.job import JUDGING

# None of them changes a result, so that a workdir takes them at any time.
_CONDENSING = (
  'where it condenses, --config.condense.classes_at_once=1 with'
  ' --config.data.placement=host, --config.condense.micro_batch=8 or'
  ' --config.condense.rematerialise=True'
)
_EVALUATING = 'where it evaluates, --config.evaluate.networks_at_once=1'
# A network with batch norm passes its classes whole, and many images of a set
# are trained on by one network at a time as it is.
_OTHERWISE = (
  'where none of them helps, a smaller network.width, evaluate.batch_size or,'
  ' for a batch norm, condense.batch_norm_classes, in another --workdir'
)


@contextlib.contextmanager
def told_in_one_line(mode: str) -> Iterator[None]:
  """Makes an InputError of JAX's error where a device has no memory left.

  Args:
    mode: of the run; only what helps in it is named.

  Raises:
    InputError: JAX's first line, and the settings that take less memory.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if not str(error).startswith('RESOURCE_EXHAUSTED'):
      raise
    phases = (_EVALUATING,) if mode in JUDGING else (_CONDENSING, _EVALUATING)
    raise InputError(
      f'a device has no memory left ({first_line(error)}): add'
      f' {", and ".join(phases)}; the same command with them goes on from what'
      f' was saved; {_OTHERWISE}'
    ) from error
