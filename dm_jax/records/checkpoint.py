"""Checkpoints of a run: the full state, whole or not at all, and back."""

from collections.abc import Callable, Iterator
import contextlib
import errno
import hashlib
import io
from pathlib import Path
import re
import shutil
from typing import Any

from absl import logging
import jax
import numpy as np
import orbax.checkpoint as ocp

from dm_jax.errors import InputError, first_line

# What the system may lack for a moment; no sign of damage.
_PASSING = (
  errno.EMFILE,
  errno.ENFILE,
  errno.EACCES,
  errno.EPERM,
  errno.ENOMEM,
  errno.ESTALE,
)
# TensorStore raises no OSError: its text has a status, and the system's number
# in one of two ways.
_PASSING_TEXT = re.compile(
  'PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAVAILABLE'
  rf"|(OS error |os_error_code=')({'|'.join(map(str, _PASSING))})\b"
)


class Checkpoints:
  """The newest states of one run, in one folder.

  Orbax renames a checkpoint into place once it is whole, and keeps the newest.
  Its checksums cover the index of an array but not its values, which a flipped
  bit changes unseen: a digest beside them tells.
  """

  def __init__(self, directory: Path, kept: int, report: Callable[[str], None]):
    """Opens a folder, making it if need be.

    Args:
      directory: of the checkpoints alone.
      kept: how many of the newest stay.
      report: gets one line for each checkpoint that cannot be used.
    """
    self._directory = directory.absolute()
    self._kept = kept
    self._report = report
    self._directory.mkdir(parents=True, exist_ok=True)
    for path in sorted(self._directory.glob('*orbax-checkpoint-tmp*')):
      report(f'a half-written checkpoint was left out: {path}')
      shutil.rmtree(path)
    self._manager = self._open()

  def save(self, step: int, state: Any) -> None:
    """Saves a pytree of arrays as the state after `step`, and waits for it.

    Raises:
      InputError: it cannot be written; the checkpoints before it stay.
    """
    if step in self._manager.all_steps():
      return
    packed = _pack(state)
    items = ocp.args.Composite(
      state=ocp.args.StandardSave({'packed': packed}),
      digest=ocp.args.JsonSave({'sha256': _digest(packed)}),
    )
    try:
      with _quietly():
        self._manager.save(step, args=items)
        self._manager.wait_until_finished()
    except Exception as error:  # Orbax passes on its writers' own kinds.
      raise InputError(
        f'the checkpoint of step {step} cannot be written to'
        f' {self._directory}: {_reason(error)}; the last good one stays: make'
        ' room and start the same command again'
      ) from error

  def restore(self, like: Callable[[], Any]) -> Any | None:
    """Returns the newest state that is whole, or None if there is none.

    Damaged ones are reported and moved aside, out of the way of later ones.

    Args:
      like: makes a state of the same structure.

    Raises:
      InputError: a checkpoint cannot be read now, or is another version's.
    """
    expected = jax.eval_shape(like)
    names, structure = _names(expected), jax.tree.structure(expected)
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        with _quietly():
          arrays = self._restore(step, names)
      except Exception as error:  # Damage surfaces as any kind of error.
        if _passing(error):
          raise InputError(
            f'the checkpoint of step {step} cannot be read now:'
            f' {_reason(error)}; nothing was changed: start again later'
          ) from error
        self._set_aside(step, _reason(error))
        continue
      if arrays.keys() != set(names):
        raise InputError(
          f'the checkpoint of step {step} was written by another version of'
          ' dm_jax: go on with that one, or choose another --workdir'
        )
      return jax.tree.unflatten(structure, [arrays[name] for name in names])
    return None

  def close(self) -> None:
    self._manager.close()

  def _open(self) -> ocp.CheckpointManager:
    # One process writes: Orbax must not wait for others.
    this = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
      primary_host=this, active_processes={this}, barrier_sync_key_prefix='lead'
    )
    options = ocp.CheckpointManagerOptions(
      preservation_policy=ocp.checkpoint_managers.LatestN(self._kept),
      enable_async_checkpointing=False,
      create=False,  # Made above; here Orbax insists.
      multiprocessing_options=alone,
    )
    return ocp.CheckpointManager(
      self._directory, options=options, item_names=('state', 'digest')
    )

  def _restore(self, step: int, names: list[str]) -> dict[str, np.ndarray]:
    """Returns the arrays by name.

    Args:
      step: of the checkpoint.
      names: of the arrays, for checkpoints of versions that kept none.
    """
    items = ocp.args.Composite(
      state=ocp.args.StandardRestore(), digest=ocp.args.JsonRestore()
    )
    restored = self._manager.restore(step, args=items)
    packed = np.asarray(restored['state']['packed'])
    if _digest(packed) != restored['digest']['sha256']:
      raise ValueError('its contents do not match their digest')
    with np.load(io.BytesIO(packed.tobytes()), allow_pickle=False) as file:
      arrays = dict(file)
    numbered = [f'arr_{i}' for i in range(len(names))]
    if list(arrays) == numbered:
      return dict(zip(names, arrays.values(), strict=True))
    return arrays

  def _set_aside(self, step: int, reason: str) -> None:
    self._manager.close()
    source = self._directory / str(step)
    target = self._directory.with_name('damaged_checkpoints') / str(step)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    source.rename(target)
    self._report(
      f'the checkpoint of step {step} is damaged ({reason}); it was moved to'
      f' {target}, the one before it is used if there is one'
    )
    self._manager = self._open()


def _passing(error: BaseException | None) -> bool:
  """Whether an error, or one that it came of, says nothing of a checkpoint."""
  if error is None:
    return False
  return (
    isinstance(error, MemoryError)
    or (isinstance(error, OSError) and error.errno in _PASSING)
    or _PASSING_TEXT.search(str(error)) is not None
    or _passing(error.__cause__ or error.__context__)
  )


def _names(state: Any) -> list[str]:
  """Returns a name for each leaf of a pytree, by where it lies."""
  paths, _ = jax.tree.flatten_with_path(state)
  return [
    jax.tree_util.keystr(path, simple=True, separator='.') or 'state'
    for path, _ in paths
  ]


def _pack(state: Any) -> np.ndarray:
  """Returns all leaves as one array of bytes, an .npz that names them.

  Where one of several arrays cannot be written, or is damaged, Orbax leaves the
  others to threads of its own, and each prints a traceback; of one array there
  is one error.
  """
  leaves = map(np.asarray, jax.tree.leaves(state))
  arrays: dict[str, Any] = dict(zip(_names(state), leaves, strict=True))
  file = io.BytesIO()
  np.savez(file, **arrays)
  return np.frombuffer(file.getvalue(), np.uint8)


def _digest(packed: np.ndarray) -> str:
  return hashlib.sha256(packed.tobytes()).hexdigest()


def _reason(error: Exception) -> str:
  """Returns an error's first line; of a long one the end, with the cause."""
  # In brackets: where in the writers' own code it happened.
  line = first_line(error).split(' [')[0]
  return line if len(line) <= 200 else f'… {line[-200:]}'


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
  """Keeps Orbax's own tracebacks off the terminal: its error says it all."""
  before = logging.get_verbosity()
  logging.set_verbosity(logging.FATAL)
  try:
    yield
  finally:
    logging.set_verbosity(before)
