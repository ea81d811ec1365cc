"""The record of a plan: what its folders hold, and what was known before."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
import re
import shlex
from typing import Any, NamedTuple, Self

from benchmarks.plan import COMMITS, MEASURED, TOOK
from benchmarks.portable import portable_command, portable_settings
from dm_jax.errors import InputError
from dm_jax.files import read_json
from dm_jax.records.json_values import encode
from dm_jax.records.results import CONFIG_NAME
from dm_jax.report.rungs import Rung
from dm_jax.report.sizes import stored_bytes
from dm_jax.report.table import data_name
from dm_jax.run.config import RunConfig


class Found(NamedTuple):
  """What the folders of a plan hold.

  Attributes:
    cells: that have been begun, as records have them.
    commands: that are finished.
  """

  cells: list[dict[str, Any]]
  commands: list[dict[str, Any]]

  @property
  def devices(self) -> list[str | None]:
    """What each was measured on, in words; None where it is not known."""
    return [each['device'] for kind in self for each in kind]

  def by_device(self) -> dict[str, Self]:
    """Returns the same apart, by the slug of the device that measured it."""
    slugs = {*map(device_slug, self.devices)}
    return {slug: self._of(slug) for slug in sorted(slugs)}

  def _of(self, slug: str) -> Self:
    cells, commands = (
      [each for each in kind if device_slug(each['device']) == slug]
      for kind in self
    )
    return type(self)(cells, commands)


def make_record(
  plan: Any,
  name: str,
  found: Found,
  before: dict[str, Any] | None = None,
) -> dict[str, Any]:
  """Returns what is known of a plan, in the plan's order.

  Args:
    plan: a module of configs/results/.
    name: of the plan.
    found: what its folders hold.
    before: a record that has the others, as they were run in another folder or
      on another machine.

  Raises:
    InputError: that record is of another plan.
  """
  before = before or {}
  check_plan(before, name)
  judged = [cell for cell in found.cells if _is_judged(cell)]
  record = {'plan': name, 'cells': _merge(plan, before, 'cells', judged)}
  if plan.COMMANDS:
    record['commands'] = _merge(plan, before, 'commands', found.commands)
  return record


def _is_judged(cell: dict[str, Any]) -> bool:
  """Says whether there is an accuracy to show; a search has rankings."""
  return bool(cell['evaluations'] or cell.get('search', {}).get('agreement'))


def check_plan(record: Mapping[str, Any], name: str) -> None:
  """Raises InputError if a record is of another plan.

  Args:
    record: that is known; an empty one is of any.
    name: of the plan.
  """
  other = record.get('plan', name)
  if other != name:
    raise InputError(
      f'the record is of the plan {other}: give another --record for {name}'
    )


def check_device(
  record: Mapping[str, Any], devices: Iterable[str | None]
) -> None:
  """Raises InputError if a record is of another device: it holds those of one.

  Args:
    record: that is known; an empty one is of any.
    devices: of what is to go into it, in words; None is not known.
  """
  known = [
    each['device']
    for what in ('cells', 'commands')
    for each in record.get(what, ())
  ]
  slugs = {device_slug(device) for device in (*known, *devices) if device}
  if len(slugs) > 1:
    raise InputError(
      f'--record is of one device, not of {", ".join(sorted(slugs))}: give'
      ' another one, or leave it out for one of each'
    )


def _merge(
  plan: Any,
  before: Mapping[str, Any],
  what: str,
  new: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
  found = furthest(plan, what, [*before.get(what, ()), *new])
  return [*found.values()]


def furthest(
  plan: Any, what: str, known: Iterable[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
  """Returns by name the one to show of each that a plan has, in its order.

  Settings of a trial, or of an earlier plan, never hide what was measured as it
  is planned, nor what has only been begun what is finished. Of equal ones the
  last is taken.

  Args:
    plan: a module of configs/results/.
    what: cells or commands.
    known: as records hold them; several may have one name.
  """
  planned = plan.CELLS if what == 'cells' else plan.COMMANDS
  kept: dict[str, dict[str, Any]] = {}
  for each in known:
    old = kept.get(each['name'])
    if old is None or _worth(plan, each) >= _worth(plan, old):
      kept[each['name']] = each
  return {name: kept[name] for name in planned if name in kept}


def _worth(plan: Any, each: dict[str, Any]) -> tuple[bool, int]:
  return is_as_planned(plan, each), _trained(each)


def is_as_planned(plan: Any, each: Mapping[str, Any]) -> bool:
  """Says whether what changes a result is as the plan has it today.

  Where the images lie is left out: a folder and the lossless set differ in it.

  Args:
    plan: a module of configs/results/.
    each: cell or command of a record; commands have no settings.
  """
  planned = plan.CELLS.get(each['name'])
  if planned is None or not each.get('settings'):
    return True
  try:
    measured, wanted = (
      RunConfig.from_dict(settings).settings()
      for settings in (
        each['settings'],
        planned.make_config(plan.COMMON, planned.sets).to_dict(),
      )
    )
  except InputError:  # Of another version, which had other fields.
    return False
  for settings in (measured, wanted):
    for field in ('name', 'statistics'):
      settings['data'].pop(field, None)
  return measured == wanted


def _trained(cell: Mapping[str, Any]) -> int:
  """Returns how many networks a cell has trained; a command, none."""
  return sum(
    len(accuracies)
    for evaluation in cell.get('evaluations', ())
    for accuracies in evaluation['accuracies']
  )


def device_slug(device: str | None) -> str:
  """Returns a device as the name of a record carries it.

  Args:
    device: in words, as results.json has it.
  """
  first, _, _ = (device or 'unknown').removeprefix('1 × ').partition(',')
  return re.sub(r'\W+', '_', first.lower()).strip('_')


def read_found(plan: Any, name: str, folder: Path) -> Found:
  """Returns what the folders of a plan's cells and commands hold."""
  return Found(_read_cells(plan, name, folder), _read_commands(plan, folder))


