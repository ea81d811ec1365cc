"""Reading what a finished run left in its workdir."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Self

from dm_jax.errors import InputError
from dm_jax.records.evaluations import Evaluation
from dm_jax.records.results import (
  CONFIG_NAME,
  FILE_NAME,
  Results,
  from_json,
  protocol_of,
)
from dm_jax.types import Json


@dataclasses.dataclass(frozen=True)
class FinishedRun:
  """What an evaluated run left in its workdir.

  Attributes:
    folder: the workdir.
    results: of the run.
    config: as in config.json.
    evaluations: those on the first network of the pool, under the first
      protocol, that are complete.
    method: that made or selected the run's images.
    data: name and fingerprint.
    command: that started the run.
    seed: of the run.
  """

  folder: Path
  results: Results
  config: Json
  evaluations: tuple[Evaluation, ...]
  method: str
  data: tuple[str, str]
  command: str
  seed: int

  @classmethod
  def read(cls, folder: Path) -> Self:
    """Reads a workdir.

    Args:
      folder: the workdir.

    Raises:
      InputError: there is no run, or it is not evaluated to the end.
    """
    if not folder.is_dir():
      raise InputError(
        f'{folder} is not a folder: give the workdir of a finished run'
      )
    values = _read_json(folder / FILE_NAME)
    config = _read_json(folder / CONFIG_NAME)
    application = values.get('application', 'none')
    if application != 'none':
      raise InputError(
        f'{folder} holds a run of the application {application}, which has no'
        ' place in this table: leave it out'
      )
    try:
      results = from_json(values, protocol_of(config))
      run = cls(
        folder,
        results,
        config,
        tuple(e for e in results.evaluations if _counts(e, results, config)),
        values['method'],
        (values['data']['name'], config['inputs']['data']),
        values['command'],
        values['seed'],
      )
    except (KeyError, TypeError, AttributeError) as error:
      raise InputError(
        f'{folder} does not hold the results of a run ({error!r}): leave it out'
      ) from error
    if not run._is_finished():
      raise InputError(
        f'{folder} is not evaluated yet: start its command again with'
        ' --mode=run, or leave it out'
      )
    return run

  def _is_finished(self) -> bool:
    """Whether the run's own sets are evaluated to the end."""
    sizes = {
      e.images_per_class for e in self.evaluations if e.method == self.method
    }
    if self.method == 'whole':
      return None in sizes
    return bool(sizes) and sizes >= set(self.results.sizes)


def _counts(evaluation: Evaluation, results: Results, config: Json) -> bool:
  """Whether all networks, the run's first, are trained, as it does first."""
  wanted = config['evaluate']
  total = results.sets * wanted['networks']
  if evaluation.images_per_class is None:
    total = wanted['whole_set_networks']
  first = results.pool[0], results.protocols[0]
  is_first = (evaluation.network, evaluation.protocol) == first
  return is_first and len(evaluation.flat) >= total


def _read_json(file: Path) -> dict[str, Any]:
  try:
    values = json.loads(file.read_text('utf-8'))
  except FileNotFoundError:
    raise InputError(
      f'{file.parent} has no {file.name}: give the workdir of a finished run'
    ) from None
  except (OSError, ValueError) as error:
    raise InputError(
      f'{file} cannot be read ({error}): leave it out'
    ) from error
  if not isinstance(values, dict):
    raise InputError(f'{file} holds no JSON object: leave it out')
  return values
