"""How long the cells that are left will take, from what others took.

The work of a cell has parts: condensing, by steps; judging, by epochs of each
network; the pool of trained networks, once. A part takes as long as one of the
same kind took, times its amount; where there was none, it is not known.
"""

from collections.abc import Iterable, Mapping, Sequence
import json
import statistics
from typing import Any, NamedTuple

from dm_jax.words import format_seconds, plural

# A part's kind, and how much of it.
Work = dict[str, float]
UNKNOWN = 'not known yet'

_NETWORK = ('name', 'width', 'depth', 'norm')
# What the seconds of a step follow from.
_STEP = (
  'images_per_class',
  'batch_real',
  'storage',
  'factor',
  'decoded_at_once',
  'discrepancy',
  'precision',
)
_POOL = ('name', 'networks', 'snapshots', 'targets', 'draws')
_WAY = 'on the way'
_TRAINING = ('epochs', 'batch_size', 'cutmix')


class Left(NamedTuple):
  """What is left of a cell.

  Attributes:
    name: of the cell.
    work: by kind; None where nothing could be known of it.
  """

  name: str
  work: Work | None


def work_of(
  config: str, settings: Mapping[str, Any], program: str, mode: str = 'run'
) -> Work | None:
  """Returns the parts of a cell, all of it; of an application they differ.

  Args:
    config: of configs/, which tells the images.
    settings: of the run, as in its config.json.
    program: that runs it.
    mode: condense leaves out the judging, evaluate the making.
  """
  if _is_application(settings):
    return None
  sets, condense = settings['sets'], settings['condense']
  made = settings['method'] == 'dm' and mode != 'evaluate'
  work: Work = {}
  if made:
    work[_condense_kind(config, settings, program)] = sets * condense['steps']
    if settings['embedder']['name'] != 'random':
      work[_pool_kind(config, settings)] = 1
  evaluate, kind = settings['evaluate'], _judge_kind(config, settings, program)
  epochs = evaluate['epochs'] + 1
  if mode != 'condense':
    work[kind] = sets * evaluate['networks'] * epochs
  if made and evaluate['validation_every']:
    evaluations = condense['steps'] // evaluate['validation_every'] + 1
    networks = sets * evaluations * evaluate['validation_networks']
    work[_on_the_way(kind)] = networks * epochs
  return work


def rates(cells: Iterable[Mapping[str, Any]]) -> dict[str, float]:
  """Returns seconds for each unit of work, by kind.

  Args:
    cells: of records, or as far as they have come. Of one kind the first one's
      seconds hold; of a pool the most, since whoever came later has read it.
  """
  known: dict[str, float] = {}
  for cell in cells:
    for kind, (amount, seconds) in _spent(cell).items():
      if seconds is None:
        continue
      rate = seconds / amount
      known[kind] = (
        max(known.get(kind, 0.0), rate)
        if _is_pool(kind)
        else (known.get(kind, rate))
      )
  return known


def pools_of(cells: Iterable[Mapping[str, Any]]) -> set[str]:
  """Returns the kinds of the pools that these cells have left."""
  return {kind for cell in cells for kind in _spent(cell) if _is_pool(kind)}


def left_of(work: Work | None, cell: Mapping[str, Any] | None) -> Work | None:
  """Returns the parts that a cell which was begun has still to do."""
  if work is None:
    return None
  done = {} if cell is None else _spent(cell)
  return {
    kind: amount - min(amount, done.get(kind, (0.0, None))[0])
    for kind, amount in work.items()
  }


def foretell(
  left: Sequence[Left],
  known: Mapping[str, float],
  pools: Iterable[str] = (),
  devices: Iterable[str] = (),
) -> list[str]:
  """Returns what is left and how long it will take, a line for each cell.

  Args:
    left: in order. The first cell that needs a pool trains it.
    known: see `rates`.
    pools: the kinds of those that are there already.
    devices: where the seconds were measured, in words.
  """
  lines: list[str] = []
  known_seconds: list[float] = []
  made = set(pools)
  for name, work in left:
    parts = {k: n for k, n in (work or {}).items() if n and k not in made}
    made |= {kind for kind in parts if _is_pool(kind)}
    if work is None or {_timed_as(kind) for kind in parts} - known.keys():
      lines.append(f'left: {name}, {UNKNOWN}')
      continue
    seconds = sum(
      known[_timed_as(kind)] * amount for kind, amount in parts.items()
    )
    known_seconds.append(seconds)
    lines.append(f'left: {name}, about {format_seconds(seconds)}')
  unknown = len(left) - len(known_seconds)
  if known_seconds:
    beside = f', and {plural(unknown, "cell")} {UNKNOWN}' if unknown else ''
    lines.append(
      f'left in all: about {format_seconds(sum(known_seconds))}{beside}'
      f' (by what took its time on {"; ".join(sorted(devices))})'
    )
  return lines


