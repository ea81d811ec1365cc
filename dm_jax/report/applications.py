"""The figures of what sets were used for, from `results.json`."""

from collections.abc import Mapping, Sequence
import os
from pathlib import Path

from dm_jax.records.results import method_name
from dm_jax.report.figures import (
  Curve,
  Ranking,
  accuracy_curves,
  ranking_scatter,
  save_figure,
)
from dm_jax.report.search import method_order
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


def read_curves(results: Json) -> list[Curve]:
  """Returns accuracies as classes arrive, the run's own method first.

  Args:
    results: as in results.json.
  """
  methods = (results.get('continual') or {}).get('methods') or {}
  return [
    Curve(
      method_name(name),
      methods[name]['classes'],
      methods[name]['mean'],
      methods[name]['std'],
    )
    for name in method_order(methods, results.get('method'))
  ]


def read_rankings(results: Json) -> list[Ranking]:
  """Returns what each method that can be compared ranks, the run's own first.

  Args:
    results: as in results.json. Of several networks of an architecture the
      mean accuracy counts.
  """
  found = results.get('search') or {}
  real = (found.get('real') or {}).get('accuracies') or {}
  agreement = found.get('agreement') or {}
  sets = found.get('sets') or {}
  rankings = []
  for name in method_order(agreement, results.get('method')):
    search = (sets.get(name) or {}).get('accuracies') or {}
    labels = [label for label in search if search[label] and real.get(label)]
    picked = agreement[name].get('picked')
    if labels:
      rankings.append(
        Ranking(
          method_name(name),
          _means(search, labels),
          _means(real, labels),
          labels.index(picked) if picked in labels else None,
          _spearman(agreement[name]),
        )
      )
  return rankings


def _means(
  accuracies: Mapping[str, Sequence[float]], labels: Sequence[str]
) -> list[float]:
  return [sum(accuracies[label]) / len(accuracies[label]) for label in labels]


def _spearman(agreement: Json) -> float | None:
  """Returns the correlation among all architectures; None is undefined."""
  return next(
    (
      group.get('spearman')
      for group in agreement.get('groups') or ()
      if group['share'] == 1
    ),
    None,
  )
