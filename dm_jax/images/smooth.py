"""Low-pass filters pixel gradients.

Only their coarse components agree between random networks.
"""

import functools
from typing import cast

import jax.numpy as jnp
import numpy as np
import optax
from scipy import fft

from dm_jax.types import Array


def smooth(images: Array, deviation: float) -> Array:
  """Smooths images with a Gaussian; beyond the borders they are mirrored.

  It scales the images' cosine transform, so constant images stay as they are,
  and as a step's direction the result still leads downhill.

  Args:
    images: float [..., H, W, D].
    deviation: of the Gaussian, in pixels; 0 returns the images.

  Returns:
    float [..., H, W, D].
  """
  if deviation == 0:
    return images
  rows, columns = (_matrix(side, deviation) for side in images.shape[-3:-1])
  # A TPU would multiply in bfloat16 otherwise.
  return jnp.einsum(
    'ih,...hwd,jw->...ijd', rows, images, columns, precision='highest'
  )


def smoothing(deviation: float) -> optax.GradientTransformation:
  """Returns a transformation that smooths gradients of images, without state.

  Args:
    deviation: see `smooth`.
  """
  return optax.stateless_with_tree_map(
    lambda gradient, _: smooth(cast(Array, gradient), deviation)
  )


@functools.lru_cache
def _matrix(side: int, deviation: float) -> np.ndarray:
  """The Gaussian along one axis: float32 [side, side], symmetric."""
  cosines = fft.dct(np.eye(side), axis=0, norm='ortho')
  angles = np.pi * np.arange(side) / side  # Per pixel.
  passed = np.exp(-((deviation * angles) ** 2) / 2)
  return (cosines.T @ (passed[:, None] * cosines)).astype(np.float32)