def _spent(
  cell: Mapping[str, Any],
) -> dict[str, tuple[float, float | None]]:
  """Returns amount and seconds, where they are told, of what a cell has done.

  By kind. Judging on the way is not timed; it takes what judging takes.
  """
  config, settings = cell['config'], cell['settings']
  if _is_application(settings):
    return {}
  program = cell.get('program', 'dm_jax')
  spent: dict[str, tuple[float, float | None]] = {}
  condensed = [s for s in cell['condense_seconds'].values() if s is not None]
  if condensed and settings['condense']['steps']:
    amount = len(condensed) * settings['condense']['steps']
    kind = _condense_kind(config, settings, program)
    spent[kind] = amount, sum(condensed)
  # One that is begun has seconds, too; what follows tells that it is done.
  used = condensed or cell['evaluations'] or cell.get('validation')
  if cell['pool_seconds'] is not None and used:
    spent[_pool_kind(config, settings)] = 1.0, cell['pool_seconds']
  kind, epochs = (
    _judge_kind(config, settings, program),
    settings['evaluate']['epochs'] + 1,
  )
  judged = _judged(cell)
  if judged and cell['evaluate_seconds']:
    spent[kind] = judged * epochs, cell['evaluate_seconds']
  on_the_way = sum(len(row['accuracies']) for row in cell.get('validation', ()))
  if on_the_way:
    spent[_on_the_way(kind)] = on_the_way * epochs, None
  return spent


def _is_application(settings: Mapping[str, Any]) -> bool:
  return settings.get('application', 'none') != 'none'


def _judged(cell: Mapping[str, Any]) -> float:
  """Returns the networks that each case of the own method has trained."""
  counts = [
    sum(map(len, evaluation['accuracies']))
    for evaluation in cell['evaluations']
    if evaluation['method'] == cell['method']
  ]
  return statistics.fmean(counts) if counts else 0.0


def _condense_kind(config: str, settings: Any, program: str) -> str:
  return _kind(
    'condense',
    program,
    config,
    _take(settings['network'], _NETWORK),
    _take(settings['condense'], _STEP),
    settings['condense'].get('cross_entropy', 0) > 0,
    settings['embedder']['name'],
    settings['embedder'].get('targets'),
  )


def _pool_kind(config: str, settings: Any) -> str:
  return _kind(
    'pool',
    config,
    _take(settings['network'], _NETWORK),
    _take(settings['embedder'], _POOL),
    _take(settings['pretrain'], _TRAINING),
    # One without the held-out images is another pool.
    settings.get('data', {}).get('validation', 0.0),
  )


def _is_pool(kind: str) -> bool:
  return json.loads(kind)[0] == 'pool'


def _judge_kind(config: str, settings: Any, program: str) -> str:
  condense, evaluate = settings['condense'], settings['evaluate']
  return _kind(
    'judge',
    program,
    config,
    _take(settings['network'], _NETWORK),
    _take(condense, ('images_per_class', 'storage', 'factor')),
    _take(evaluate, ('pool', 'protocol', 'baselines')),
    # Its files are more images than others.
    settings['method'] == 'random_jpeg',
  )


def _on_the_way(kind: str) -> str:
  """Returns the kind of judging on held-out images, of the kind at the end."""
  return _kind(_WAY, kind)


def _timed_as(kind: str) -> str:
  """Returns the kind whose seconds are known for a kind."""
  name, *rest = json.loads(kind)
  return rest[0] if name == _WAY else kind


def _kind(*parts: Any) -> str:
  return json.dumps(parts)


def _take(section: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
  return {name: section.get(name) for name in names}
