"""The results of a run, as values, and `results.json`, which holds them.

Here alone the file is read and written. Its keys are the names of the fields;
the headline figures, flat on top of it, are made of them as it is written.
"""

from collections.abc import Mapping
import dataclasses
from pathlib import Path
import statistics
from typing import Any, Self

from dm_jax.errors import InputError
from dm_jax.files import read_json, write_json
from dm_jax.records.applications import Continual, Search
from dm_jax.records.evaluations import Case, Evaluation
from dm_jax.records.json_values import decode, encode
from dm_jax.records.score import Score
from dm_jax.types import Json

FILE_NAME = 'results.json'
CONFIG_NAME = 'config.json'  # A run's settings, and what it read.


@dataclasses.dataclass(frozen=True)
class Data:
  """The image set of a run.

  Attributes:
    name: of the set, or of where it is from, e.g. folder.
    classes: C.
    class_names: of each class.
    train_images: without those that are held out.
    validation_images: held out of the training images.
    test_images: to test on.
    image_shape: (H, W, D).
    mean: per-channel mean, in unit range.
    std: per-channel deviation.
    place: the last part of the folder's or file's name where `name` is such.
  """

  name: str | None = None
  classes: int | None = None
  class_names: tuple[str, ...] = ()
  train_images: int | None = None
  validation_images: int | None = None
  test_images: int | None = None
  image_shape: tuple[int, ...] = ()
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  place: str | None = None


@dataclasses.dataclass(frozen=True)
class Condensing:
  """What condensing one set took, and where its loss ended.

  All but the compiling is of the steps that are kept: of a run that was killed,
  those after its last checkpoint are done again.

  Attributes:
    compile_seconds: in all processes of the run, one after another.
    condense_seconds: of all steps.
    seconds_per_step: median over the lines of metrics.
    images_per_second: real and synthetic ones embedded, at that median.
    final_loss: the last line's.
    final_losses: the same by term of the loss.
  """

  compile_seconds: float | None = None
  condense_seconds: float | None = None
  seconds_per_step: float | None = None
  images_per_second: float | None = None
  final_loss: float | None = None
  final_losses: Mapping[str, float | None] = dataclasses.field(
    default_factory=dict
  )


@dataclasses.dataclass(frozen=True)
class JpegFiles:
  """What a set of random_jpeg is stored as.

  Attributes:
    images: in all classes.
    bytes: of all files.
  """

  images: int
  bytes: int


@dataclasses.dataclass(frozen=True)
class Validation:
  """What networks reached on validation images with the images of a step.

  Attributes:
    set: 0 to K - 1.
    step: of condensing.
    images_per_class: of the set.
    accuracies: of each network, in [0, 1].
    mean: over these.
    std: over these.
  """

  set: int
  step: int
  images_per_class: int
  accuracies: tuple[float, ...] = ()
  mean: float = float('nan')
  std: float | None = None


