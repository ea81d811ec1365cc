"""Distances between the real features of one class and the synthetic ones.

Pure functions; where less than the features of the real images is needed, one
function makes what is kept of them and another compares. Features are float32
and products of matrices are exact: accelerators would round their inputs, and
where both sets nearly agree only rounding would be left.
"""

from typing import NamedTuple

from jax import lax
import jax.numpy as jnp

from dm_jax.types import Array

_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # Of the kernels, in mean distances.


class Real(NamedTuple):
  """The features of a batch of real images of one class.

  Attributes:
    features: [B, F].
    weights: [B], 1 for a real image and 0 for padding.
  """

  features: Array
  weights: Array


def mean_features(real: Real) -> Array:
  """Returns the mean [F] of the real features; padding counts nothing."""
  # No matrix product: accelerators would round its inputs, and only these.
  weighted = real.weights[:, None] * real.features
  return weighted.sum(0) / real.weights.sum()


def mean_difference(mean: Array, synthetic: Array) -> Array:
  """The paper's: ‖mean − mean(synthetic)‖², summed over features.

  Args:
    mean: of the real features [F].
    synthetic: features of the synthetic images [S, F].

  Returns:
    A scalar ≥ 0; 0 where the means agree (Eq. 4 with ψ's mean, one class).
  """
  return jnp.square(mean - synthetic.mean(0)).sum()


class Spread(NamedTuple):
  """What is kept of real features whose covariance Σ is compared.

  Attributes:
    centred: X [B, F] with Σ = XᵀX; rows of padding are 0.
    norm: ‖Σ‖_F², [].
  """

  centred: Array
  norm: Array


def spread(real: Real) -> Spread:
  """Returns the `Spread` of at least 2 real images."""
  centred = real.features - mean_features(real)[None]
  centred *= real.weights[:, None] / jnp.sqrt(real.weights.sum() - 1)
  return Spread(centred, _product_norm(centred, centred))


def covariance_difference(real: Spread, synthetic: Array) -> Array:
  """‖Σ − Σ(synthetic)‖_F² / F of unbiased covariances (DSDM, MM 2024).

  From products between images: ‖XᵀX − YᵀY‖² = ‖XXᵀ‖² + ‖YYᵀ‖² − 2‖XYᵀ‖², so
  that no F × F matrix is made.

  Args:
    real: see `spread`.
    synthetic: features of the synthetic images [S, F], S ≥ 2.

  Returns:
    A scalar; 0, up to rounding, where the covariances agree.
  """
  images, features = synthetic.shape
  own = (synthetic - synthetic.mean(0, keepdims=True)) / jnp.sqrt(images - 1.0)
  both = _product_norm(real.centred, own)
  return (real.norm + _product_norm(own, own) - 2 * both) / features


def kernel_difference(real: Real, synthetic: Array) -> Array:
  """The squared maximum mean discrepancy, MMD² (M3D, AAAI 2024).

  The kernel is the sum of five, exp(−‖x − y‖² / 2ᵐb) for m = −2, …, 2, where b
  is the mean of ‖x − y‖² over all pairs of images, real and synthetic; b is
  taken as a constant. Means include an image's pair with itself.

  Args:
    real: the features and weights of the real images.
    synthetic: features of the synthetic images [S, F].

  Returns:
    A scalar; 0, up to rounding, where the sets are equal.
  """
  images = len(synthetic)
  # Distances are the same anywhere; near the origin they are rounded least.
  shift = lax.stop_gradient(mean_features(real))[None]
  both = jnp.concatenate([real.features, synthetic]) - shift
  counted = jnp.concatenate([real.weights, jnp.ones(images, jnp.float32)])
  products = _product(both, both)
  squares = jnp.diagonal(products)
  distances = squares[:, None] + squares[None] - 2 * products
  distances = jnp.maximum(distances, 0)
  count = counted.sum()
  total = (counted[:, None] * counted[None] * distances).sum()
  b = lax.stop_gradient(_positive(total / (count * count - count)))
  kernel = sum(jnp.exp(-distances / (width * b)) for width in _WIDTHS)
  # mean k(x, x) − 2 mean k(x, y) + mean k(y, y) in one sum.
  signed = jnp.concatenate(
    [
      real.weights / real.weights.sum(),
      jnp.full(images, -1 / images, jnp.float32),
    ]
  )
  return (signed[:, None] * signed[None] * kernel).sum()


def characteristic_distance(
  real: Array, weights: Array, synthetic: Array, frequencies: Array
) -> Array:
  """The mean over t of |ψ(t) − ψ(t; synthetic)| / √2 (NCFM, CVPR 2025).

  ψ(t) = mean of exp(i t·f) over images is the characteristic function of their
  features f, each scaled to length 1. The difference of amplitudes and phases
  that the paper prints is, at equal weights, just this.

  Args:
    real: features of the real images [B, F].
    weights: [B], 1 for a real image and 0 for padding.
    synthetic: features of the synthetic images [S, F].
    frequencies: t, [K, F].

  Returns:
    A scalar in [0, √2]; 0 where the sets are equal.
  """
  share = (weights / weights.sum())[:, None]
  angles = _product(_unit(real), frequencies)
  own = _product(_unit(synthetic), frequencies)
  across = (share * jnp.cos(angles)).sum(0) - jnp.cos(own).mean(0)
  along = (share * jnp.sin(angles)).sum(0) - jnp.sin(own).mean(0)
  return _length(jnp.square(across) + jnp.square(along)).mean() / jnp.sqrt(2.0)


def _product(a: Array, b: Array) -> Array:
  """Returns a bᵀ, with nothing rounded before."""
  return jnp.matmul(a, b.T, precision=lax.Precision.HIGHEST)


def _product_norm(a: Array, b: Array) -> Array:
  """Returns ‖a bᵀ‖_F²."""
  return jnp.square(_product(a, b)).sum()


def _unit(features: Array) -> Array:
  """Scales rows [N, F] to length 1; rows of zeros stay."""
  squares = jnp.square(features).sum(1, keepdims=True)
  return features * lax.rsqrt(_positive(squares))


def _length(squares: Array) -> Array:
  """Returns square roots whose gradient at 0 is 0 instead of infinite."""
  return jnp.where(squares > 0, jnp.sqrt(_positive(squares)), 0)


def _positive(values: Array) -> Array:
  """Returns values ≥ 0 with 1 in place of 0."""
  return jnp.where(values > 0, values, 1)
