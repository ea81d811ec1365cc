"""The pictures that a run left, embedded in its report."""

import base64
from html import escape
import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from dm_jax.report.html import MAX_NAMES
from dm_jax.types import Json
from dm_jax.words import method_name

# Of embedded pictures together; base64 makes them a third larger.
PICTURE_BYTES = 7_000_000
MAX_PICTURES = 9
# The same where there are many classes: no page shows each of them well.
OVERVIEW_BYTES = 400_000


def grids(folder: Path, config: Json, classes: int | None = None) -> str:
  """Returns the pictures of a folder in the order of their steps, or ''.

  Args:
    folder: of step_NNNNNN.png and other pictures; may be missing.
    config: nested; tells which step is the last.
    classes: in a picture, if it is known.
  """
  many = classes is not None and classes > MAX_NAMES
  most = OVERVIEW_BYTES if many else PICTURE_BYTES
  paths = sorted(folder.glob('*.png'), key=lambda path: (_step(path), path))
  if not paths:
    return ''
  kept = np.unique(np.linspace(0, len(paths) - 1, MAX_PICTURES).astype(int))
  shown = [paths[i] for i in kept]
  steps = config.get('condense', {}).get('steps')
  whole = sum(path.stat().st_size for path in shown) <= most
  budget = math.inf if whole else most // len(shown)
  figures = [_figure(path, steps, budget) for path in shown]
  rest = len(paths) - len(shown)
  more = f'<p class="note">{rest:,} more in images/.</p>' if rest else ''
  return f'<div class="grids">{"".join(figures)}</div>{more}'


def _step(path: Path) -> float:
  """Returns the step in a name like step_005000.png; others come last."""
  digits = path.stem.removeprefix('step_')
  return int(digits) if digits.isdecimal() else math.inf


def _figure(path: Path, last_step: int | None, budget: float) -> str:
  """Returns a picture in at most so many bytes, what it shows below it."""
  step = _step(path)
  name = method_name(path.stem).replace('_', ' ')
  if step != math.inf:
    name = f'Step {int(step):,}'
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
