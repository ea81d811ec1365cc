"""How a set keeps its images: stored images, and the training images in them.

A storage is written for one stored image; `Storage.training_images` maps it.
One image may hold several to train on, at a lower resolution: what is counted,
saved and drawn are the stored ones.
"""

from collections.abc import Callable
import dataclasses

import jax

from dm_jax.errors import InputError, choose
from dm_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Storage:
  """A way to keep images; equal ones share what is compiled.

  Attributes:
    name: by which configs and files know it.
    per_stored: K, the training images that one stored image holds.
    decode: one stored image [H, W, D] -> its training images [K, H, W, D];
      differentiable, of normalised floats. None where they are the same.
    encode: K images [K, H, W, D] -> the stored image that holds them, to start
      from real ones. None where they are the same.
  """

  name: str
  per_stored: int = 1
  decode: Callable[[Array], Array] | None = None
  encode: Callable[[Array], Array] | None = None

  def training_images(self, stored: Array) -> Array:
    """Decodes images.

    Args:
      stored: float, normalised [..., S, H, W, D].

    Returns:
      [..., S · K, H, W, D], those of one stored image one after the other.
    """
    if self.decode is None:
      return stored
    shape = stored.shape[-3:]
    images = jax.vmap(self.decode)(stored.reshape(-1, *shape))
    count = stored.shape[-4] * self.per_stored
    return images.reshape(*stored.shape[:-4], count, *shape)

  def stored_images(self, images: Array) -> Array:
    """Encodes images [S · K, H, W, D] as [S, H, W, D]."""
    if self.encode is None:
      return images
    return jax.vmap(self.encode)(
      images.reshape(-1, self.per_stored, *images.shape[1:])
    )


PLAIN = Storage('plain')
_STORAGES = {PLAIN.name: PLAIN}


def register_storage(storage: Storage) -> None:
  """Lets a storage go by its name, in configs and files.

  Args:
    storage: one of the same name is replaced, but for `plain`.

  Raises:
    InputError: it would replace the built-in one.
  """
  if storage.name == PLAIN.name:
    raise InputError("storage 'plain' is built in: choose another name")
  _STORAGES[storage.name] = storage


def get_storage(name: str) -> Storage:
  """Returns a storage; raises InputError, naming near ones, if unknown."""
  choose('storage', name, _STORAGES)
  return _STORAGES[name]
