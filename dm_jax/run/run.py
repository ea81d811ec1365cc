"""One run of `launch.py`: sets are made and evaluated; it resumes by itself."""

from collections.abc import Callable
import dataclasses
import os
from typing import Any, NamedTuple

from dm_jax.files import full_path
from dm_jax.records.results import to_json
from dm_jax.report.page import summary_lines, write_report
from dm_jax.run import (
  continual,
  interrupts,
  processes,
  score,
  search,
  stages,
  workdir,
)
from dm_jax.run.config import RunConfig
from dm_jax.run.facts import describe_machine, facts, notes
from dm_jax.run.given import SetFile
from dm_jax.run.interrupts import Request
from dm_jax.run.job import Job
from dm_jax.run.make import Maker
from dm_jax.run.out_of_memory import told_in_one_line
from dm_jax.run.prepare import check_evaluation, prepare
from dm_jax.run.results_file import ResultsFile
from dm_jax.run.team import Team, serve
from dm_jax.run.trials import run_trials


class Application(NamedTuple):
  """What a run does with its sets.

  Attributes:
    lead: does it, on the lead.
    checks: raise InputError for what cannot be, before anything is written.
  """

  lead: Callable[[Maker], None]
  checks: tuple[Callable[[Job], None], ...]


# By `RunConfig.application`. A stream checks each evaluation on its way.
APPLICATIONS = {
  'none': Application(run_trials, (check_evaluation,)),
  'continual': Application(continual.lead, (stages.check,)),
  'search': Application(search.lead, (check_evaluation, search.check)),
}
_SCORE = Application(score.lead, (score.check,))


def run(
  config: RunConfig,
  *,
  mode: str,
  folder: str | os.PathLike[str],
  synthetic: str | os.PathLike[str] | SetFile | None = None,
  command: str = '',
  say: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Does a whole run, or what is left of it, and leaves its files in `folder`.

  Args:
    config: all settings.
    mode: run (make the sets, then evaluate), condense (make them), evaluate (a
      set that is given), or score (it by class labels).
    folder: the workdir.
    synthetic: in modes evaluate and score, the file of the set.
    command: how the run was started, for the report.
    say: gets each line for the person who watches.

  Returns:
    What `results.json` holds; nothing in a process that is not the lead, which
    takes part and writes nothing.

  Raises:
    InputError: something given cannot be used, and nothing was written; or a
      device has no memory left.
    Diverged: the loss is not finite; the last good state was saved.
    Interrupted: by a signal; the state was saved.
  """
  folder = full_path(folder, '--workdir')
  file = None if synthetic is None else SetFile.of(synthetic)
  with processes.shared_fate() as fate, told_in_one_line(mode):
    say = say if processes.is_lead() else _say_nothing
    job = prepare(config, mode, folder, file, command, say)
    for check in _application(job).checks:
      check(job)
    if not processes.is_lead():
      serve(job, fate)
      return {}
    with (
      interrupts.deferred() as request,
      Team(job, request, fate) as team,
    ):
      return _lead(job, request, team)


def _lead(job: Job, request: Request, team: Team) -> dict[str, Any]:
  request.meet('reading the data')
  with workdir.claim(job.folder, job.config, job.inputs):
    for line in notes(job):
      job.say(line)
    # The device now, so that a run which is stopped has told it; its memory
    # once all is done.
    told = {**facts(job), 'device': describe_machine()['device']}
    results = ResultsFile(job.folder, told)
    _application(job).lead(Maker(job, request, team, results))
    if results.has_worked:
      peak = describe_machine(results.now.peak_bytes or 0)['peak_bytes']
      results.keep(dataclasses.replace(results.now, peak_bytes=peak))
    page = write_report(job.folder, results.now, job.config.to_dict())
  for line in summary_lines(results.now):
    job.say(line)
  job.say(f'report: {page}')
  return to_json(results.now)


def _application(job: Job) -> Application:
  """Returns what is done with the sets of a job."""
  return _SCORE if job.mode == 'score' else APPLICATIONS[job.config.application]


def _say_nothing(line: str) -> None:
  """What others than the lead say: it would be said twice."""
