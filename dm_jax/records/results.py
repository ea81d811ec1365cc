"""What networks reached on each set, as `results.json` holds it, and a table.

An entry of its `evaluations` is one method, one size and one network, over all
sets and networks trained; while a run goes on, entries may be partial.
"""

from collections.abc import Iterable
import dataclasses
import itertools

from dm_jax.report.table import Table
from dm_jax.types import Json

METHOD_NAMES = {
  'dm': 'DM',
  'random': 'random real',
  'herding': 'herding',
  'k_center': 'k-center',
  'forgetting': 'forgetting',
  'early_stopping': 'early stopping',
  'whole': 'whole set',
}
_NETWORK_NAMES = {
  'convnet': 'ConvNet',
  'mlp': 'MLP',
  'lenet': 'LeNet',
  'alexnet': 'AlexNet',
  'vgg11': 'VGG-11',
  'resnet18': 'ResNet-18',
  'resnet18_ap': 'ResNet-18 (average pooling)',
}


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """How well networks of one kind do on the test set.

  Attributes:
    method: that made the set they were trained on, e.g. dm.
    images_per_class: of that set; None for the whole set.
    network: its label, e.g. vgg11:norm=batch.
    sets: for each independent set the accuracy of each network, in [0, 1].
    mean: over all of these.
    std: over all of these.
  """

  method: str
  images_per_class: int | None
  network: str
  sets: tuple[tuple[float, ...], ...]
  mean: float
  std: float | None

  @property
  def accuracies(self) -> tuple[float, ...]:
    """Of every network, in [0, 1]."""
    return tuple(itertools.chain.from_iterable(self.sets))

  @property
  def deviation(self) -> float | None:
    """None for one network: ± 0.0 would look like certainty."""
    return None if len(self.accuracies) == 1 else self.std

  @property
  def count(self) -> str:
    """E.g. 5 sets × 20 networks; '' if it is not known."""
    sizes = [len(accuracies) for accuracies in self.sets if accuracies]
    if not sizes:
      return ''
    sets, even = plural(len(sizes), 'set'), len(set(sizes)) == 1
    if even:
      return f'{sets} × {plural(sizes[0], "network")}'
    return f'{sets}, {plural(sum(sizes), "network")} in all'

  @property
  def name(self) -> str:
    """The set in words, e.g. DM, 10 per class."""
    method = method_name(self.method)
    if self.images_per_class is None:
      return method
    return f'{method}, {self.images_per_class} per class'

  def __str__(self) -> str:
    """Returns e.g. 92.3 ± 0.4."""
    return plus_minus(self.mean, self.deviation)


def read_evaluations(results: Json) -> list[Evaluation]:
  """Returns what has been evaluated so far, in the order it was made.

  Args:
    results: as in results.json.
  """
  return [
    Evaluation(
      entry['method'],
      entry.get('images_per_class'),
      entry['network'],
      tuple(map(tuple, entry.get('accuracies') or ())),
      entry['mean'],
      entry.get('std'),
    )
    for entry in results.get('evaluations') or ()
    if entry.get('mean') is not None
  ]


def network_pool(results: Json) -> list[str]:
  """Returns the labels of the networks to evaluate, the headline's first.

  Args:
    results: as in results.json.
  """
  made = (evaluation.network for evaluation in read_evaluations(results))
  return list(dict.fromkeys([*(results.get('networks') or ()), *made]))


def own_first(found: Iterable[Evaluation], own: str | None) -> list[Evaluation]:
  """Returns the run's own method first and the whole set last.

  Args:
    found: evaluations; the order of the others stays.
    own: the run's method.
  """
  return sorted(found, key=lambda e: 0 if e.method == own else _is_whole(e) + 1)


def evaluation_table(results: Json) -> Table | None:
  """Returns the accuracy of every method and size on every network.

  Args:
    results: as in results.json.

  Returns:
    A row for each set and a column for each network; None where nothing has
    been evaluated yet.
  """
  found = own_first(read_evaluations(results), results.get('method'))
  if not found:
    return None
  # Sizes one after another, so that methods of one size stand together.
  found.sort(key=lambda e: (_is_whole(e), e.images_per_class or 0))
  rows: dict[tuple, dict[str, Evaluation]] = {}
  for evaluation in found:
    row = rows.setdefault((evaluation.images_per_class, evaluation.method), {})
    row[evaluation.network] = evaluation
  networks = network_pool(results)
  return Table(
    f'{(results.get("data") or {}).get("name", "Images")}: accuracy on the'
    ' test set, by network',
    ('Images per class', 'Set', *map(network_name, networks)),
    tuple(
      (
        '–' if size is None else str(size),
        method_name(method),
        *(str(row.get(network, '–')) for network in networks),
      )
      for (size, method), row in rows.items()
    ),
    (_note(results, found),),
  )


def _is_whole(evaluation: Evaluation) -> bool:
  return evaluation.method == 'whole'


def _note(results: Json, found: list[Evaluation]) -> str:
  """Says what the cells are, and of how many networks."""
  cells: dict[str, list[str]] = {}
  for evaluation in found:
    where = f'{evaluation.name} on {evaluation.network}'
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
  used = results.get('condensing_network')
  if used and results.get('method') == 'dm':
    text += f' The images were condensed with {used}.'
  return text


def method_name(method: str) -> str:
  """Returns a method's name for tables; an unknown one as it is."""
  return METHOD_NAMES.get(method, method)


def network_name(label: str) -> str:
  """Returns 'VGG-11, batch norm' for vgg11:norm=batch.

  Args:
    label: a network's name, which changes may follow. What is not known is
      returned as it is.
  """
  name, *changes = label.split(':')
  return ', '.join([_NETWORK_NAMES.get(name, name), *map(_change, changes)])


def _change(change: str) -> str:
  field, _, value = change.partition('=')
  if field in ('norm', 'pooling', 'activation') and value:
    return f'{"no" if value == "none" else value} {field}'
  return f'{field} {value}' if value else change


def percent(fraction: float) -> str:
  """Returns 92.3 for 0.923."""
  return f'{100 * fraction:.1f}'


def plus_minus(mean: float, deviation: float | None) -> str:
  """Returns 92.3 ± 0.4 for 0.923 and 0.004, without ± for None."""
  spread = '' if deviation is None else f' ± {percent(deviation)}'
  return percent(mean) + spread


def plural(count: int, thing: str) -> str:
  """Returns e.g. 1 network or 1,200 networks."""
  return f'{count:,} {thing}' if count == 1 else f'{count:,} {thing}s'
