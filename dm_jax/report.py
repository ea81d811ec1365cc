"""A run's results for people: a page, report.html, and lines for a terminal.

The page is one file that loads nothing else: style and charts are inline,
pictures are embedded. The same inputs give the same bytes.
"""

import base64
from html import escape
import importlib.resources
import io
import math
import os
from pathlib import Path
import string
from typing import Any

import numpy as np
from PIL import Image

from dm_jax.files import write_atomically
from dm_jax.metrics import read_metrics
from dm_jax.progress import format_seconds
from dm_jax.report_charts import bars, curve
from dm_jax.report_scores import read_scores, sentence, warning
from dm_jax.report_tables import (
  config_table,
  format_bytes,
  marked,
  run_tables,
  times,
)
from dm_jax.types import Json

# Of embedded pictures together; base64 makes them a third larger.
PICTURE_BYTES = 7_000_000
MAX_PICTURES = 9
NOT_EVALUATED = (
  'No accuracies yet: this run only condensed. The same command '
  'with --mode=run goes on to train networks on its images.'
)


def write_report(
  workdir: str | os.PathLike[str], results: Json, config: Json
) -> Path:
  """Writes report.html from what a run left in its workdir.

  Pictures are embedded as they are while they take less than 7 MB together;
  otherwise the large ones are embedded as JPEG, smaller if need be, as the page
  says. Of more than nine, nine are embedded, evenly spaced.

  Args:
    workdir: the run's folder; metrics.jsonl and images/*.png are read from it
      if they are there.
    results: as in results.json. Accuracies are in [0, 1], times in seconds;
      condense_seconds leaves compile_seconds out. A key that is missing or None
      leaves its part of the page out.
    config: the resolved config, nested.

  Returns:
    The path of the page.

  Raises:
    InputError: if metrics.jsonl is broken other than at its end.
  """
  workdir = Path(workdir)
  results = {name: v for name, v in results.items() if v is not None}
  sections = [
    _section('Accuracy on the test set', _accuracy(results)),
    _facts(results),
    _section('The synthetic images', _grids(workdir / 'images', config)),
    _section('Loss', _loss(read_metrics(workdir), results)),
    _section('The run', run_tables(results)),
    _section('Configuration', config_table(config)),
  ]
  template = importlib.resources.files('dm_jax') / 'report_template.html'
  page = string.Template(template.read_text('utf-8')).substitute(
    title=escape(_title(results)),
    lede=escape(_lede(results)),
    body='\n'.join(filter(None, sections)),
  )
  path = workdir / 'report.html'
  write_atomically(path, lambda file: file.write(page.encode()))
  return path


def summary_lines(results: Json) -> list[str]:
  """Returns the accuracies as an aligned table, a line for each set.

  Args:
    results: as in results.json.
  """
  scores = read_scores(results)
  if not scores:
    return [NOT_EVALUATED]
  names = [f'{score.name} ({score.detail})' for score in scores]
  wide = max(map(len, names)), max(len(str(score)) for score in scores)
  lines = []
  for name, score in zip(names, scores, strict=True):
    line = f'{name:{wide[0]}}  {score!s:{wide[1]}} %'
    count = len(score.accuracies)
    lines.append(f'{line}   {_plural(count, "network")}' if count else line)
  return [*lines, *filter(None, [warning(scores)])]


def _plural(count: int, thing: str) -> str:
  return f'{count:,} {thing}' if count == 1 else f'{count:,} {thing}s'


def _title(results: Json) -> str:
  name = results.get('data', {}).get('name', 'Images')
  count = results.get('images_per_class')
  return (
    name if count is None else f'{name}, {_plural(count, "image")} per class'
  )


def _sizes(results: Json) -> tuple[int, int, int] | None:
  """Returns real images, synthetic images and values per image."""
  data = results.get('data', {})
  needed = ('train_images', 'classes', 'image_shape')
  if 'images_per_class' not in results or any(k not in data for k in needed):
    return None
  synthetic = data['classes'] * results['images_per_class']
  return data['train_images'], synthetic, math.prod(data['image_shape'])


def _lede(results: Json) -> str:
  sizes = _sizes(results)
  if sizes:
    start = (
      f'{sizes[0]:,} real images were condensed into {sizes[1]:,} synthetic '
      'ones.'
    )
  else:
    start = 'Real images were condensed into a few synthetic ones.'
  found = sentence(read_scores(results)).replace(' %', '\N{NO-BREAK SPACE}%')
  return f'{start} {found}'.strip()


def _section(title: str, body: str) -> str:
  return f'<section><h2>{title}</h2>\n{body}\n</section>' if body else ''


