"""Scores of a run's sets on its networks, as a table and in sentences."""

from collections.abc import Iterable, Sequence
import dataclasses
import itertools

from dm_jax.records.evaluations import Evaluation
from dm_jax.records.results import Results
from dm_jax.report.sizes import (
  JPEG,
  NOTE,
  jpeg_images,
  shown_bytes,
  stored_bytes,
)
from dm_jax.report.table import Table, data_name
from dm_jax.words import (
  method_name,
  network_name,
  network_under,
  percent,
  plural,
  plus_minus,
)

# How the page speaks of images that each method made or chose.
_CHOSEN = {
  'random': 'drawn at random',
  'random_full': 'drawn at random',
  'random_jpeg': 'drawn at random and stored as JPEG',
  'herding': 'selected by herding',
  'k_center': 'selected by k-center',
  'forgetting': 'selected by how often networks forget them',
}
_AT_RANDOM = ('random', 'random_full', JPEG)


@dataclasses.dataclass(frozen=True)
class Score:
  """How well networks trained on one set do on the test set.

  Attributes:
    name: of the set, e.g. synthetic, random real or whole set.
    detail: its size, e.g. 10 per class.
    mean: accuracy, in [0, 1].
    deviation: between networks, in [0, 1]; None if it is not known or there is
      one network only.
    accuracies: of each network, in [0, 1]; may be empty.
    own: whether the set is the run's own, not one to compare it with.
    count: of networks, e.g. 5 sets × 20 networks; '' if it is not known.
    bytes: of the set, see `sizes.stored_bytes`.
  """

  name: str
  detail: str
  mean: float
  deviation: float | None = None
  accuracies: Sequence[float] = ()
  own: bool = False
  count: str = ''
  bytes: float | None = None

  def __str__(self) -> str:
    """Returns e.g. 92.3 ± 0.4."""
    return plus_minus(self.mean, self.deviation)


def read_scores(results: Results, protocol: str = '') -> list[Score]:
  """Returns the scores of the first network, of the largest sets.

  Args:
    results: of a run.
    protocol: that the network is trained under; '' is the run's first.

  Returns:
    The run's own set first, where it has been evaluated, and the whole set
    last.
  """
  protocol = protocol or results.protocols[0]
  shown = [
    evaluation
    for evaluation in results.evaluations
    if (evaluation.network, evaluation.protocol) == (results.pool[0], protocol)
    and evaluation.images_per_class in (None, results.images_per_class)
  ]
  return [
    Score(
      _set_name(evaluation.method),
      _detail(evaluation, results),
      evaluation.mean,
      evaluation.deviation,
      evaluation.flat,
      evaluation.method == results.method,
      evaluation.count.removeprefix('1 set × '),
      stored_bytes(results, evaluation.method, evaluation.images_per_class),
    )
    for evaluation in _own_first(shown, results.method)
  ]


def evaluation_table(results: Results) -> Table | None:
  """Returns the accuracy of every method and size on every network.

  Args:
    results: of a run.

  Returns:
    A row for each set and a column for each network, and each protocol if there
    are several; None where nothing has been evaluated yet.
  """
  found = _own_first(results.evaluations, results.method)
  if not found:
    return None
  # Sizes one after another, so that methods of one size stand together.
  found.sort(key=lambda e: (_is_whole(e), e.images_per_class or 0))
  rows: dict[tuple, dict[tuple, Evaluation]] = {}
  for evaluation in found:
    row = rows.setdefault((evaluation.images_per_class, evaluation.method), {})
    row[evaluation.network, evaluation.protocol] = evaluation
  columns = [*itertools.product(results.pool, results.protocols)]
  several = len(results.protocols) > 1
  return Table(
    f'{data_name(results)}: accuracy on the test set, by network'
    + ' and protocol' * several,
    (
      'Images per class',
      'Set',
      'Bytes',
      *(
        network_under(*column) if several else network_name(column[0])
        for column in columns
      ),
    ),
    tuple(
      (
        '–' if size is None else str(size),
        method_name(method),
        shown_bytes(results, method, size),
        *(str(row.get(column, '–')) for column in columns),
      )
      for (size, method), row in rows.items()
    ),
    tuple(filter(None, (_note(results, found), NOTE, label_note(results)))),
  )


def sentence(results: Results) -> str:
  """Returns the run's own score beside the others, or '' without it.

  Args:
    results: of a run.
  """
  scores = read_scores(results)
  if not scores or not scores[0].own:
    return ''
  ours, *others = scores
  means = {score.name: score.mean for score in others}
  compared = ''.join(
    f', {percent(abs(ours.mean - means[name]))} points '
    f'{"above" if ours.mean > means[name] else "below"} {what}'
    for name, what in (
      ('random real', 'as many random real images'),
      ('random real, whole', 'as many whole real images'),
      ('random JPEG', 'as many bytes of random JPEG images'),
      ('whole set', 'all real images'),
    )
    if name in means
  )
  which = _headline(results)
  over = f', over {ours.count}' if 'set' in ours.count else ''
  return (
    f'Networks{which} trained on nothing else reach {ours} % on the test set'
    f'{over}{compared}.'
  )


