"""What a run measures on its way: metrics.jsonl and TensorBoard's event files.

metrics.jsonl holds one JSON object per line, `{"step": 100, "loss": 4.2, …}`.
JSON has no NaN and no infinity, and a reader that is strict about it would
refuse the whole file, so a value that is not finite is written as null.
"""

import json
import math
import os
from pathlib import Path
from typing import Any, Self, SupportsFloat, SupportsInt

import numpy as np

from dm_jax.errors import InputError
from dm_jax.files import write_atomically

FILE_NAME = 'metrics.jsonl'
TENSORBOARD_FLUSH_SECONDS = 10


class MetricsWriter:
  """Appends a run's metrics to its workdir, line by line.

  Every line is handed to the operating system at once: a killed process loses
  at most the line it was writing, and the next writer removes what is left of
  it. Event files are written beside it if tensorboardX is installed.

  Example:
    with MetricsWriter('/tmp/run') as metrics:
      metrics.write(100, loss=4.2, images_per_second=51_200.0)

  Attributes:
    path: the metrics.jsonl written to.
  """

  def __init__(
    self, workdir: str | os.PathLike[str], resume_step: int | None = None
  ):
    """Opens the files, making the workdir if it is missing.

    Args:
      workdir: the run's folder.
      resume_step: the step that the run goes on from, at least 0: lines of
        later steps are dropped, so that the file of a resumed run reads like
        that of a straight one. None keeps every line.

    Raises:
      InputError: if a line that is already there, other than an unfinished
        last one, is not a JSON object with a step.
    """
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    self.path = workdir / FILE_NAME
    _repair(self.path, resume_step)
    self._tensorboard = _open_tensorboard(workdir / 'tensorboard', resume_step)
    self._file = self.path.open('a', encoding='utf-8')

  def write(self, step: SupportsInt, **values: SupportsFloat) -> None:
    """Appends one line.

    Args:
      step: steps done, at least 0.
      **values: scalars by name; numbers, NumPy or JAX scalars. One that is not
        finite becomes null.
    """
    numbers = {name: _number(value) for name, value in values.items()}
    line = json.dumps({'step': int(step), **numbers}, allow_nan=False)
    # One call, so that a line is either in the file or (almost surely) not.
    self._file.write(line + '\n')
    self._file.flush()
    if self._tensorboard is not None:
      for name, value in values.items():
        self._tensorboard.add_scalar(name, float(value), int(step))

  def write_image(self, name: str, step: SupportsInt, array: Any) -> None:
    """Shows a picture in TensorBoard; does nothing without tensorboardX.

    Args:
      name: of the series of pictures.
      step: steps done.
      array: uint8 [H, W, D], D 1 or 3, or a PIL image.
    """
    if self._tensorboard is not None:
      self._tensorboard.add_image(
        name, np.asarray(array), int(step), dataformats='HWC'
      )

  def close(self) -> None:
    """Closes the files; closing twice is fine."""
    self._file.close()
    if self._tensorboard is not None:
      self._tensorboard.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused) -> None:
    self.close()


def read_metrics(workdir: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """Reads metrics.jsonl, also while a run is writing it.

  Args:
    workdir: the run's folder.

  Returns:
    A dict per line, each with a `step`; None stands for a value that was not
    finite. An unfinished last line is left out; no file gives no dicts.

  Raises:
    InputError: if any other line is not a JSON object with a step.
  """
  return [row for _, row in _read(Path(workdir) / FILE_NAME)]


def _number(value: SupportsFloat) -> int | float | None:
  """Returns `value` as JSON can hold it."""
  if isinstance(value, int):
    return value
  number = float(value)
  return number if math.isfinite(number) else None


def _read(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
  """Returns the finished lines, raw and parsed."""
  if not path.exists():
    return []
  *lines, tail = path.read_bytes().split(b'\n')
  rows = []
  for number, line in enumerate(lines, start=1):
    row = _parse(line)
    if row is None:
      raise InputError(
        f'{path}, line {number}, is not a JSON object with a step: '
        f'{line[:60]!r}; delete that line'
      )
    rows.append((line, row))
  # An object that parses is whole; only its line break was lost.
  row = _parse(tail)
  return rows if row is None else [*rows, (tail, row)]


def _parse(line: bytes) -> dict[str, Any] | None:
  """Returns the object in `line`, or None if it holds none with a step."""
  try:
    row = json.loads(line)
  except ValueError:
    return None
  whole = isinstance(row, dict) and isinstance(row.get('step'), int)
  return row if whole else None


def _repair(path: Path, resume_step: int | None) -> None:
  """Drops an unfinished last line and the lines after `resume_step`."""
  if not path.exists():
    return
  kept = b''.join(
    line + b'\n'
    for line, row in _read(path)
    if resume_step is None or row['step'] <= resume_step
  )
  if kept == path.read_bytes():
    return
  write_atomically(path, lambda file: file.write(kept))


def _open_tensorboard(folder: Path, resume_step: int | None) -> Any:
  """Returns a tensorboardX writer, or None where that is not installed."""
  try:
    from tensorboardX import SummaryWriter
  except ImportError:
    return None
  folder.mkdir(exist_ok=True)
  return SummaryWriter(
    str(folder),
    # Event files cannot be cut; this hides the steps that will be done again.
    purge_step=None if resume_step is None else resume_step + 1,
    flush_secs=TENSORBOARD_FLUSH_SECONDS,
    # Names are unique to a second only: a quick restart would overwrite.
    filename_suffix=f'.{len(list(folder.iterdir()))}',
  )
