"""What callers hand to public functions: keys, settings, values in a trace."""

from collections.abc import Iterable, Mapping
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dm_jax.errors import InputError
from dm_jax.types import AnyKey, ImageShape, Key

_SEEDS = 2**32
_GENERATOR = 'threefry2x32'
# What helps who gives images where a synthetic set is meant.
HOW_TO_LOAD = (
  'give what condense or select returned, or dm_jax.SyntheticSet.load(FILE)'
)
# What helps who gives arrays where images grouped by class are meant.
GROUPED = (
  'write dm_jax.ClassData.from_arrays(images, labels), or dataset.train of'
  ' dm_jax.load_data'
)


def as_key(key: AnyKey) -> Key:
  """Returns one threefry key, whatever JAX's default generator is.

  Draws for classes and networks are made side by side, and with JAX's rbg a
  draw depends on what is drawn beside it.

  Args:
    key: `jax.random.key(0)`, an old `jax.random.PRNGKey(0)`, which gives the
      same draws, or a whole number in [0, 2³²), of Python, NumPy or JAX, which
      seeds one. A key of another generator seeds a threefry key by a draw.

  Raises:
    InputError: anything else, or several keys.
  """
  if isinstance(key, numbers.Integral) and not isinstance(key, bool):
    if not 0 <= key < _SEEDS:
      raise InputError(f'a key is seeded by 0 to 2**32 - 1, got {key}')
    return jax.random.key(int(key), impl=_GENERATOR)
  if isinstance(key, (jax.Array, np.ndarray)):
    made = _from_array(key)
    if made is not None:
      return made
  raise InputError(
    'key must be a key, e.g. jax.random.key(0), or a whole number that seeds'
    f' one, got {describe(key)}'
  )


def _from_array(key: Any) -> Key | None:
  """Returns the key that an array is; None if it is none."""
  typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
  raw = key.dtype == np.uint32 and key.shape[-1:] in ((2,), (4,))
  if not typed and key.shape == () and jnp.issubdtype(key.dtype, jnp.integer):
    traced = isinstance(key, jax.core.Tracer)
    return jax.random.key(key, impl=_GENERATOR) if traced else as_key(int(key))
  if not (typed or raw):
    return None
  if key.ndim > raw:
    raise InputError(
      f'key must be one key, got an array of them, shape {key.shape}: take one,'
      ' e.g. keys[0]'
    )
  if not typed:
    names = {2: _GENERATOR, 4: 'rbg'}  # By the words of an old key.
    key = jax.random.wrap_key_data(key, impl=names[key.shape[0]])
  if str(jax.random.key_impl(key)) == _GENERATOR:
    return key
  words = jax.random.bits(key, (2,), jnp.uint32)
  return jax.random.wrap_key_data(words, impl=_GENERATOR)


def refuse_traced(what: str, *values: Any, inside_jit: bool = False) -> None:
  """Raises InputError where JAX traces the call, or any of its arguments.

  Args:
    what: is called, e.g. condense.
    *values: pytrees that it needs the values of.
    inside_jit: whether it may be called there, if it knows these values.
  """
  # In a call that jit traces, a constant is a tracer, too.
  probe = () if inside_jit else jnp.zeros((), jnp.float32)
  leaves = jax.tree.leaves((values, probe))
  if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
    raise InputError(
      f'{what} cannot be called inside jit, vmap, grad or another'
      ' transformation, since it looks at values and runs programs of its own:'
      ' call it outside; what can be traced is the step of dm_jax.make_step'
    )


def check_type(
  what: str, value: Any, *kinds: type, remedy: str | None = None
) -> None:
  """Raises InputError unless a value is of one of some types of this package.

  Args:
    what: its name in messages.
    value: any.
    *kinds: the types.
    remedy: for the message; None names how the first type is made.
  """
  if isinstance(value, kinds):
    return
  first = f'dm_jax.{kinds[0].__name__}'
  if remedy is None:
    inside = f'**{what}' if isinstance(value, Mapping) else '...'
    remedy = f'write {first}({inside})'
  known = ' or '.join(f'dm_jax.{kind.__name__}' for kind in kinds)
  raise InputError(f'{what} must be a {known}, got {describe(value)}: {remedy}')


def as_shape(image_shape: Any) -> ImageShape:
  """Returns (H, W, D), whole numbers from 1 up.

  Args:
    image_shape: of images, any sequence of these.

  Raises:
    InputError: another number of them, or others.
  """
  sizes = tuple(image_shape) if isinstance(image_shape, Iterable) else ()
  whole = all(isinstance(size, numbers.Integral) for size in sizes)
  if len(sizes) != 3 or not whole or min(sizes) < 1:
    raise InputError(
      'image_shape must be (H, W, D), whole numbers from 1 up, got'
      f' {image_shape!r}: write e.g. (32, 32, 3)'
    )
  height, width, channels = map(int, sizes)
  return height, width, channels


def as_statistic(what: str, values: Any, channels: int) -> tuple[float, ...]:
  """Returns D floats: a mean or a deviation of pixels in unit range.

  Args:
    what: mean or std.
    values: one for each channel.
    channels: D.

  Raises:
    InputError: another number of them; values that are not finite; a mean
      outside [0, 1], as of pixels up to 255; a deviation that is not above 0.
  """
  given = values if np.ndim(values) == 1 else ()
  found = tuple(float(value) for value in given)
  if len(found) != channels or not np.isfinite(found).all():
    raise InputError(
      f'{what} must be {channels} finite values, one for each channel, got'
      f' {values!r}' + f': write ({values},)' * (np.ndim(values) == 0)
    )
  if what == 'mean' and not 0 <= min(found) <= max(found) <= 1:
    raise InputError(
      f'mean must be of pixels in [0, 1], got {found}: divide mean and std by'
      ' 255, if they are of pixels up to that'
    )
  if what == 'std' and min(found) <= 0:
    raise InputError(f'std must be above 0, got {found}: use 1 for a constant')
  return found


def describe(value: Any) -> str:
  """Says in a few words what a value is: None, a dict, float32 [3, 2]."""
  if isinstance(value, (jax.Array, np.ndarray)):
    return f'an array {value.dtype} {list(value.shape)}'
  if isinstance(value, type):
    return f'the class {value.__name__}'
  if value is None or isinstance(value, (bool, int, float)):
    return repr(value)
  if isinstance(value, str):
    return repr(value if len(value) <= 40 else value[:39] + '…')
  name = type(value).__name__
  return f'{"an" if name[:1].lower() in "aeiou" else "a"} {name}'
