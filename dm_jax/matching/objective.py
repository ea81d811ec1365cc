"""What a step minimises, with every setting resolved."""

import dataclasses
import functools

from dm_jax.config.sections import CondenseConfig
from dm_jax.devices.arrangement import PLAIN, Arrangement
from dm_jax.devices.layout import ClassAxis
from dm_jax.images import augment
from dm_jax.images.storage import Storage, get_storage
from dm_jax.matching.cross_entropy import CROSS_ENTROPY, cross_entropy
from dm_jax.matching.discrepancy import parse_discrepancies
from dm_jax.matching.terms import Term, Terms, of_features
from dm_jax.types import Network


@dataclasses.dataclass(frozen=True)
class Objective:
  """The loss of a step and how it is computed; equal ones share programs.

  Attributes:
    network: what embeds.
    terms: of the loss, for one class.
    storage: how stored images hold training images.
    operations: of the augmentation, by stage, see `augment.parse`.
    sizes: of the nested sets, in stored images, ascending; at least one.
    batch_real: real images per class and step.
    decoded_at_once: training images of a class that a step takes, at the most;
      0 is all.
    clamp: whether pixels stay in the range of images.
    micro_batch: real images embedded at a time, at least one.
    classes_embedded: classes whose real images are drawn and embedded together,
      at the most; only as many as a micro-batch holds.
    differentiated: synthetic images that are differentiated together, in whole
      classes; 0 is as many as a micro-batch.
    kept_images: synthetic images whose activations are kept for the gradient,
      at the most.
    batch_norm_classes: classes that are one batch of a batch norm; 0 is all.
    rematerialise: whether activations of synthetic images are computed again
      for the gradient, a micro-batch at a time.
    precision: of the embedding, one of `config.PRECISIONS`.
    axis: what the classes are mapped over, if a batch norm's batch spans it.
  """

  network: Network
  terms: Terms
  storage: Storage
  operations: tuple[augment.Stage, ...]
  sizes: tuple[int, ...]
  batch_real: int
  micro_batch: int
  decoded_at_once: int = 0
  clamp: bool = False
  classes_embedded: int = PLAIN.classes
  differentiated: int = PLAIN.synthetic_images
  kept_images: int = PLAIN.kept_images
  batch_norm_classes: int = 0
  rematerialise: bool = False
  precision: str = 'float32'
  axis: ClassAxis | None = None

  @property
  def most_kept(self) -> int:
    """Synthetic images whose activations are kept for the gradient.

    More of them are embedded in parts, and again for the gradient.
    """
    if not self.rematerialise:
      return self.kept_images
    return min(self.micro_batch, self.kept_images)

  def trained_on(self, stored: int) -> int:
    """Returns the training images that a step takes of so many stored ones."""
    return self.storage.trained_on(stored, self.decoded_at_once)


def classes_together(objective: Objective, classes: int, stored: int) -> int:
  """Returns how many classes' synthetic images are differentiated at once.

  As many as fill a micro-batch, or `differentiated`, which the device's classes
  divide: so sums are taken in an order that the number of devices may change.

  Args:
    objective: how many images, and storage.
    classes: that the device computes at a time.
    stored: images of each.
  """
  if objective.network.mixes_images:
    return classes
  images = objective.differentiated or objective.micro_batch
  return _even_group(classes, images // objective.trained_on(stored))


def classes_embedded_together(objective: Objective, classes: int) -> int:
  """Returns how many classes' real images are drawn and embedded at once.

  Args:
    objective: how many at the most, and the micro-batch that holds them.
    classes: that the device computes at a time.
  """
  most = min(
    objective.classes_embedded, objective.micro_batch // objective.batch_real
  )
  return _even_group(classes, most)


def _even_group(classes: int, most: int) -> int:
  """Returns the size of groups of so many classes at the most."""
  most = max(most, 1)
  even = max(n for n in range(1, most + 1) if classes % n == 0)
  # A smaller last group is compiled on its own.
  return even if 2 * even >= min(most, classes) else min(most, classes)


def make_objective(
  network: Network,
  config: CondenseConfig,
  *,
  terms: tuple[tuple[str, Term], ...] = (),
  axis: ClassAxis | None = None,
  arrangement: Arrangement = PLAIN,
) -> Objective:
  """Makes the loss that a config describes.

  Args:
    network: what embeds.
    config: for a network that knows no padding, `batch_real` must not be above
      the smallest class.
    terms: added to the discrepancies', under names of their own.
    axis: see `Objective`.
    arrangement: how much is computed together; its images at a time are the
      config's.

  Raises:
    InputError: an unknown augmentation, discrepancy or storage.
  """
  return Objective(
    network=network,
    terms=Terms(
      (
        *_discrepancies(config.discrepancy),
        *_classifying(config.cross_entropy),
        *terms,
      )
    ),
    storage=get_storage(config.stored_as),
    operations=augment.parse(config.augment),
    sizes=config.sizes,
    batch_real=config.batch_real,
    decoded_at_once=config.decoded_at_once,
    clamp=config.clamp,
    micro_batch=config.micro_batch or config.batch_real,
    classes_embedded=arrangement.classes,
    differentiated=arrangement.synthetic_images,
    kept_images=arrangement.kept_images,
    batch_norm_classes=config.batch_norm_classes,
    rematerialise=config.rematerialise,
    precision=config.precision,
    axis=axis,
  )


def _classifying(weight: float) -> tuple[tuple[str, Term], ...]:
  return ((CROSS_ENTROPY, cross_entropy(weight)),) if weight else ()


def _discrepancies(text: str) -> tuple[tuple[str, Term], ...]:
  """The terms that `condense.discrepancy` names."""
  return tuple(
    (name, dataclasses.replace(_of_features(discrepancy), weight=weight))
    for name, discrepancy, weight in parse_discrepancies(text)
  )


# Equal discrepancies give equal terms, so that programs are shared.
_of_features = functools.lru_cache(of_features)
