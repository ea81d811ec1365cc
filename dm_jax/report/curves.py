"""How condensing went: the loss, and accuracies on the way, by step."""

from collections.abc import Iterable, Sequence
import statistics

from dm_jax.records.results import Results, Validation
from dm_jax.report.charts import loss_chart, validation_chart
from dm_jax.report.html import chart_section
from dm_jax.report.inline import inline_svg
from dm_jax.types import Json
from dm_jax.words import percent


def loss_section(rows: Sequence[Json], results: Results) -> str:
  """Returns the curves of the finite losses, and says if some were not.

  Args:
    rows: as from `read_metrics`: with `loss`, and with `loss_NAME` for each of
      its terms if they were recorded.
    results: of the run.

  Returns:
    HTML; '' without rows.
  """
  if not rows:
    return ''
  losses = _read_losses(rows)
  finite = {
    name: {step: y for step, y in curve.items() if y is not None}
    for name, curve in losses.items()
  }
  curves = {name: curve for name, curve in finite.items() if len(curve) > 1}
  if not curves:
    return '<p>metrics.jsonl holds too few losses for a curve.</p>'
  notes = ['Faint as measured, bold smoothed.']
  if results.final_loss is not None:
    notes.append(f'The last loss is {results.final_loss:.4g}.')
  count = sum(map(len, losses.values()))
  bad = count - sum(map(len, finite.values()))
  if bad:
    notes.append(f'{bad:,} of {count:,} losses were not finite.')
  notes.append('Every step draws a fresh network, so single losses scatter.')
  description = '; '.join(
    f'{name}: {curve[first]:.4g} at step {first:,}, {curve[last]:.4g} at step'
    f' {last:,}'
    for name, curve in curves.items()
    for first, last in [(min(curve), max(curve))]
  )
  chart = inline_svg(loss_chart(curves), 'loss', 'Loss by step', description)
  return chart_section(chart, notes)


def validation_section(results: Results) -> str:
  """Returns accuracies on held-out training images, by step.

  Args:
    results: of a run.

  Returns:
    HTML; '' where none were held out.
  """
  if not results.validation:
    return ''
  curves = _read_validation(results.validation)
  description = '; '.join(
    f'{name}: {percent(curve[last])} % at step {last:,}'
    for name, curve in curves.items()
    for last in [max(curve)]
  )
  chart = inline_svg(
    validation_chart(curves),
    'validation',
    'Validation accuracy by step',
    description,
  )
  sets = len({row.set for row in results.validation})
  over = f', mean over {sets} sets' if sets > 1 else ''
  note = (
    f'Networks trained on the images as they are after a step{over}. The'
    ' validation images were held out of the training set; the test set was not'
    ' used.'
  )
  return chart_section(chart, [note])


def _read_losses(rows: Sequence[Json]) -> dict[str, dict[int, float | None]]:
  """Returns the loss, then its terms, by step."""
  losses: dict[str, dict[int, float | None]] = {}
  for row in rows:
    for key, value in row.items():
      if key == 'loss' or key.startswith('loss_'):
        name = key.removeprefix('loss_').replace('_', ' ')
        losses.setdefault(name, {})[row['step']] = value
  return losses


def _read_validation(
  rows: Iterable[Validation],
) -> dict[str, dict[int, float]]:
  """Returns the mean over sets of each size, by step, ascending."""
  found: dict[int, dict[int, list[float]]] = {}
  for row in rows:
    steps = found.setdefault(row.images_per_class, {})
    steps.setdefault(row.step, []).append(row.mean)
  return {
    f'{size} per class': {
      step: statistics.fmean(means) for step, means in sorted(steps.items())
    }
    for size, steps in sorted(found.items())
  }
