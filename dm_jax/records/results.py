"""What networks reached on each set, as `results.json` holds it, and a table.

An entry of its `evaluations` is one method, one size and one network, over all
sets and networks trained; while a run goes on, entries may be partial.
"""

import dataclasses
import itertools

from dm_jax.types import Json
from dm_jax.words import method_name, plural, plus_minus


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


def headline(results: Json) -> dict:
  """Returns the figures of the first network and the largest size, flat.

  Args:
    results: with `evaluations`.
  """
  flat = {}
  names = {results['method']: ('accuracy', 'accuracies')}
  for method, name in (('random', 'baseline_random'), ('whole', 'whole_set')):
    names.setdefault(method, (name, f'{name}_accuracies'))
  for entry in results['evaluations']:
    method, size = entry['method'], entry['images_per_class']
    if (
      method in names
      and 'mean' in entry
      and entry['network'] == results['networks'][0]
      and size in (None, results['images_per_class'])
    ):
      name, accuracies = names[method]
      flat |= {
        f'{name}_mean': entry['mean'],
        f'{name}_std': entry['std'],
        accuracies: [a for group in entry['accuracies'] for a in group],
      }
  return flat
