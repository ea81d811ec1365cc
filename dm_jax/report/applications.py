"""The figures of what sets were used for, from `results.json`."""

import os
from pathlib import Path

from dm_jax.records.results import Results
from dm_jax.report.continual import (
  accuracy_curves,
  continual_table,
  read_curves,
)
from dm_jax.report.figures import save_figure
from dm_jax.report.html import text_of
from dm_jax.report.search import ranking_scatter, read_rankings, search_table


def save_figures(
  results: Results, workdir: str | os.PathLike[str]
) -> list[Path]:
  """Draws figures/accuracy and figures/ranking, as .svg and .png.

  Args:
    results: of a run. What is not complete yet is not drawn; without
      anything to draw, nothing is written.
    workdir: the run's folder.

  Returns:
    The paths written.

  Raises:
    OSError: if they cannot be written.
  """
  folder = Path(workdir) / 'figures'
  paths: list[Path] = []
  curves = read_curves(results)
  if curves:
    paths += save_figure(accuracy_curves(curves), folder, 'accuracy')
  rankings = read_rankings(results)
  if rankings:
    paths += save_figure(ranking_scatter(rankings), folder, 'ranking')
  return paths


def application_lines(results: Results) -> list[str]:
  """Returns the applications' tables for a terminal, an empty line between.

  Args:
    results: of a run.

  Returns:
    A line saying so where a table cannot be made yet; nothing for a run
    without applications.
  """
  blocks = [
    text_of(table, name)
    for name, found, table in (
      ('continual', results.continual, continual_table(results)),
      ('search', results.search, search_table(results)),
    )
    if found
  ]
  return '\n\n'.join(blocks).splitlines()


def has_application(results: Results) -> bool:
  """Returns whether the sets were made for more than evaluating them.

  Args:
    results: of a run.
  """
  return bool(results.continual or results.search)
