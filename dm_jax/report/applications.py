"""The figures of what sets were used for, from `results.json`."""

import os
from pathlib import Path

from dm_jax.report.continual import (
  accuracy_curves,
  continual_table,
  read_curves,
)
from dm_jax.report.figures import save_figure
from dm_jax.report.html import text_of
from dm_jax.report.search import ranking_scatter, read_rankings, search_table
from dm_jax.types import Json


def save_figures(results: Json, workdir: str | os.PathLike[str]) -> list[Path]:
  """Draws figures/accuracy and figures/ranking, as .svg and .png.

  Args:
    results: as in results.json. What is not complete yet is not drawn; without
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


def application_lines(results: Json) -> list[str]:
  """Returns the applications' tables for a terminal, an empty line between.

  Args:
    results: as in results.json.

  Returns:
    A line saying so where a table cannot be made yet; nothing for a run
    without applications.
  """
  blocks = [
    text_of(table, name)
    for name, table in (
      ('continual', continual_table(results)),
      ('search', search_table(results)),
    )
    if results.get(name)
  ]
  return '\n\n'.join(blocks).splitlines()


def has_application(results: Json) -> bool:
  """Returns whether the sets were made for more than evaluating them.

  Args:
    results: as in results.json.
  """
  return bool(results.get('continual') or results.get('search'))