def _accuracy(results: Json) -> str:
  scores = read_scores(results)
  if not scores:
    return f'<p>{marked(NOT_EVALUATED)}</p>'
  warn = warning(scores)
  if warn:
    warn = f'<p class="warning"><b>Warning.</b> {escape(warn)}</p>'
  data = results.get('data', {})
  classes = data.get('classes')
  notes = ['A dot is one network, trained from scratch and tested once.']
  if any(score.deviation for score in scores):
    notes.append('Bar and whisker are the mean and one standard deviation.')
  if classes:
    notes.append('The dashed line is chance.')
  if data.get('test_images'):
    notes.append(f'{data["test_images"]:,} test images.')
  chart = bars(scores, 1 / classes if classes else None)
  return f'{warn}{chart}<p class="note">{" ".join(notes)}</p>'


def _facts(results: Json) -> str:
  sizes = _sizes(results)
  facts = []
  if sizes:
    real, synthetic, values = sizes
    facts += [
      (
        'Images',
        f'{real:,} → {synthetic:,}',
        f'{real / synthetic:,.3g} times fewer',
      ),
      (
        'Size',
        f'{format_bytes(real * values)} → {format_bytes(synthetic * values)}',
        'one byte per value',
      ),
    ]
  spent = times(results)
  if spent:
    facts.append(
      ('Time', format_seconds(spent['total']), results.get('device', ''))
    )
  if 'peak_bytes' in results:
    facts.append(('Peak memory', format_bytes(results['peak_bytes']), ''))
  items = [
    f'<div><dt>{name}</dt><dd>{escape(value)}<small>{escape(note)}</small>'
    '</dd></div>'
    for name, value, note in facts
  ]
  return f'<dl class="facts">{"".join(items)}</dl>' if items else ''


def _grids(folder: Path, config: Json) -> str:
  paths = sorted(folder.glob('*.png'), key=lambda path: (_step(path), path))
  if not paths:
    return ''
  kept = np.unique(np.linspace(0, len(paths) - 1, MAX_PICTURES).astype(int))
  shown = [paths[i] for i in kept]
  steps = config.get('condense', {}).get('steps')
  whole = sum(path.stat().st_size for path in shown) <= PICTURE_BYTES
  budget = math.inf if whole else PICTURE_BYTES // len(shown)
  figures = [_figure(path, steps, budget) for path in shown]
  rest = len(paths) - len(shown)
  more = f'<p class="note">{rest:,} more in images/.</p>' if rest else ''
  return f'<div class="grids">{"".join(figures)}</div>{more}'


def _step(path: Path) -> float:
  """Returns the step in a name like step_005000.png; others come last."""
  digits = path.stem.removeprefix('step_')
  return int(digits) if digits.isdecimal() else math.inf


def _figure(path: Path, last_step: int | None, budget: float) -> str:
  step = _step(path)
  name = path.stem if step == math.inf else f'Step {int(step):,}'
  where = ''
  if step in (0, last_step):
    where = ', the start' if step == 0 else ', the end'
  data, kind, note = path.read_bytes(), 'png', ''
  with Image.open(path) as picture:
    if len(data) > budget:
      data, kind = _smaller(picture, budget), 'jpeg'
      note = f'. Shown compressed; in full in images/{escape(path.name)}.'
    width, height = picture.size
  wide = ' class="wide"' if width > 2 * height else ''
  source = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
  return (
    f'<figure{wide}><div class="frame"><img src="{source}" width="{width}" '
    f'height="{height}" style="--least:{round(0.3 * width)}px" '
    f'alt="{escape(name)}{where}"></div>'
    f'<figcaption><b>{escape(name)}</b>{where}{note}</figcaption></figure>\n'
  )


def _smaller(picture: Image.Image, budget: float) -> bytes:
  """Returns a JPEG of the picture under `budget` bytes."""
  picture = picture.convert('RGB')
  while True:
    file = io.BytesIO()
    picture.save(file, format='JPEG', quality=88, subsampling=0)
    if file.tell() <= budget or min(picture.size) < 16:
      return file.getvalue()
    picture = picture.resize(
      (picture.width * 4 // 5, picture.height * 4 // 5), Image.Resampling.BOX
    )


def _loss(rows: list[dict[str, Any]], results: Json) -> str:
  """Returns the curve of the finite losses, and says if some were not."""
  if not rows:
    return ''
  losses = {row['step']: row['loss'] for row in rows if 'loss' in row}
  finite = {step: y for step, y in losses.items() if y is not None}
  if len(finite) < 2:
    return '<p>metrics.jsonl holds too few losses for a curve.</p>'
  notes = []
  if 'final_loss' in results:
    notes.append(f'The last loss is {results["final_loss"]:.4g}.')
  if len(finite) < len(losses):
    bad = len(losses) - len(finite)
    notes.append(f'{bad:,} of {len(losses):,} losses were not finite.')
  notes.append('Every step draws a fresh network, so single losses scatter.')
  chart = curve(list(finite), list(finite.values()))
  return f'{chart}<p class="note">{" ".join(notes)}</p>'
