"""Recipes: settings of all sections that were found to go well together.

Each says what it combines, from which papers, and what it costs.
"""

from collections.abc import Callable
import dataclasses

from dm_jax.config.sections import (
  CondenseConfig,
  EmbedderConfig,
  EvalConfig,
  PretrainConfig,
)
from dm_jax.errors import choose
from dm_jax.types import ImageShape


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


def paper(image_shape: ImageShape, images_per_class: int | tuple) -> Recipe:
  """Distribution matching as published (Zhao & Bilen, WACV 2023)."""
  del image_shape
  return Recipe(CondenseConfig(images_per_class=images_per_class))


def trajectory(
  image_shape: ImageShape, images_per_class: int | tuple
) -> Recipe:
  """Tiles, snapshots of trainings and a cross entropy.

  A stored image holds four training images (IDC). Real and synthetic images
  pass through a snapshot of a training, drawn anew in each step, all three
  augmentations are applied, and the synthetic images' cross entropy under a
  later snapshot is added (TGDD, AAAI 2026). Pixels stay in their range.

  It costs the trainings once, and per step four synthetic images where the
  paper has one, through two networks.
  """
  del image_shape
  largest = (
    max(images_per_class)
    if isinstance(images_per_class, tuple)
    else (images_per_class)
  )
  return Recipe(
    CondenseConfig(
      images_per_class=images_per_class,
      steps=10_000,
      batch_real=128,
      momentum=0.0,
      augment='color+crop+cutout',
      cross_entropy=0.5 if largest >= 50 else 2.5,
      storage='tiles',
      factor=2,
      decoded_at_once=200,
      clamp=True,
    ),
    EmbedderConfig(name='trajectory', networks=5),
    PretrainConfig(
      epochs=60,
      batch_size=64,
      augment='color+crop',
      schedule='thirds',
      cutmix=0.5,
    ),
  )


RECIPES: dict[str, Callable[[ImageShape, int | tuple], Recipe]] = {
  'paper': paper,
  'trajectory': trajectory,
}


def recipe(
  name: str, *, image_shape: ImageShape, images_per_class: int | tuple
) -> Recipe:
  """Returns the settings of a recipe.

  Args:
    name: paper or trajectory; each is described by its function here.
    image_shape: H, W, D.
    images_per_class: stored images per class, or several, ascending.

  Raises:
    InputError: an unknown name, naming those that there are.

  Example:
    recipe = dm_jax.recipe('trajectory', image_shape=(32, 32, 3),
                           images_per_class=10)
    synthetic = dm_jax.condense(images, labels, recipe,
                                key=jax.random.key(0))
  """
  choose('recipe', name, RECIPES)
  return RECIPES[name](image_shape, images_per_class)
