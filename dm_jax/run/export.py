"""Mode export: a set for other tools, with a card of what is known of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
import warnings

import numpy as np

from dm_jax.data.load import load
from dm_jax.errors import InputError, choose
from dm_jax.exchange.formats import FORMATS, OWN, WRITTEN
from dm_jax.files import full_path, read_json
from dm_jax.records.evaluations import Evaluation
from dm_jax.records.results import (
  CONFIG_NAME,
  FILE_NAME,
  Results,
  read_results,
)
from dm_jax.run.config import RunConfig
from dm_jax.run.given import SetFile
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.types import Json


def export(
  file: SetFile | None,
  layout: str,
  to: str,
  config: Json | None = None,
  say: Callable[[str], None] = print,
) -> Path:
  """Writes a set in another format.

  Args:
    file: of the set.
    layout: the format to write; or READ:WRITE, where that of the set is not
      recognised.
    to: the file or folder to make; '' is one beside the set's.
    config: all settings, of which those of the data tell what a set that others
      released does not; None if there are none.
    say: gets each line for the person who watches.

  Returns:
    The path written.

  Raises:
    InputError: something given cannot be used; nothing was written.
  """
  if file is None:
    raise InputError('mode export needs a set: --synthetic=FILE')
  if not layout:
    raise InputError(
      f'mode export needs a format: --format, one of {", ".join(WRITTEN)}'
    )
  source, _, layout = layout.rpartition(':')
  choose('format', layout, WRITTEN, setting='format')
  file = SetFile.of(file)._replace(format=source).recognised()
  data = None
  if config is not None and file.format != OWN:
    data = load(RunConfig.from_dict(config).data).train
  found = file.read(data)
  made = file.complete(found, data, say)
  path = full_path(to, '--to') if to else _beside(file.path, layout)
  with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter('always')
    card = made.export(path, layout, judged=_judged(made, file.path))
  say(f'{len(made.images):,} images as {layout}: {path}')
  say(f'what to know of them: {card}')
  for each in told:
    say(f'warning: {each.message}')
  return path


def _beside(path: Path, layout: str) -> Path:
  return path.with_name(f'{path.stem}_{layout}{FORMATS[layout].suffix}')


def _judged(made: SyntheticSet, path: Path) -> dict[str, Any]:
  """Returns what a run found of its set, if the file lies in its workdir."""
  folder = _workdir(path)
  if folder is None:
    return {}
  try:
    results, provenance = read_results(folder), made.provenance
    # The set was saved before it was judged, and may say another protocol.
    config = read_json(folder / CONFIG_NAME)
    config.pop('inputs', None)
    settings = RunConfig.from_dict(config).settings()['evaluate']
  except (InputError, AttributeError, TypeError):  # Another program's files.
    return {}
  found = _evaluation(made, results)
  if found is None or results.seed != provenance.get('seed'):
    return {}
  # Of a stream's group: the run judged memories of all classes.
  if made.class_names != results.data.class_names:
    return {}
  number = provenance.get('set') or 0
  if number >= len(found.accuracies) or not found.accuracies[number]:
    return {}
  accuracies = found.accuracies[number]
  return {
    'protocol': {'name': found.protocol, 'settings': settings},
    'expected_accuracy': {
      'mean': float(np.mean(accuracies)),
      'std': float(np.std(accuracies)),
      'networks': len(accuracies),
      'network': found.network,
      'test_images': results.data.test_images,
      'command': results.command,
    },
  }


def _workdir(path: Path) -> Path | None:
  """Returns the workdir that a set's file lies in, maybe some folders below."""
  folders = list(path.resolve().parents)[:3]  # set_1/baselines/random.npz
  files = CONFIG_NAME, FILE_NAME
  return next(
    (f for f in folders if all((f / file).is_file() for file in files)), None
  )


def _evaluation(made: SyntheticSet, results: Results) -> Evaluation | None:
  """Returns what the headline's network reached on the set."""
  size = len(made.class_of) // made.classes
  wanted = (
    made.provenance.get('method'),
    size,
    *results.networks[:1],
    *results.protocols[:1],
  )
  return next(
    (
      found
      for found in results.evaluations
      if wanted
      == (found.method, found.images_per_class, found.network, found.protocol)
    ),
    None,
  )
