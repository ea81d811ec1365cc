"""Five forms of a 3×3 kernel's gradient, on a CPU.

  python benchmarks/kernel_gradient.py --width=128 --side=16 --images=20

The gradient is, for each of nine shifts, a product of the images' transpose
and the cotangent: [D, N·H·W] · [N·H·W, F]. Timed are, inside a compiled loop
and by turns,

  convolution     one convolution, as the library does it,
  nine products   one for each shift, of copied patches,
  three products  one for each row of the kernel,
  one product     of all patches,
  shifted         nine products of one padded array, read at nine offsets,

in GFLOP/s, medians, beside a product of two square matrices.
"""

from collections.abc import Callable
import itertools

from absl import flags
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from benchmarks.rates import measure_by_turns, square_product
from benchmarks.start import start
from dm_jax.networks.convolution import convolve
from dm_jax.run.facts import describe_machine
from dm_jax.types import Array

_WIDTH = flags.DEFINE_integer('width', 128, 'Channels in and out.')
_SIDE = flags.DEFINE_integer('side', 16, 'Of the maps.')
_IMAGES = flags.DEFINE_integer('images', 20, 'At a time.')
_ROUNDS = flags.DEFINE_integer(
  'rounds', 9, 'Measurements of each form.', lower_bound=1
)
_FLOPS = 2e10  # In a measurement.
_PRODUCT = 1024  # Side of the square matrices.
_SHIFTS = range(3)


def _rows(array: Array) -> Array:
  """[..., F] -> [·, F]."""
  return array.reshape(-1, array.shape[-1])


def _pad(images: Array) -> Array:
  return jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _patches(images: Array, row: int, column: int) -> Array:
  """Returns what the kernel's element meets: [N, H, W, D]."""
  _, height, width, _ = images.shape
  return _pad(images)[:, row : row + height, column : column + width]


def convolution(images: Array, cotangent: Array) -> Array:
  shape = (3, 3, images.shape[-1], cotangent.shape[-1])
  zeros = jnp.zeros(shape)
  _, pull = jax.vjp(lambda kernel: convolve(images, kernel, 1), zeros)
  return pull(cotangent)[0]


def nine_products(images: Array, cotangent: Array) -> Array:
  products = [
    _rows(_patches(images, row, column)).T @ _rows(cotangent)
    for row, column in itertools.product(_SHIFTS, _SHIFTS)
  ]
  return jnp.stack(products).reshape(3, 3, *products[0].shape)


def three_products(images: Array, cotangent: Array) -> Array:
  features = cotangent.shape[-1]
  products = []
  for row in _SHIFTS:
    columns = [_patches(images, row, column) for column in _SHIFTS]
    joined = _rows(jnp.concatenate(columns, axis=-1))
    products.append((joined.T @ _rows(cotangent)).reshape(3, -1, features))
  return jnp.stack(products)


def one_product(images: Array, cotangent: Array) -> Array:
  shifts = itertools.product(_SHIFTS, _SHIFTS)
  patches = jnp.concatenate([_patches(images, *at) for at in shifts], axis=-1)
  product = _rows(patches).T @ _rows(cotangent)
  return product.reshape(3, 3, -1, cotangent.shape[-1])


def shifted(images: Array, cotangent: Array) -> Array:
  line = images.shape[2] + 2
  padded = _rows(_pad(images))
  zeros = _rows(jnp.pad(cotangent, ((0, 0), (0, 2), (0, 2), (0, 0))))
  # Past the last image's last pixel the cotangent is padding.
  count = len(padded) - 2 * line - 2
  products = []
  for row, column in itertools.product(_SHIFTS, _SHIFTS):
    start = row * line + column
    products.append(padded[start : start + count].T @ zeros[:count])
  return jnp.stack(products).reshape(3, 3, *products[0].shape)


_FORMS = {
  'convolution': convolution,
  'nine products': nine_products,
  'three products': three_products,
  'one product': one_product,
  'shifted': shifted,
}


def repeat(
  form: Callable, images: Array, cotangent: Array, count: int
) -> Callable[[], Array]:
  """Returns a compiled loop that adds up a form's results."""

  @jax.jit
  def run(images, cotangent):
    def body(i, total):
      # What depends on the last turn cannot be moved out of the loop.
      return total + form(images + 0 * total[0, 0, 0, 0], cotangent)

    start = jnp.zeros((3, 3, images.shape[-1], cotangent.shape[-1]))
    return lax.fori_loop(0, count, body, start)

  return lambda: run(images, cotangent)


def main(argv: list[str]) -> None:
  del argv
  shape = (_IMAGES.value, _SIDE.value, _SIDE.value, _WIDTH.value)
  rng = np.random.default_rng(0)
  images = jnp.asarray(rng.standard_normal(shape, np.float32))
  cotangent = jnp.asarray(rng.standard_normal(shape, np.float32))
  flops = 2 * images.size * 9 * _WIDTH.value
  count = max(1, int(_FLOPS / flops))
  expected = convolution(images, cotangent)
  ways: dict[str, Callable[[], Array]] = {}
  for name, form in _FORMS.items():
    np.testing.assert_allclose(
      form(images, cotangent), expected, atol=1e-4 * np.abs(expected).max()
    )
    ways[name] = repeat(form, images, cotangent, count)
  ways['square product'] = square_product(_PRODUCT)
  work = dict.fromkeys(_FORMS, count * flops)
  work['square product'] = 2 * _PRODUCT**3
  seconds = measure_by_turns(ways, _ROUNDS.value)
  print(f'{describe_machine()["device"]}, {_IMAGES.value} images')
  for name, each in seconds.items():
    print(f'| {name} | {work[name] / each / 1e9:.0f} GFLOP/s |')


if __name__ == '__main__':
  start(main)