def _read_cells(plan: Any, name: str, folder: Path) -> list[dict[str, Any]]:
  """Returns the cells that have been begun in a folder."""
  cells = []
  for cell, planned in plan.CELLS.items():
    rung = Rung.read(folder, cell, '')
    if rung is None:
      continue
    results = rung.results
    config = read_json(folder / cell / CONFIG_NAME)
    of_cell = {
      'name': cell,
      'command': _command(name, cell, results.command or ''),
      'config': planned.config,
      'says': planned.says,
      'program': planned.program,
      'data': data_name(results),
      'data_digest': config.get('inputs', {}).get('data'),
      'images_per_class': results.images_per_class,
      'method': results.method,
      'seed': results.seed,
      'versions': dict(results.versions),
      'commits': read_json(folder / cell / COMMITS).get('commits', []),
      'settings': portable_settings(config),
    }
    cells.append({**_run_record(rung), **of_cell})
  return cells


def _read_commands(plan: Any, folder: Path) -> list[dict[str, Any]]:
  """Returns what the finished commands of a plan measured."""
  commands = []
  for name, planned in plan.COMMANDS.items():
    took = read_json(folder / name / TOOK)
    if not took:
      continue
    figures = read_json(folder / name / MEASURED)
    variables = [f'{k}={v}' for k, v in planned.environment.items()]
    commands.append(
      {
        'name': name,
        'says': planned.says,
        'command': shlex.join([*variables, 'python', *planned.arguments]),
        'device': figures.get('device'),
        'seconds': took['seconds'],
        'commit': took.get('commit'),
        'figures': figures,
      }
    )
  return commands


def _run_record(rung: Rung) -> dict[str, Any]:
  """Returns what one run took and reached, as JSON holds it."""
  results = rung.results
  applied = {'continual': results.continual, 'search': results.search}
  return {
    **{name: encode(found) for name, found in applied.items() if found},
    'device': results.device,
    'plan': encode(results.plan),
    'condense_seconds': {
      number: row.condense_seconds for number, row in results.condensing.items()
    },
    'compile_seconds': results.compile_seconds,
    'evaluate_seconds': results.evaluate_seconds,
    'pool_seconds': results.pool_seconds,
    'selecting_seconds': encode(results.selecting_seconds),
    'jpeg_files': {
      number: files.images for number, files in results.jpeg.items()
    },
    'evaluations': [
      {
        **encode(evaluation),
        'bytes': stored_bytes(
          results, evaluation.method, evaluation.images_per_class
        ),
      }
      for evaluation in results.evaluations
    ],
    'validation': [
      {
        **encode(row),
        'seconds': rung.seconds.get(str(row.set), {}).get(str(row.step)),
      }
      for row in results.validation
    ],
  }


def _command(plan: str, cell: str, command: str) -> str:
  """Returns what runs a cell alone, with the flags that the run was given.

  Args:
    plan: its name.
    cell: its name.
    command: that ran it, maybe with others.
  """
  flags = shlex.split(portable_command(command))
  runs = ['python', 'benchmarks/results.py', f'--plan={plan}']
  given = [f for f in flags if f.startswith(('--config.', '--folders='))]
  return shlex.join([*runs, f'--cells={cell}', *given])
