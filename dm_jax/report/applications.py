"""What is shown of what sets were used for: a table and a figure for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dm_jax.records.results import Results
from dm_jax.report.continual import continual_figure, continual_table
from dm_jax.report.figures import save_figure
from dm_jax.report.html import figure_section, with_copies
from dm_jax.report.score import score_table
from dm_jax.report.search import search_figure, search_table
from dm_jax.report.table import Table

if TYPE_CHECKING:
  from matplotlib.figure import Figure


class Application(NamedTuple):
  """How one application is shown.

  Attributes:
    title: of its section of the page.
    table: makes its table; None while there is nothing to compare.
    unfinished: what is said instead of the table.
    figure: draws its figure; None while there is nothing to draw.
    file: name of the figure's files, without an ending.
    shows: what the figure shows, for those who do not see it.
    caption: of the figure.
  """

  title: str
  table: Callable[[Results], Table | None]
  unfinished: str
  figure: Callable[[Results], Figure | None]
  file: str
  shows: str
  caption: str


# By the field of `Results` that holds what was found.
APPLICATIONS = {
  'continual': Application(
    'Accuracy as classes arrive',
    continual_table,
    'No accuracies yet: not all classes have arrived.',
    continual_figure,
    'accuracy',
    'Test accuracy by classes seen, a line for each method',
    'Bands reach one standard deviation up and down.',
  ),
  'search': Application(
    'Ranking of architectures',
    search_table,
    'No rankings yet: not all architectures have been trained.',
    search_figure,
    'ranking',
    'Accuracy in the search against accuracy on the whole set',
    'A dot is one architecture.',
  ),
  'score': Application(
    'Scores',
    score_table,
    'No scores yet: not all networks have been trained.',
    lambda _: None,
    'score',
    '',
    '',
  ),
}


def applied(results: Results) -> list[Application]:
  """Returns the applications that a run's sets were made for.

  Args:
    results: of a run.
  """
  return [
    application
    for field, application in APPLICATIONS.items()
    if getattr(results, field) is not None
  ]


def application_sections(
  results: Results, workdir: Path, notes: Sequence[str] = ()
) -> dict[str, str]:
  """Returns figure and table of each application as HTML, by title.

  Args:
    results: of a run.
    workdir: figures are embedded that are in its `figures/`.
    notes: sentences to stand below each table, after its own.
  """
  return {
    shown.title: figure_section(
      workdir / 'figures' / f'{shown.file}.svg', shown.shows, shown.caption
    )
    + (
      with_copies(table.with_notes(notes))
      if table
      else f'<p>{shown.unfinished}</p>'
    )
    for shown in applied(results)
    for table in [shown.table(results)]
  }


def application_lines(results: Results) -> list[str]:
  """Returns the applications' tables for a terminal, an empty line between.

  Args:
    results: of a run.

  Returns:
    A line saying so where a table cannot be made yet; nothing for a run
    without applications.
  """
  blocks = [
    table.as_text() if table else shown.unfinished
    for shown in applied(results)
    for table in [shown.table(results)]
  ]
  return '\n\n'.join(blocks).splitlines()


def save_figures(
  results: Results, workdir: str | os.PathLike[str]
) -> list[Path]:
  """Draws the applications' figures to figures/, as .svg and .png.

  Args:
    results: of a run. What is not complete yet is not drawn; without anything
      to draw, nothing is written.
    workdir: the run's folder.

  Returns:
    The paths written.

  Raises:
    OSError: if they cannot be written.
  """
  return [
    path
    for shown in applied(results)
    for figure in [shown.figure(results)]
    if figure is not None
    for path in save_figure(figure, Path(workdir) / 'figures', shown.file)
  ]