@dataclasses.dataclass(frozen=True)
class Results:
  """All that is known of a run so far; what is not, is None or empty.

  Attributes:
    mode: run, condense, evaluate or score.
    application: none, continual or search.
    method: that made the sets that are judged.
    seed: of the run.
    command: that started it.
    sets: K.
    images_per_class: of the largest size.
    sizes: images per class, ascending.
    stored_images: of the set that was given, where its classes differ in size;
      None where they are `images_per_class` of each.
    networks: labels of the networks to evaluate, the headline's first.
    teachers: networks whose mean probabilities are the images' labels, 0 where
      their number is not known; None where the labels are classes.
    protocols: under which they are trained, the headline's first.
    condensing_network: label of the one that the sets were made with.
    data: the image set.
    versions: of what computes a result, by package.
    device: in words; of a run that went on elsewhere, each in turn.
    peak_bytes: of memory, in one process.
    plan: how the run condensed: what its config left open, resolved.
    resumed_from: the steps that condensing went on from.
    condensing: by set, or ORDER/STEP of a stream.
    selecting_seconds: by set, by method or `training`, which methods share.
    pool_seconds: that a pool of networks, and targets made ahead with it, have
      taken: to be made, or to be read where they were there.
    set_bytes: of the file of one set, by method.
    jpeg: the files of random_jpeg, by set.
    validation: of steps, as they were done.
    evaluations: one for each case, as they were begun.
    evaluate_seconds: in all processes of the run, with compiling.
    continual: what was found with this application.
    search: what was found with this application.
    score: of the set that was given.
  """

  mode: str | None = None
  application: str = 'none'
  method: str | None = None
  seed: int | None = None
  command: str | None = None
  sets: int = 1
  images_per_class: int | None = None
  sizes: tuple[int, ...] = ()
  stored_images: int | None = None
  networks: tuple[str, ...] = ()
  teachers: int | None = None
  protocols: tuple[str, ...] = ('dm',)
  condensing_network: str | None = None
  data: Data = Data()
  versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
  device: str | None = None
  peak_bytes: int | None = None
  plan: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  resumed_from: tuple[int, ...] = ()
  condensing: Mapping[str, Condensing] = dataclasses.field(default_factory=dict)
  selecting_seconds: Mapping[str, Mapping[str, float]] = dataclasses.field(
    default_factory=dict
  )
  pool_seconds: float | None = None
  set_bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)
  jpeg: Mapping[str, JpegFiles] = dataclasses.field(default_factory=dict)
  validation: tuple[Validation, ...] = ()
  evaluations: tuple[Evaluation, ...] = ()
  evaluate_seconds: float | None = None
  continual: Continual | None = None
  search: Search | None = None
  score: Score | None = None

  @property
  def compile_seconds(self) -> float | None:
    """Of all sets; None where nothing was condensed."""
    return self._total('compile_seconds')

  @property
  def condense_seconds(self) -> float | None:
    """Of all sets; None where nothing was condensed."""
    return self._total('condense_seconds')

  @property
  def seconds_per_step(self) -> float | None:
    """Median over the sets."""
    return self._median('seconds_per_step')

  @property
  def images_per_second(self) -> float | None:
    """Median over the sets."""
    return self._median('images_per_second')

  @property
  def final_loss(self) -> float | None:
    """Median over the sets."""
    return self._median('final_loss')

  @property
  def pool(self) -> list[str]:
    """Labels of the networks to evaluate, the headline's first."""
    made = (evaluation.network for evaluation in self.evaluations)
    return list(dict.fromkeys([*self.networks, *made]))

  @property
  def only_judged(self) -> bool:
    """Whether the run's set is another's: its config tells of the judging."""
    return self.mode in ('evaluate', 'score')

  def evaluation(self, case: Case) -> Evaluation | None:
    return next((e for e in self.evaluations if e.case == case), None)

  def with_evaluation(self, new: Evaluation) -> Self:
    """Returns results with an evaluation in the place of its case's."""
    by_case = {e.case: e for e in self.evaluations} | {new.case: new}
    return dataclasses.replace(self, evaluations=tuple(by_case.values()))

  def with_condensing(self, name: str, measured: Condensing) -> Self:
    """Returns results with the measurements of a set in place of its others."""
    return dataclasses.replace(
      self, condensing={**self.condensing, name: measured}
    )

  def with_selecting(self, number: int, what: str, seconds: float) -> Self:
    """Returns results with the seconds that selecting a set took."""
    spent = {**self.selecting_seconds.get(str(number), {}), what: seconds}
    selecting = {**self.selecting_seconds, str(number): spent}
    return dataclasses.replace(self, selecting_seconds=selecting)

  def with_bytes(self, method: str, size: int) -> Self:
    """Returns results that know the bytes of a method's sets on disk."""
    sizes = {**self.set_bytes, method: size}
    return dataclasses.replace(self, set_bytes=sizes)

  def with_jpeg(self, number: int, files: JpegFiles) -> Self:
    """Returns results that know the files of random_jpeg of a set."""
    return dataclasses.replace(self, jpeg={**self.jpeg, str(number): files})

  def with_resumption(self, step: int) -> Self:
    """Returns results of a run that goes on from a step."""
    return dataclasses.replace(self, resumed_from=(*self.resumed_from, step))

  def with_validation(self, row: Validation) -> Self:
    return dataclasses.replace(self, validation=(*self.validation, row))

  def with_pool(self, seconds: float) -> Self:
    """Returns results in which the pool took so much longer."""
    total = (self.pool_seconds or 0.0) + seconds
    return dataclasses.replace(self, pool_seconds=total)

  def with_evaluating(self, seconds: float) -> Self:
    """Returns results in which evaluating took so much longer."""
    total = (self.evaluate_seconds or 0.0) + seconds
    return dataclasses.replace(self, evaluate_seconds=total)

  def _known(self, name: str) -> list[float]:
    values = (getattr(row, name) for row in self.condensing.values())
    return [value for value in values if value is not None]

  def _total(self, name: str) -> float | None:
    values = self._known(name)
    return sum(values) if values else None

  def _median(self, name: str) -> float | None:
    values = self._known(name)
    return statistics.median(values) if values else None


