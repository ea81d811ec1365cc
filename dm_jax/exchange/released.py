"""`Released`: a labelled image set as a file holds it, whoever wrote it."""

from collections.abc import Sequence
import dataclasses
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from dm_jax.errors import InputError
from dm_jax.images.normalise import denormalise, normalise_unit

NORMALISED, UNIT = 'normalised', 'unit'
SPACES = (NORMALISED, UNIT)
# Unit pixels that were learned without clamping lie a little beyond the ends.
_UNIT_RANGE = (-0.5, 1.5)


_LEARNED = (
  'warning: its labels are learned values, no probabilities: only the class of'
  ' the largest is used, so accuracies may differ from those that its authors'
  ' print'
)
_TILED = (
  'its images are taken as they are: files of this format mostly hold tiles,'
  ' which are read with a factor of e.g. 2'
)
_SEVERAL = ('pt', 'dm')  # Formats of several sets in one file.


def check_experiment(path: Path, layout: str, experiment: int) -> None:
  """Raises InputError where one of several is asked of a file of one set."""
  if experiment and layout not in _SEVERAL:
    raise InputError(
      f'{path} holds one set ({layout}): leave experiment {experiment} out'
    )


class Wanted(NamedTuple):
  """What a reader is told besides the file.

  Attributes:
    experiment: which of several sets in one file.
    class_names: in their order, where it is known; else None.
  """

  experiment: int = 0
  class_names: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Released:
  """Images and their labels; what a file does not say is None.

  Attributes:
    images: float32 [N, H, W, D], in `space`.
    labels: int64 [N], the class of each.
    targets: probabilities of each, float32 [N, C]; None: its class is learned.
    space: normalised, or unit, which is float [0, 1].
    mean: per-channel mean in unit range, D values.
    std: per-channel deviation, D values.
    class_names: C names.
    notes: what a person should know of how it was read, a line each.
    may_be_tiled: whether such files mostly hold several tiles in an image.
  """

  images: np.ndarray
  labels: np.ndarray
  targets: np.ndarray | None = None
  space: str = NORMALISED
  mean: tuple[float, ...] | None = None
  std: tuple[float, ...] | None = None
  class_names: tuple[str, ...] | None = None
  notes: tuple[str, ...] = ()
  may_be_tiled: bool = False

  @classmethod
  def from_arrays(
    cls, images: np.ndarray, labels: np.ndarray, space: str = NORMALISED
  ) -> Self:
    """Takes arrays as files hold them.

    Args:
      images: float [N, H, W, D].
      labels: classes [N], or a column of them, [N, 1]; or one value for each
        class, [N, C]. Probabilities are kept; values that are none, such as
        those that a regression learned, count as the class that has the
        largest.
      space: of `SPACES`.

    Raises:
      InputError: they cannot be images and labels, or not in that space.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or images.dtype.kind != 'f' or not images.size:
      raise InputError(
        f'its images are {images.dtype} {images.shape}, not floats of four axes'
      )
    if labels.shape[:1] != images.shape[:1] or labels.ndim not in (1, 2):
      raise InputError(
        f'its labels have shape {labels.shape}, for {len(images)} images'
      )
    images = np.asarray(images, np.float32)
    low, high = float(images.min()), float(images.max())
    if space == UNIT and not _UNIT_RANGE[0] <= low <= high <= _UNIT_RANGE[1]:
      raise InputError(
        f'its pixels go from {low:.4g} to {high:.4g}, and those of this format'
        ' are in 0 to 1: name another format'
      )
    if labels.shape[1:] == (1,) and not _is_one_class(labels):
      labels = labels[:, 0]
    if labels.ndim == 1:
      return cls(images, _as_classes(labels), None, space)
    classes = labels.argmax(1).astype(np.int64)
    if not _are_probabilities(labels):
      notes = () if _are_one_hot(labels) else (_LEARNED,)
      return cls(images, classes, None, space, notes=notes)
    hard = np.isin(labels, (0, 1)).all()
    return cls(images, classes, None if hard else _as_float(labels), space)

  def told(self, factor: int) -> tuple[str, ...]:
    """Returns what a person should know of how it is read, a line each.

    Args:
      factor: tiles a side, as the caller says.
    """
    whole = self.may_be_tiled and factor == 1
    return (*self.notes, _TILED) if whole else self.notes

  def normalised(
    self, mean: Sequence[float], std: Sequence[float]
  ) -> np.ndarray:
    """Returns the images normalised, float32; those that are stay as they are.

    Args:
      mean: D values.
      std: D values.
    """
    if self.space == NORMALISED:
      return self.images
    return np.asarray(normalise_unit(self.images, mean, std))

  @property
  def pixels(self) -> np.ndarray:
    """The images as uint8, rounded and clipped; they are normalised."""
    assert self.mean is not None
    assert self.std is not None
    return np.asarray(denormalise(self.images, self.mean, self.std))


def _as_classes(labels: np.ndarray) -> np.ndarray:
  if labels.dtype.kind not in 'iu':
    raise InputError(f'its labels are {labels.dtype}, not integers')
  return labels.astype(np.int64)


def _is_one_class(column: np.ndarray) -> bool:
  """Whether a column is the probability of the one class there is."""
  return column.dtype.kind == 'f' and _are_probabilities(column)


def _as_float(values: np.ndarray) -> np.ndarray:
  return np.asarray(values, np.float32)


def _are_probabilities(values: np.ndarray) -> bool:
  sums = values.sum(1)
  return bool((values >= 0).all() and np.allclose(sums, 1, atol=1e-3))


def _are_one_hot(values: np.ndarray) -> bool:
  """Whether each row has one value above all others, which are equal.

  Regressions take one-hot labels, less their mean.
  """
  others = np.sort(values, axis=1)[:, :-1]
  return bool(np.allclose(others, others[:, :1], atol=1e-6))