def label_note(results: Results) -> str:
  """Returns a sentence on labels that are no classes, or ''.

  Args:
    results: of a run.
  """
  if results.teachers is None:
    return ''
  whose = 'are probabilities'
  if results.teachers:
    count = plural(results.teachers, 'network')
    whose += f' from a teacher, {count} trained on real images'
  kept = any(map(_is_whole, results.evaluations)) or results.search is not None
  rest = ', but for the whole set, which keeps its classes' if kept else ''
  return (
    f'Labels {whose}{rest}: do not compare with accuracies of class labels.'
  )


def origin(results: Results) -> str:
  """Returns a sentence on where the run's images come from.

  Args:
    results: of a run.
  """
  method, counts = results.method or 'dm', image_counts(results)
  real = few = ''
  if counts:
    real, few = (f'{count:,}' for count in counts)
  if method == 'whole':
    return f'All {real} real images were taken.'.replace('  ', ' ')
  sets = results.sets
  again = f', {sets} times independently' if sets > 1 else ''
  if method == 'dm':
    made = f'{few} synthetic ones' if few else 'a few synthetic ones'
    start = f'{real} real images' if real else 'Real images'
    return f'{start} were condensed into {made}{again}.'
  if method == 'released':
    return f'{few or "A few"} images of a file stand for {real} real ones.'
  how = _CHOSEN.get(method, f'selected by {method}')
  start = f'{few} of {real}' if few else 'A few'
  return f'{start} real images were {how}{again}.'


def warnings(results: Results) -> list[str]:
  """Returns a line for each result that random real images reach, too.

  Under several protocols the first one's are told.

  Args:
    results: of a run. Only the same size and network are compared.
  """
  own = results.method
  if own is None or own in _AT_RANDOM:
    return []
  lines = []
  for ours in results.evaluations:
    if ours.protocol != results.protocols[0]:
      continue
    for method in _AT_RANDOM:
      random = results.evaluation(dataclasses.replace(ours.case, method=method))
      # Not `ours <= random`, so that an accuracy of NaN warns, too.
      if ours.method != own or random is None or ours.mean > random.mean:
        continue
      lines.append(
        f'{ours.network}, {ours.images_per_class} per class: {_set_name(own)}'
        f' images reach {percent(ours.mean)} %, no better than'
        f' {method_name(method)} ones, {percent(random.mean)} %.'
      )
  return lines


def advice(results: Results) -> str:
  """Returns what to do about `warnings`, or '' where there is nothing.

  Args:
    results: of a run.
  """
  if results.method != 'dm' or not warnings(results):
    return ''
  return (
    'Try more condense.steps, a smaller condense.learning_rate or, where the'
    ' network is deep, a larger condense.smoothing.'
  )


def image_counts(results: Results) -> tuple[int, int] | None:
  """Returns the real images and those of one of the run's sets, if known.

  Args:
    results: of a run.
  """
  real, classes = results.data.train_images, results.data.classes
  size = results.images_per_class
  stored = jpeg_images(results)
  if real and stored and results.method == JPEG:
    return real, round(stored)
  if real and results.method == 'whole':
    return real, real
  if not (real and classes and size):
    return None
  return real, results.stored_images or classes * size


def _headline(results: Results) -> str:
  """Says in brackets of which network and protocol the headline is."""
  network, protocol = results.pool[0], results.protocols[0]
  if len(results.protocols) > 1:
    return f' ({network_under(network, protocol)})'
  return f' ({network_name(network)})' if len(results.pool) > 1 else ''


def _set_name(method: str) -> str:
  """Returns a set's name where images are spoken of, e.g. synthetic."""
  return 'synthetic' if method == 'dm' else method_name(method)


def _own_first(
  found: Iterable[Evaluation], own: str | None
) -> list[Evaluation]:
  """Returns the run's own method first and the whole set last.

  Args:
    found: evaluations; the order of the others stays.
    own: the run's method.
  """
  return sorted(found, key=lambda e: 0 if e.method == own else _is_whole(e) + 1)


def _note(results: Results, found: list[Evaluation]) -> str:
  """Says what the cells are, and of how many networks."""
  cells: dict[str, list[str]] = {}
  for evaluation in found:
    where = f'{evaluation.name} on {network_name(evaluation.network)}'
    if len(results.protocols) > 1:
      where += f' under {evaluation.protocol}'
    cells.setdefault(evaluation.count, []).append(where)
  cells.pop('', None)
  most = max(cells, key=lambda count: len(cells[count]), default='')
  rest = [
    f'{count} for {"; ".join(names)}'
    for count, names in cells.items()
    if count != most
  ]
  text = 'In %, mean ± deviation over all networks'
  text += f'. Each cell: {most}' if most else ''
  text += f', but {", ".join(rest)}.' if rest else '.'
  if results.condensing_network and results.method == 'dm':
    network = network_name(results.condensing_network)
    text += f' The images were condensed with {network}.'
  return text


def _detail(evaluation: Evaluation, results: Results) -> str:
  stored, classes = jpeg_images(results), results.data.classes
  if evaluation.method == JPEG and stored and classes:
    return f'{stored / classes:.3g} per class'
  if evaluation.images_per_class is not None:
    own = evaluation.method == results.method
    about = 'about ' if own and results.stored_images else ''
    return f'{about}{evaluation.images_per_class} per class'
  images = results.data.train_images
  return plural(images, 'image') if images else 'all images'


def _is_whole(evaluation: Evaluation) -> bool:
  return evaluation.method == 'whole'
