"""Per-channel statistics that the original code normalises with."""

from dm_jax.errors import choose

# Mean and deviation in unit range, by tfds's names of the sets.
PUBLISHED = {
  'cifar10': ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
  'cifar100': ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
  'fashion_mnist': ((0.2861,), (0.3530,)),
  'mnist': ((0.1307,), (0.3081,)),
  'svhn_cropped': ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
  'tiny_imagenet': ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def published(name: str) -> Statistics | None:
  """Returns (mean, std) of a set, parts of Tiny ImageNet included, or None."""
  key = 'tiny_imagenet' if name.startswith('tiny_imagenet') else name
  return PUBLISHED.get(key)


def check_name(name: str) -> None:
  """Raises InputError, naming near ones, where nothing is published."""
  choose('data.statistics', name, PUBLISHED)
