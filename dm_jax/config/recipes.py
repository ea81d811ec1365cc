"""Recipes: settings of all sections that were found to go well together.

Each says what it combines, from which papers, and what it costs.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from dm_jax.arguments import as_shape
from dm_jax.config.fields import binding
from dm_jax.config.sections import (
  CondenseConfig,
  EmbedderConfig,
  EvalConfig,
  PretrainConfig,
)
from dm_jax.errors import choose
from dm_jax.types import ImageShape

# The sections by which the networks that embed are trained.
TRAINED_BY = ('embedder', 'pretrain')


@dataclasses.dataclass(frozen=True)
class Recipe:
  """The sections that a recipe sets; every other setting stays its default.

  Attributes:
    condense: how images are condensed.
    embedder: where the networks come from.
    pretrain: how those are trained, where they are.
    evaluate: how the set is judged.
  """

  condense: CondenseConfig
  embedder: EmbedderConfig = EmbedderConfig()
  pretrain: PretrainConfig = PretrainConfig()
  evaluate: EvalConfig = EvalConfig()

  @property
  def trained(self) -> dict[str, Any]:
    """What binds of the sections `TRAINED_BY`; defaults if nothing is trained.

    Random networks are drawn whatever the other settings are.
    """
    sections = self if self.embedder.name != 'random' else Recipe(self.condense)
    return {name: binding(getattr(sections, name)) for name in TRAINED_BY}


def paper(image_shape: ImageShape, images_per_class: int | tuple) -> Recipe:
  """Distribution matching as published (Zhao & Bilen, WACV 2023)."""
  del image_shape
  return Recipe(CondenseConfig(images_per_class=images_per_class))


def trajectory(
  image_shape: ImageShape, images_per_class: int | tuple
) -> Recipe:
  """Tiles, snapshots of trainings and a cross entropy.

  A stored image holds nine training images, or four from 50 stored ones per
  class on (IDC, ICML 2022, which takes four throughout), and where three tiles
  a side would not lie where they are cut, as in images of 28 and 64 pixels.
  Real and synthetic images pass through a snapshot of a training, drawn anew in
  each step, all three augmentations are applied, and the synthetic images'
  cross entropy under the snapshot is added (TGDD, AAAI 2026). TGDD takes a
  later snapshot for that: it needs a second pass and gained nothing. Adam moves
  the pixels where both take SGD: its steps do not depend on how long the
  gradients are, which is another length for each data set. Pixels stay in their
  range. The real images are embedded before the first step, for all of them.

  It costs the trainings once, and per step nine synthetic images, or four,
  where the paper has one, but no real one. What it reaches at this length has
  not been measured, see `trajectory_short`.

  Whatever the data, its networks train with color and crop; for other
  operations replace `pretrain.augment`, see `trajectory_short`.
  """
  return Recipe(
    CondenseConfig(
      images_per_class=images_per_class,
      steps=10_000,
      batch_real=128,
      optimizer='adam',
      momentum=0.0,
      augment='color+crop+cutout',
      cross_entropy=_cross_entropy(_largest(images_per_class)),
      storage='tiles',
      factor=_factor(image_shape, _largest(images_per_class)),
      decoded_at_once=_at_once(images_per_class, 200),
      clamp=True,
    ),
    EmbedderConfig(
      name='trajectory', networks=5, ahead=0, targets='cached', draws=4
    ),
    PretrainConfig(
      epochs=60,
      batch_size=64,
      augment='color+crop',
      schedule='thirds',
      cutmix=0.5,
    ),
  )


def trajectory_short(
  image_shape: ImageShape, images_per_class: int | tuple
) -> Recipe:
  """`trajectory` for a CPU: fewer, shorter trainings and fewer steps.

  Four trainings of four epochs, without CutMix, and steps that take a few
  minutes with a ConvNet of width 32: trainings of eight epochs gave no more on
  held-out images, nor did more steps at ten and fifty images per class; at one
  the accuracy still rose a little (BUILD_NOTES.md, "Settings of the recipe").
  Its source trains five networks for sixty epochs (TGDD, AAAI 2026). From 50
  images per class on, a step takes forty training images of a class. What it
  reached and took stands in README.md, "A later method beside the paper's".

  Whatever the data, its networks train with all operations, flips among them,
  where the configs of digits leave flips out. For digits in Python, with `made`
  of `dm_jax.recipe`:
    dataclasses.replace(made, pretrain=dataclasses.replace(
      made.pretrain, augment='color_crop_cutout_scale_rotate'))
  """
  long = trajectory(image_shape, images_per_class)
  largest = _largest(images_per_class)
  return dataclasses.replace(
    long,
    condense=dataclasses.replace(
      long.condense,
      steps=1500 if largest < _FEW else 500,
      decoded_at_once=_at_once(images_per_class, 40 if largest >= _MANY else 0),
    ),
    embedder=dataclasses.replace(long.embedder, networks=4),
    pretrain=PretrainConfig(epochs=4, batch_size=128, learning_rate=0.02),
  )


_FEW, _MANY = 5, 50  # Images per class.


def _factor(image_shape: ImageShape, largest: int) -> int:
  """Returns how many tiles a side.

  `tiles.lay` gives the pixels that are left over to the first tiles, one to
  each, and `tiles.cut` pads the last tile: where a single one is left over, the
  second and third tile do not lie where they are cut.
  """
  height, width, _ = image_shape
  flush = height % 3 != 1 and width % 3 != 1
  return 3 if flush and largest < _MANY else 2


def _cross_entropy(largest: int) -> float:
  """The weight that did best on held-out images; at 50, the one tried."""
  if largest < _FEW:
    return 10.0
  return 0.5 if largest >= _MANY else 2.5


def _at_once(images_per_class: int | tuple, most: int) -> int:
  """Returns `most`; 0, all, for nested sets, which share what a step takes."""
  return 0 if isinstance(images_per_class, tuple) else most


def _largest(images_per_class: int | tuple) -> int:
  nested = isinstance(images_per_class, tuple)
  return max(images_per_class) if nested else images_per_class


RECIPES: dict[str, Callable[[ImageShape, int | tuple], Recipe]] = {
  'paper': paper,
  'trajectory': trajectory,
  'trajectory_short': trajectory_short,
}


def recipe(
  name: str, *, image_shape: ImageShape, images_per_class: int | tuple
) -> Recipe:
  """Returns the settings of a recipe.

  Args:
    name: of `RECIPES`; each is described by its function here.
    image_shape: H, W, D.
    images_per_class: stored images per class, or several, ascending.

  Raises:
    InputError: an unknown name, naming those that there are; or no such sizes
      or shape.

  Example:
    recipe = dm_jax.recipe('trajectory', image_shape=(32, 32, 3),
                           images_per_class=10)
    synthetic = dm_jax.condense(images, labels, recipe,
                                key=jax.random.key(0))
  """
  choose('recipe', name, RECIPES)
  sizes = CondenseConfig(images_per_class=images_per_class)  # Checks them.
  return RECIPES[name](as_shape(image_shape), sizes.images_per_class)
