"""How a set keeps its images: stored images, and the training images in them.

A storage is written for one stored image; `Storage.training_images` maps it.
One image may hold several to train on, at a lower resolution: what is counted,
saved and drawn are the stored ones.
"""

from collections.abc import Callable
import dataclasses
import functools

import jax

from dm_jax.errors import InputError, choose
from dm_jax.images import tiles
from dm_jax.types import Array, ImageShape


@dataclasses.dataclass(frozen=True)
class Storage:
  """A way to keep images; equal ones share what is compiled.

  Attributes:
    name: by which configs and files know it.
    per_stored: K, the training images that one stored image holds.
    decode: (one stored image [H, W, D], mid grey [D]) -> its training images
      [K, H, W, D]; differentiable, of normalised floats. Grey is to pad with.
      None where they are the same.
    encode: K images [K, H, W, D] -> the stored image that holds them, to start
      from real ones. None where they are the same.
    check: (H, W, D) raises InputError if images are too small to be kept so.
  """

  name: str
  per_stored: int = 1
  decode: Callable[[Array, Array], Array] | None = None
  encode: Callable[[Array], Array] | None = None
  check: Callable[[ImageShape], None] = lambda image_shape: None

  def training_images(self, stored: Array, grey: Array) -> Array:
    """Decodes images.

    Args:
      stored: float, normalised [..., S, H, W, D].
      grey: mid grey, normalised [D].

    Returns:
      [..., S · K, H, W, D], those of one stored image one after the other.
    """
    if self.decode is None:
      return stored
    shape = stored.shape[-3:]
    decode = jax.vmap(self.decode, (0, None))
    images = decode(stored.reshape(-1, *shape), grey)
    count = stored.shape[-4] * self.per_stored
    return images.reshape(*stored.shape[:-4], count, *shape)

  def trained_on(self, stored: int, at_once: int = 0) -> int:
    """Returns the training images of a class that a step takes.

    Args:
      stored: images of the class.
      at_once: the most that a step takes; 0 is all that they hold.
    """
    held = stored * self.per_stored
    return min(held, at_once or held)

  def stored_images(self, images: Array) -> Array:
    """Encodes images [S · K, H, W, D] as [S, H, W, D]."""
    if self.encode is None:
      return images
    return jax.vmap(self.encode)(
      images.reshape(-1, self.per_stored, *images.shape[1:])
    )


PLAIN = Storage('plain')
_TILES = 'tiles'
_STORAGES = {PLAIN.name: PLAIN}


def register_storage(storage: Storage) -> None:
  """Lets a storage go by its name, in configs and files.

  Args:
    storage: one of the same name is replaced, but for those built in, `plain`
      and `tiles`.

  Raises:
    InputError: it would replace a built-in one.
  """
  if storage.name.partition(':')[0] in (PLAIN.name, _TILES):
    raise InputError(
      f'storage {storage.name!r} is built in: choose another name'
    )
  _STORAGES[storage.name] = storage


def get_storage(name: str) -> Storage:
  """Returns a storage by its name; that of tiles says the factor: tiles:2.

  Raises:
    InputError: there is none, naming near ones.
  """
  kind, _, factor = name.partition(':')
  if kind == _TILES:
    if not (factor.isdecimal() and int(factor) > 1):
      raise InputError(
        f'storage {name!r} must say how many tiles a side: e.g. tiles:2'
      )
    return _make_tiles(int(factor))
  choose('storage', name, [*_STORAGES, _TILES])
  return _STORAGES[name]


# One for each factor: partials that are made anew are not equal.
@functools.cache
def _make_tiles(factor: int) -> Storage:
  return Storage(
    f'{_TILES}:{factor}',
    factor * factor,
    functools.partial(tiles.cut, factor=factor),
    functools.partial(tiles.lay, factor=factor),
    functools.partial(tiles.check_factor, factor),
  )
