"""`ClassData`: a labelled image set, grouped by class, ready for a device."""

import dataclasses

import jax
import numpy as np

from dm_jax.types import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassData:
  """A training set grouped by class.

  Attributes:
    images: uint8 [C, N_max, H, W, D], each class padded with zeros to the
      largest one; NumPy or JAX.
    counts: int32 [C], the images that class c really has: its first ones.
    mean: per-channel mean of the training images in unit range, D values.
    std: per-channel deviation, D values.
    class_names: C names.
  """

  images: Array | np.ndarray
  counts: Array | np.ndarray
  mean: tuple[float, ...] = dataclasses.field(metadata={'static': True})
  std: tuple[float, ...] = dataclasses.field(metadata={'static': True})
  class_names: tuple[str, ...] = dataclasses.field(metadata={'static': True})

  @property
  def classes(self) -> int:
    return self.images.shape[0]

  @property
  def image_shape(self) -> tuple[int, int, int]:
    return self.images.shape[-3:]


@dataclasses.dataclass(frozen=True)
class Dataset:
  """What every source gives: a training set, and a test set left as it is.

  Attributes:
    train: the training images by class.
    test_images: uint8 [N, H, W, D].
    test_labels: int32 [N], indices into `train.class_names`.
  """

  train: ClassData
  test_images: np.ndarray
  test_labels: np.ndarray
