"""Several processes of one run: how they start, and their collectives.

The only module that knows of JAX's multi-process runtime. A collective is a
call that every process must make, in the same order; where a process is alone,
it returns at once.
"""

from collections.abc import Callable, Iterator
import contextlib
import math
import os
import pickle
import socket
import sys
import time
import traceback
from typing import Any

import jax
from jax.experimental.multihost_utils import (
  broadcast_one_to_all,
  process_allgather,
)
import numpy as np

from dm_jax.errors import InputError, one_line
from dm_jax.run.interrupts import Interrupted

PATIENCE = 45.0  # Seconds to wait for a coordinator that does not answer.
_HEARTBEAT = 30  # Seconds without a heartbeat after which a host is lost.
_LAST_WORDS = 2.0  # Seconds in which other processes may say what they know.
_LEAST = 1024  # Bytes of a message, padded.

# What JAX finds out by itself on TPU pods, under Slurm and Open MPI.
_REMEDY = (
  'give --coordinator=HOST:PORT, --processes=N and --process=I, or start it on'
  ' a TPU pod, by Slurm (srun) or Open MPI (mpirun), where JAX finds them'
)


def start(
  coordinator: str = '',
  processes: int = 0,
  process: int = -1,
  *,
  patience: float = PATIENCE,
) -> None:
  """Joins this process to the others of its run.

  Must come before anything else asks JAX for its devices.

  Args:
    coordinator: HOST:PORT of process 0; '' lets JAX find all three.
    processes: how many there are.
    process: number of this one, from 0.
    patience: seconds to wait for the coordinator.

  Raises:
    InputError: the three are not given together, or no coordinator answers.
  """
  given = (bool(coordinator), processes > 0, process >= 0)
  if any(given) and not all(given):
    raise InputError(
      f'--coordinator={coordinator!r}, --processes={processes} and'
      f' --process={process} go together: {_REMEDY}'
    )
  if coordinator and process >= processes:
    raise InputError(
      f'--process={process} must be below --processes={processes}'
    )
  if coordinator and process:
    await_coordinator(coordinator, patience)
  try:
    jax.distributed.initialize(
      coordinator or None,
      processes or None,
      process if coordinator else None,
      heartbeat_timeout_seconds=_HEARTBEAT,
    )
  except (ValueError, RuntimeError) as error:
    raise InputError(
      f'the processes do not find each other ({error}): {_REMEDY}'
    ) from error


def await_coordinator(
  address: str, patience: float = PATIENCE, pause: float = 0.5
) -> None:
  """Waits until the coordinator listens; JAX would abort without a word.

  Args:
    address: HOST:PORT.
    patience: seconds to wait.
    pause: seconds between two attempts.

  Raises:
    InputError: another address, or nobody listens there in time.
  """
  host, _, port = address.rpartition(':')
  if not (host and port.isdigit()):
    raise InputError(f'--coordinator must be HOST:PORT, got {address!r}')
  until = time.monotonic() + patience
  while True:
    try:
      socket.create_connection((host.strip('[]'), int(port)), timeout=5).close()
      return
    except OSError as error:
      if time.monotonic() > until:
        raise InputError(
          f'no coordinator answers at {address} ({error}): start process 0'
          ' there first, and see that this host can reach it'
        ) from error
    time.sleep(pause)


def count() -> int:
  return jax.process_count()


def index() -> int:
  return jax.process_index()


def is_lead() -> bool:
  """Whether this process is the one that writes."""
  return index() == 0


def share(items: int, number: int | None = None) -> tuple[int, int]:
  """Returns the half-open range of items of a process, this one by default.

  The shares of two processes differ by at most one.
  """
  number, processes = index() if number is None else number, count()
  return items * number // processes, items * (number + 1) // processes


def shares(items: int) -> tuple[int, ...]:
  """Returns how many items each process has; empty for a lone process."""
  numbers = range(count()) if count() > 1 else ()
  ranges = [share(items, number) for number in numbers]
  return tuple(high - low for low, high in ranges)


class PeerLost(Exception):
  """Another process of the run cannot be reached any more."""


def gather(value: Any) -> list[Any]:
  """Gathers the value of each process, in their order. A collective.

  Args:
    value: anything that can be pickled.

  Raises:
    PeerLost: another process has ended.
  """
  if count() == 1:
    return [value]
  packed = _packed(value)
  sizes = _exchange(process_allgather, np.array([len(packed)], np.uint32))
  rows = _exchange(process_allgather, _padded(packed, int(sizes.max())))
  return [
    pickle.loads(row[:size].tobytes())
    for row, size in zip(rows, sizes[:, 0], strict=True)
  ]


def broadcast(value: Any) -> Any:
  """Broadcasts process 0's value. A collective; others' values are ignored."""
  if count() == 1:
    return value
  packed = _packed(value if is_lead() else None)
  size = _exchange(broadcast_one_to_all, np.array([len(packed)], np.uint32))[0]
  row = _padded(packed[:size], int(size))
  return pickle.loads(_exchange(broadcast_one_to_all, row)[:size].tobytes())


def total(sums: np.ndarray) -> np.ndarray:
  """Adds integers over all processes. A collective.

  Raises:
    InputError: they give arrays of different shapes.
  """
  parts = gather(np.asarray(sums))
  shapes = {part.shape for part in parts}
  if len(shapes) > 1:
    told = ' and '.join(map(str, sorted(shapes)))
    raise InputError(
      f'the processes read data of different classes or shapes ({told}): give'
      ' all the same'
    )
  return np.sum(parts, axis=0)


class Fate:
  """Whether all processes know that the run is over."""

  settled: bool = False

  def settle(self) -> None:
    self.settled = True


@contextlib.contextmanager
def shared_fate() -> Iterator[Fate]:
  """Lets no process wait for one that an error ended.

  Unless all know of it, the process ends at once: an ordinary exit would wait
  for the others, who wait for it. They notice that it is gone within seconds.
  """
  fate = Fate()
  try:
    yield fate
  except BaseException as error:
    if count() == 1 or fate.settled:
      raise
    if isinstance(error, InputError | PeerLost | Interrupted | OSError):
      print(f'error: {one_line(error)}', file=sys.stderr, flush=True)
    else:
      traceback.print_exc()
    sys.stdout.flush()
    if is_lead():
      # When the coordinator ends, JAX ends the others: let them report first.
      time.sleep(_LAST_WORDS)
    os._exit(128 + getattr(error, 'signal', -127))


def _packed(value: Any) -> np.ndarray:
  return np.frombuffer(pickle.dumps(value), np.uint8)


def _padded(packed: np.ndarray, size: int) -> np.ndarray:
  """Pads to one of few lengths: each compiles a collective of its own."""
  step = max(_LEAST, 1 << max(size.bit_length() - 4, 0))
  row = np.zeros(math.ceil(size / step) * step, np.uint8)
  row[: len(packed)] = packed
  return row


def _exchange(collective: Callable, row: np.ndarray) -> np.ndarray:
  try:
    return np.asarray(collective(row))
  except RuntimeError as error:  # JaxRuntimeError and its older names.
    raise PeerLost(
      'another process of this run has ended: see what it printed; the same'
      ' command goes on from the last checkpoint'
    ) from error
