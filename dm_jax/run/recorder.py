"""Records condensing as it goes: checkpoints, metrics, pictures, progress."""

import math
from pathlib import Path
import statistics
import time
from typing import NamedTuple, Self

import numpy as np
from PIL import Image

from dm_jax.condensing import loop
from dm_jax.condensing.condense import made_from
from dm_jax.data.class_data import ClassData
from dm_jax.images.storage import PLAIN, get_storage
from dm_jax.matching.state import CondenseState
from dm_jax.records.checkpoint import Checkpoints
from dm_jax.records.metrics import MetricsWriter, read_metrics
from dm_jax.records.results import Condensing
from dm_jax.report.grid import draw_grid, is_drawable, save_png
from dm_jax.run.config import RunConfig
from dm_jax.run.interrupts import Request
from dm_jax.run.job import Job
from dm_jax.run.progress import Progress
from dm_jax.synthetic_set import SyntheticSet


class Saved(NamedTuple):
  """What a checkpoint holds.

  Attributes:
    state: of condensing.
    unlogged: float64 [terms + 2]: the sums of the losses since the last line of
      metrics, by term; the steps they are of, and the seconds that they took;
      so that a resumed run's lines are those of a straight one.
  """

  state: CondenseState
  unlogged: np.ndarray

  @classmethod
  def anew(cls, state: CondenseState, terms: int = 1) -> Self:
    """Returns what is saved before anything is done.

    Args:
      state: the first one.
      terms: how many losses have names.
    """
    return cls(state, np.zeros(terms + 2))


class Recorder:
  """Checkpoints, metrics, pictures and the progress bar of one set.

  Enter it, `draw` the first state of a run that starts anew, and pass `record`
  as the callback of condensing.
  """

  def __init__(
    self,
    job: Job,
    number: int,
    checkpoints: Checkpoints,
    start: Saved,
    request: Request,
  ):
    """Opens the metrics and the bar.

    Args:
      job: of the run.
      number: of the set.
      checkpoints: of the set.
      start: where the run goes on, or starts.
      request: ends the run at the next `record`, after a checkpoint.
    """
    self._config, self._data = job.config, job.split.train
    self._folder = job.set_folder(number)
    self._terms = job.plan.algorithm.terms
    self._checkpoints = checkpoints
    self._request = request
    self._images = images_per_step(self._config, self._data)
    self._drawn = picture_steps(self._config)
    self._unlogged = start.unlogged
    self._saved_at = time.monotonic()
    step = int(start.state.step)
    self._metrics = MetricsWriter(self._folder, resume_step=step)
    self._progress = Progress(
      self._config.condense.steps, description='condense', initial=step
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
    step, steps = metrics.step, len(metrics.losses)
    sums = [metrics.terms[name].sum(dtype=np.float64) for name in self._terms]
    self._unlogged = self._unlogged + (*sums, steps, metrics.seconds)
    self._progress.update(
      step,
      loss=float(metrics.losses.mean()),
      images_per_second=steps * self._images / metrics.seconds,
    )
    last = step == self._config.condense.steps
    if last or step % self._config.condense.log_every == 0:
      self._log(step)
    if last or step in self._drawn:
      self.draw(state)
    pause = self._config.output.checkpoint_seconds
    due = time.monotonic() - self._saved_at >= pause
    # Read once: a signal that comes from here on is met after the next save.
    asked = self._request.number
    if last or due or asked:
      self.save(state)
    if asked and not last:
      self._request.meet(f'condensing, step {step} was saved')

  def save(self, state: CondenseState) -> None:
    """Writes a checkpoint."""
    self._checkpoints.save(int(state.step), Saved(state, self._unlogged))
    self._saved_at = time.monotonic()

  def draw(self, state: CondenseState) -> None:
    """Draws the synthetic images as images/step_NNNNNN.png.

    Beside them lie the training images that they hold, if these are others.
    Images that no picture can show are not drawn.
    """
    if not is_drawable(self._data.image_shape):
      return
    step = int(state.step)
    made = made_from(state, self._data, self._config.condense)
    title = f'step {step:,}'
    grid = draw_set(made, title)
    folder = self._folder / 'images'
    folder.mkdir(exist_ok=True)
    save_png(grid, folder / f'step_{step:06d}.png')
    draw_training_images(made, title, folder)
    self._metrics.write_image('synthetic', step, grid)

  def measured(self) -> Condensing:
    """Returns what the lines of metrics say, also those of earlier processes.

    What compiling took is not among them.
    """
    rows = read_metrics(self._folder)
    timed = [row for row in rows if row.get('steps')]
    if not timed:
      return Condensing()
    per_step = statistics.median(row['seconds'] / row['steps'] for row in timed)
    last = rows[-1]
    return Condensing(
      condense_seconds=sum(row['seconds'] for row in timed),
      seconds_per_step=per_step,
      images_per_second=self._images / per_step,
      final_loss=last['loss'],
      final_losses={
        term: last[name] for term, name in loss_names(self._terms).items()
      },
    )

  def _log(self, step: int) -> None:
    *sums, steps, seconds = self._unlogged
    means = [total / steps for total in sums]
    names = loss_names(self._terms).values()
    self._metrics.write(
      step,
      **{'loss': sum(means), **dict(zip(names, means, strict=True))},
      steps=int(steps),
      seconds=seconds,
      images_per_second=steps * self._images / seconds,
    )
    self._unlogged = np.zeros_like(self._unlogged)


def loss_names(terms: tuple[str, ...]) -> dict[str, str]:
  """Returns by term the name of its loss in a line of metrics.

  Args:
    terms: of the loss. A single one is the loss itself.
  """
  if len(terms) == 1:
    return {terms[0]: 'loss'}
  return {term: f'loss_{term}' for term in terms}


def images_per_step(config: RunConfig, data: ClassData) -> int:
  """Returns the images embedded in a step, without small classes' padding."""
  condense = config.condense
  real = np.minimum(data.counts, condense.batch_real).sum()
  storage = get_storage(condense.stored_as)
  taken = storage.trained_on(condense.largest, condense.decoded_at_once)
  # Cached targets are of real images that were embedded before.
  return data.classes * taken + (0 if config.embedder.cached else int(real))


def picture_steps(config: RunConfig) -> set[int]:
  """Returns the steps to draw: even, moved on to a multiple of `log_every`."""
  steps, every = config.condense.steps, config.condense.log_every
  count = config.output.pictures
  spread = (steps * (i + 1) / (count + 1) for i in range(count))
  return {math.ceil(step / every) * every for step in spread}


def draw_training_images(made: SyntheticSet, title: str, folder: Path) -> None:
  """Draws what a set's stored images hold, where that is something else.

  Args:
    made: its classes have equally many images.
    title: of what is stored.
    folder: gets training_images.png, in the place of an earlier one.
  """
  if made.storage != PLAIN.name:
    picture = folder / 'training_images.png'
    save_picture(made.as_plain(), f'training images, {title}', picture)


def save_picture(made: SyntheticSet, title: str, path: Path) -> None:
  """Draws a set into a file, unless no picture can show its images."""
  if is_drawable(made.image_shape):
    save_png(draw_set(made, title), path)


def draw_set(made: SyntheticSet, title: str) -> Image.Image:
  """Draws a set's stored images: of each class as many as the smallest has."""
  made = made.first(int(np.bincount(made.class_of).min()))
  images = made.images_uint8.reshape(made.classes, -1, *made.image_shape)
  return draw_grid(images, made.class_names, title=title)
