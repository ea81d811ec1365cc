"""Checkpoints of a run: the full state, whole or not at all, and back."""

from collections.abc import Callable
import hashlib
from pathlib import Path
import shutil
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from dm_jax.types import InputError


class Checkpoints:
  """The newest states of one run, in one folder.

  Orbax renames a checkpoint into place once it is whole. A digest beside the
  arrays tells a damaged one, which Orbax alone would restore as it is.
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
    arrays = _to_arrays(state)
    items = ocp.args.Composite(
      state=ocp.args.StandardSave(arrays),
      digest=ocp.args.JsonSave({'sha256': _digest(arrays)}),
    )
    try:
      self._manager.save(step, args=items)
      self._manager.wait_until_finished()
    except Exception as error:  # Orbax passes on its writers' own kinds.
      line = (str(error).strip().splitlines() or [type(error).__name__])[0]
      raise InputError(
        f'the checkpoint of step {step} cannot be written to'
        f' {self._directory}: {line[:200]}; the last good one stays: make room'
        ' and start the same command again'
      ) from error

  def restore(self, like: Callable[[], Any]) -> Any | None:
    """Returns the newest state that is whole, or None if there is none.

    Damaged ones are reported and moved aside, out of the way of later ones.

    Args:
      like: makes a state of the same structure, shapes and types.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    template = jax.eval_shape(like) if steps else None
    for step in steps:
      try:
        return self._restore(step, template)
      except Exception as error:  # Damage surfaces as any kind of error.
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        self._set_aside(step, line[:200])
    return None

  def close(self) -> None:
    self._manager.close()

  def _open(self) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
      max_to_keep=self._kept, enable_async_checkpointing=False
    )
    return ocp.CheckpointManager(
      self._directory, options=options, item_names=('state', 'digest')
    )

  def _restore(self, step: int, template: Any) -> Any:
    # NumPy templates: the arrays come to the host, wherever they were saved.
    abstract = {
      name: np.empty(leaf.shape, leaf.dtype)
      for name, leaf in _name_leaves(template).items()
    }
    items = ocp.args.Composite(
      state=ocp.args.StandardRestore(abstract), digest=ocp.args.JsonRestore()
    )
    restored = self._manager.restore(step, args=items)
    arrays = {k: np.asarray(v) for k, v in restored['state'].items()}
    if _digest(arrays) != restored['digest']['sha256']:
      raise ValueError('its contents do not match their digest')
    leaves = [arrays[name] for name in sorted(arrays)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)

  def _set_aside(self, step: int, reason: str) -> None:
    self._manager.close()
    source = self._directory / str(step)
    target = self._directory.with_name('damaged_checkpoints') / str(step)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    source.rename(target)
    self._report(
      f'the checkpoint of step {step} is damaged ({reason}); it was moved to'
      f' {target}, the one before it is used'
    )
    self._manager = self._open()


def _name_leaves(tree: Any) -> dict[str, Any]:
  # Plain names: Orbax then needs to know none of our or optax's classes.
  return {f'leaf_{i:04d}': x for i, x in enumerate(jax.tree.leaves(tree))}


def _to_arrays(state: Any) -> dict[str, np.ndarray]:
  return {k: np.asarray(v) for k, v in _name_leaves(state).items()}


def _digest(arrays: dict[str, np.ndarray]) -> str:
  digest = hashlib.sha256()
  for name in sorted(arrays):
    array = np.ascontiguousarray(arrays[name])
    digest.update(f'{name} {array.dtype} {array.shape}'.encode())
    digest.update(array.data)
  return digest.hexdigest()