def read_results(folder: Path) -> Results:
  """Reads results.json; without such a file nothing is known.

  Args:
    folder: the workdir.

  Raises:
    InputError: the file cannot be read, or holds something else.
  """
  path = folder / FILE_NAME
  try:
    protocol = protocol_of(read_json(folder / CONFIG_NAME))
    return from_json(read_json(path), protocol)
  except (TypeError, AttributeError) as error:
    raise InputError(
      f'{path} does not hold the results of a run ({error}): choose another'
      ' --workdir'
    ) from error


def write_results(folder: Path, results: Results) -> None:
  """Writes results.json, whole or not at all."""
  write_json(folder / FILE_NAME, to_json(results))


def protocol_of(config: Json) -> str:
  """Returns the protocol that a run's config.json names."""
  return config.get('evaluate', {}).get('protocol', 'dm')


def from_json(values: Json, protocol: str = 'dm') -> Results:
  """Returns the results that a file holds, also one of an earlier version.

  Args:
    values: as in results.json; what is missing or None is not known.
    protocol: of a file that names none: the one of its run.

  Raises:
    TypeError, AttributeError: it holds something else.
  """
  values = {'protocols': [protocol], **values}
  begun = values.get('evaluations') or ()
  values['evaluations'] = [
    {'protocol': protocol, **e} for e in begun if e.get('mean') is not None
  ]
  if not values.get('condensing'):
    flat = {f.name: values.get(f.name) for f in dataclasses.fields(Condensing)}
    known = any(value is not None for value in flat.values())
    values['condensing'] = {'0': flat} if known else {}
  return decode(Results, values)


def to_json(results: Results) -> dict[str, Any]:
  """Returns what results.json holds, with the headline figures on top."""
  flat = {
    name: getattr(results, name)
    for name in (
      'compile_seconds',
      'condense_seconds',
      'seconds_per_step',
      'images_per_second',
      'final_loss',
    )
  }
  values = {**encode(results), **flat, **_headline(results)}
  return {name: value for name, value in values.items() if value is not None}


def _headline(results: Results) -> dict[str, Any]:
  """Returns the figures of the first network and the largest size, flat."""
  names = {results.method: ('accuracy', 'accuracies')}
  baselines = {
    'random': 'baseline_random',
    'random_full': 'baseline_random_full',
    'random_jpeg': 'baseline_random_jpeg',
    'whole': 'whole_set',
  }
  for method, name in baselines.items():
    names.setdefault(method, (name, f'{name}_accuracies'))
  flat = {}
  for network in results.networks[:1]:
    for method, (name, accuracies) in names.items():
      for size in (results.images_per_class, None):
        found = results.evaluation(
          Case(method or '', network, size, results.protocols[0])
        )
        if found is not None:
          flat |= {
            f'{name}_mean': found.mean,
            f'{name}_std': found.std,
            accuracies: list(found.flat),
          }
  return flat
