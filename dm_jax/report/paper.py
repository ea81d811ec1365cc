"""The accuracies that the paper prints, here alone, to stand beside one's own.

In %, on the test set, at the paper's own budget: for DM 20,000 steps, and 20
networks on each of 5 independently condensed sets. The network is a ConvNet of
width 128 with instance norm.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dm_jax.types import Json

SOURCE = (
  'Zhao and Bilen, Dataset Condensation with Distribution Matching (WACV 2023)'
)
BUDGET = 'DM: 20,000 steps, 5 sets × 20 networks; ConvNet of width 128'

# Of digits without flips.
AUGMENT = (
  'color_crop_cutout_flip_scale_rotate',
  'color_crop_cutout_scale_rotate',
)

# What may make a set otherwise than the paper's DM does, and the paper's own.
_SETTINGS = {
  ('data', 'validation'): (0,),
  ('condense', 'init'): ('real',),
  ('condense', 'batch_real'): (256,),
  ('condense', 'optimizer'): ('sgd',),
  ('condense', 'augment'): AUGMENT,
  ('condense', 'smoothing'): (0, None),
  ('condense', 'storage'): ('plain',),
  ('condense', 'factor'): (1,),
  ('condense', 'discrepancy'): ('mean',),
  ('condense', 'cross_entropy'): (0,),
  ('embedder', 'name'): ('random',),
}

# (accuracy, deviation); None where the paper prints no deviation.
Figure = tuple[float, float | None]
# By images per class; of the whole set under None.
Column = Mapping[int | None, Figure]


def _column(*accuracies: float) -> Column:
  """Takes the accuracies at 1, 10 and 50 images per class."""
  return {
    size: (accuracy, None)
    for size, accuracy in zip((1, 10, 50), accuracies, strict=True)
  }


def _whole(accuracy: float) -> Column:
  return {None: (accuracy, None)}


# Classes, and (H, W, D), of the images that the figures are of.
IMAGES: Mapping[str, tuple[int, tuple[int, ...]]] = MappingProxyType(
  {
    'cifar10': (10, (32, 32, 3)),
    'cifar100': (100, (32, 32, 3)),
    'tiny_imagenet': (200, (64, 64, 3)),
    'fashion_mnist': (10, (28, 28, 1)),
  }
)
# By the name of the data set, as tfds has it, then by method.
TABLE: Mapping[str, Mapping[str, Column]] = MappingProxyType(
  {
    'cifar10': {
      'random': _column(14.4, 26.0, 43.4),
      'herding': _column(21.5, 31.6, 40.4),
      'k_center': _column(21.5, 14.7, 27.0),
      'forgetting': _column(13.5, 23.3, 23.3),
      'dm': {
        1: (26.0, 0.8),
        10: (48.9, 0.6),
        50: (63.0, 0.4),
        100: (67.0, 0.3),
        200: (71.2, 0.4),
        500: (76.1, 0.3),
        1000: (79.8, 0.3),
        1250: (80.8, 0.3),
      },
      'whole': _whole(84.8),
    },
    'cifar100': {
      'random': _column(4.2, 14.6, 30.0),
      'herding': _column(8.4, 17.3, 33.7),
      'k_center': _column(8.3, 7.1, 30.5),
      'forgetting': _column(4.5, 15.1, 30.5),
      'dm': {1: (11.4, 0.3), 10: (29.7, 0.3), 50: (43.6, 0.4)},
      'whole': _whole(56.2),
    },
    'tiny_imagenet': {
      'random': _column(1.4, 5.0, 15.0),
      'herding': _column(2.8, 6.3, 16.7),
      'forgetting': _column(1.6, 5.1, 15.0),
      'dm': {1: (3.9, 0.2), 10: (12.9, 0.4), 50: (24.1, 0.3)},
      'whole': _whole(37.6),
    },
    'fashion_mnist': {
      'random': _column(51.4, 73.8, 82.5),
      'herding': _column(67.0, 71.1, 71.9),
      'k_center': _column(66.9, 54.7, 68.3),
      'dm': _column(70.7, 83.5, 88.1),
      'whole': _whole(93.5),
    },
  }
)

# Random real images again, but trained on with the same augmentation as DM's.
RANDOM_AUGMENTED: Mapping[str, Column] = MappingProxyType(
  {'cifar10': _column(15.4, 31.0, 50.6)}
)


def otherwise(config: Json) -> dict[str, Any]:
  """Returns what makes a condensed set otherwise than the paper's DM.

  Args:
    config: of the run, nested; what it does not name is the paper's.

  Returns:
    The values that are not the paper's, by name, e.g. condense.storage.
  """
  return {
    f'{group}.{name}': value
    for (group, name), papers in _SETTINGS.items()
    if (value := config.get(group, {}).get(name, papers[0])) not in papers
  }


def find(data: str, method: str, size: int | None) -> Figure | None:
  """Returns the paper's accuracy and deviation, in %, or None.

  Args:
    data: the data set's name.
    method: as in a config, e.g. dm.
    size: images per class; the whole set has one figure for every size.
  """
  column = TABLE.get(data, {}).get(method, {})
  return column.get(None if method == 'whole' else size)
