"""What was found with the sets: in a stream of classes, in a search."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Self

REAL = 'real'  # Networks trained on the whole set and tested on the test set.


@dataclasses.dataclass(frozen=True)
class StageResult:
  """What one method reached when a group of classes had arrived.

  Attributes:
    order: of the classes, from 0.
    step: of the stream, from 0.
    method: that made the images in memory.
    classes: seen so far.
    images: in memory.
    images_per_class: in memory.
    bytes: that the memory takes.
    accuracies: of each network that is trained so far, in [0, 1].
    group_accuracies: for each network that on each group of classes so far.
    seconds_per_class: to make the images of a new class; None if not known.
  """

  order: int
  step: int
  method: str
  classes: int = 0
  images: int = 0
  images_per_class: int = 0
  bytes: int = 0
  accuracies: tuple[float, ...] = ()
  group_accuracies: tuple[tuple[float, ...], ...] = ()
  seconds_per_class: float | None = None

  @property
  def place(self) -> tuple[int, int, str]:
    """What it is of: order, step and method; each has one result."""
    return self.order, self.step, self.method


@dataclasses.dataclass(frozen=True)
class StreamSummary:
  """What one method reached, over all orders and networks.

  Attributes:
    classes: seen at each step.
    mean: accuracy at each step, in [0, 1].
    std: its deviation at each step.
    forgetting_mean: over the orders; None for a single step.
    forgetting_std: over the orders.
    seconds_per_class: to make the images of a class; None if not known.
    bytes_per_class: that the last memory takes.
  """

  classes: tuple[int, ...] = ()
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  forgetting_mean: float | None = None
  forgetting_std: float | None = None
  seconds_per_class: float | None = None
  bytes_per_class: int | None = None


@dataclasses.dataclass(frozen=True)
class Continual:
  """Continual learning: what a run was told, and what it found.

  Attributes:
    steps: of the stream.
    orders: of the classes.
    budget_bytes: of the memory; 0 is no budget.
    store: how the memory keeps its images.
    rows: for each order, step and method, as they were begun.
    methods: by method, once all is done.
  """

  steps: int | None = None
  orders: int | None = None
  budget_bytes: int | None = None
  store: str | None = None
  rows: tuple[StageResult, ...] = ()
  methods: Mapping[str, StreamSummary] = dataclasses.field(default_factory=dict)

  def row(self, order: int, step: int, method: str) -> StageResult | None:
    place = order, step, method
    return next((row for row in self.rows if row.place == place), None)

  def with_row(self, row: StageResult) -> Self:
    """Returns it with this row, in place of one that had fewer networks."""
    rows = {each.place: each for each in self.rows} | {row.place: row}
    return dataclasses.replace(self, rows=tuple(rows.values()))


@dataclasses.dataclass(frozen=True)
class Trainings:
  """What the networks of a search reached on one set.

  Attributes:
    accuracies: by network, of each that was trained, in [0, 1].
    seconds: by network, without compiling.
  """

  accuracies: Mapping[str, tuple[float, ...]] = dataclasses.field(
    default_factory=dict
  )
  seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)

  def with_network(
    self, network: str, accuracies: Sequence[float], seconds: float
  ) -> Self:
    return dataclasses.replace(
      self,
      accuracies={**self.accuracies, network: tuple(accuracies)},
      seconds={**self.seconds, network: seconds},
    )


@dataclasses.dataclass(frozen=True)
class GroupAgreement:
  """How two rankings agree among the best networks of one of them.

  Attributes:
    share: of the networks, in (0, 1].
    networks: how many those are.
    spearman: rank correlation, in [-1, 1]; None where it is not defined.
    kendall: tau-b, the same way.
  """

  share: float
  networks: int
  spearman: float | None = None
  kendall: float | None = None


@dataclasses.dataclass(frozen=True)
class SearchOutcome:
  """What the ranking by one set is worth.

  Attributes:
    groups: the correlations among all networks and among the best.
    picked: the network that the ranking puts first.
    picked_accuracy: its accuracy when trained on the whole set, in [0, 1].
    best: the network that is really first.
    best_accuracy: its accuracy.
    seconds: to make the set and train all networks on it; None if not known.
    real_seconds: to train all networks on the whole set.
  """

  groups: tuple[GroupAgreement, ...] = ()
  picked: str | None = None
  picked_accuracy: float | None = None
  best: str | None = None
  best_accuracy: float | None = None
  seconds: float | None = None
  real_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Search:
  """Architecture search: which networks, and what each set made of them.

  Attributes:
    space: its name.
    networks: labels of those that take the images.
    real: trained on the whole set, tested on the test set.
    sets: by method, trained on its set, tested on validation images.
    compile_seconds: which all sets share, over all processes of the run.
    agreement: by method, once all networks are trained.
  """

  space: str | None = None
  networks: tuple[str, ...] = ()
  real: Trainings = Trainings()
  sets: Mapping[str, Trainings] = dataclasses.field(default_factory=dict)
  compile_seconds: float = 0.0
  agreement: Mapping[str, SearchOutcome] = dataclasses.field(
    default_factory=dict
  )

  @property
  def trained(self) -> int:
    """Networks that are trained, each counted once for every set."""
    every = (self.real, *self.sets.values())
    return sum(len(trainings.accuracies) for trainings in every)

  def trainings(self, name: str) -> Trainings:
    """Returns what is known of a method's set, or of `REAL`."""
    known = self.real if name == REAL else self.sets.get(name)
    return known or Trainings()

  def with_trainings(self, name: str, trainings: Trainings) -> Self:
    """Returns a search with these for a method's set, or for `REAL`."""
    if name == REAL:
      return dataclasses.replace(self, real=trainings)
    return dataclasses.replace(self, sets={**self.sets, name: trainings})
