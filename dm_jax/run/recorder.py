"""Keeps what a condensing run leaves while it goes on, and can go on from."""

import math
from pathlib import Path
import statistics
import time
from typing import Any, NamedTuple, Self

import numpy as np

from dm_jax.condensing import loop
from dm_jax.data.class_data import ClassData
from dm_jax.images.normalise import denormalise
from dm_jax.matching.state import CondenseState
from dm_jax.records.checkpoint import Checkpoints
from dm_jax.records.metrics import MetricsWriter, read_metrics
from dm_jax.report.grid import draw_grid, save_png
from dm_jax.run.config import RunConfig
from dm_jax.run.interrupts import Interrupted, Request
from dm_jax.run.progress import Progress
from dm_jax.types import Json


class Saved(NamedTuple):
  """What a checkpoint holds.

  Attributes:
    state: of condensing.
    unlogged: float64 [3]: the sum of the losses since the last line of metrics,
      the steps they are of, and the seconds that they took; so that a resumed
      run's lines are those of a straight one.
  """

  state: CondenseState
  unlogged: np.ndarray

  @classmethod
  def anew(cls, state: CondenseState) -> Self:
    return cls(state, np.zeros(3))


class Recorder:
  """Checkpoints, metrics, pictures and the progress bar of one run.

  Enter it, `draw` the first state of a run that starts anew, and pass `record`
  as the callback of condensing.
  """

  def __init__(
    self,
    folder: Path,
    config: RunConfig,
    data: ClassData,
    checkpoints: Checkpoints,
    start: Saved,
    request: Request,
  ):
    """Opens the metrics and the bar.

    Args:
      folder: the workdir.
      config: of the run.
      data: class names and statistics for the pictures.
      checkpoints: of the run.
      start: where the run goes on, or starts.
      request: ends the run at the next `record`, after a checkpoint.
    """
    self._folder = folder
    self._config = config
    self._data = data
    self._checkpoints = checkpoints
    self._request = request
    self._unlogged = start.unlogged.copy()
    self._compile_seconds = 0.0
    self._saved_at = time.monotonic()
    step = int(start.state.step)
    self._metrics = MetricsWriter(folder, resume_step=step)
    self._progress = Progress(
      config.condense.steps, description='condense', initial=step
    )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *error) -> None:
    self._progress.__exit__(*error)
    self._metrics.close()

  def record(self, state: CondenseState, metrics: loop.Metrics) -> None:
    """The callback of condensing.

    Raises:
      Interrupted: a signal asked for it; the state was saved.
    """
    self._unlogged += (
      metrics.losses.sum(dtype=np.float64),
      len(metrics.losses),
      metrics.seconds,
    )
    self._compile_seconds = metrics.compile_seconds
    rate = len(metrics.losses) * self._images_per_step / metrics.seconds
    loss = float(metrics.losses.mean())
    self._progress.update(metrics.step, loss=loss, images_per_second=rate)
    last = metrics.step == self._config.condense.steps
    if last or metrics.step % self._config.condense.log_every == 0:
      self._log(metrics.step)
    if last or metrics.step in self._picture_steps:
      self.draw(state)
    pause = self._config.output.checkpoint_seconds
    due = time.monotonic() - self._saved_at >= pause
    if last or due or self._request.number:
      self.save(state)
    if self._request.number and not last:
      raise Interrupted(
        f'stopped at step {metrics.step}, which was saved; the same command'
        ' goes on from there',
        self._request.number,
      )

  def save(self, state: CondenseState) -> None:
    """Writes a checkpoint."""
    self._checkpoints.save(int(state.step), Saved(state, self._unlogged))
    self._saved_at = time.monotonic()

  def draw(self, state: CondenseState) -> None:
    """Draws the synthetic images as images/step_NNNNNN.png."""
    step = int(state.step)
    images = denormalise(state.images, self._data.mean, self._data.std)
    grid = draw_grid(
      np.asarray(images), self._data.class_names, title=f'step {step:,}'
    )
    folder = self._folder / 'images'
    folder.mkdir(exist_ok=True)
    save_png(grid, folder / f'step_{step:06d}.png')
    self._metrics.write_image('synthetic', step, grid)

  def results(self, before: Json) -> dict[str, Any]:
    """Returns what `results.json` says about condensing.

    Args:
      before: the same of the run so far, if it was resumed.
    """
    rows = read_metrics(self._folder)
    timed = [row for row in rows if row.get('steps')]
    results: dict[str, Any] = {
      'compile_seconds': self._compile_seconds
      or before.get('compile_seconds', 0.0),
    }
    if timed:
      per_step = [row['seconds'] / row['steps'] for row in timed]
      results |= {
        'seconds_per_step': statistics.median(per_step),
        'images_per_second': self._images_per_step
        / statistics.median(per_step),
        'condense_seconds': sum(row['seconds'] for row in timed),
        'final_loss': rows[-1]['loss'],
      }
    return results

  def _log(self, step: int) -> None:
    total, steps, seconds = self._unlogged
    self._metrics.write(
      step,
      loss=total / steps,
      steps=int(steps),
      seconds=seconds,
      images_per_second=steps * self._images_per_step / seconds,
    )
    self._unlogged[:] = 0

  @property
  def _images_per_step(self) -> int:
    """Images embedded in a step, padding of small classes left out."""
    config = self._config.condense
    real = np.minimum(self._data.counts, config.batch_real).sum()
    return int(real) + self._data.classes * config.largest

  @property
  def _picture_steps(self) -> set[int]:
    """Evenly spread, moved on to the next multiple of `log_every`."""
    config, count = self._config.condense, self._config.output.pictures
    spread = (config.steps * (i + 1) / (count + 1) for i in range(count))
    every = config.log_every
    return {math.ceil(step / every) * every for step in spread}
