"""Reading what a finished run left in its workdir."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Self

from dm_jax.errors import InputError
from dm_jax.records.results import Evaluation, network_pool, read_evaluations
from dm_jax.types import Json


@dataclasses.dataclass(frozen=True)
class FinishedRun:
  """What an evaluated run left in its workdir.

  Attributes:
    folder: the workdir.
    results: as in results.json.
    config: as in config.json.
    evaluations: those on the first network of the pool that are complete.
  """

  folder: Path
  results: Json
  config: Json
  evaluations: tuple[Evaluation, ...]

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
    results = _read_json(folder / 'results.json')
    config = _read_json(folder / 'config.json')
    application = results.get('application', 'none')
    if application != 'none':
      raise InputError(
        f'{folder} holds a run of the application {application}, which has no'
        ' place in this table: leave it out'
      )
    try:
      first = network_pool(results)[:1]
      found = read_evaluations(results)
      mine = tuple(
        e
        for e in found
        if [e.network] == first and _is_complete(e, results, config)
      )
      run = cls(folder, results, config, mine)
      run.data, results['command'], results['seed']  # Are they there?
      done = run._is_finished()
    except (KeyError, TypeError, AttributeError, IndexError) as error:
      raise InputError(
        f'{folder} does not hold the results of a run ({error!r}): leave it out'
      ) from error
    if not done:
      raise InputError(
        f'{folder} is not evaluated yet: start its command again with'
        ' --mode=run, or leave it out'
      )
    return run

  @property
  def method(self) -> str:
    """That made or selected the run's images."""
    return self.results['method']

  @property
  def data(self) -> tuple[str, str]:
    """Name and fingerprint."""
    return self.results['data']['name'], self.config['inputs']['data']

  def _is_finished(self) -> bool:
    """Whether the run's own sets are evaluated to the end."""
    sizes = {
      e.images_per_class for e in self.evaluations if e.method == self.method
    }
    if self.method == 'whole':
      return None in sizes
    return sizes >= set(self.results['sizes'])


def _is_complete(evaluation: Evaluation, results: Json, config: Json) -> bool:
  """Whether all networks of an evaluation are trained; a run may go on."""
  wanted = config['evaluate']
  if evaluation.images_per_class is None:
    return len(evaluation.accuracies) >= wanted['whole_set_networks']
  total = results['sets'] * wanted['networks']
  return len(evaluation.accuracies) >= total


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
