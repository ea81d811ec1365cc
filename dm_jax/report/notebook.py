"""An image set as a notebook shows it."""

import base64
from collections.abc import Sequence
from html import escape
import io

import numpy as np

from dm_jax.report.grid import draw_grid

# More would make a notebook's file large, and small pictures of its images.
MAX_CLASSES, MAX_PER_CLASS = 20, 10
_WIDEST = 760  # In pixels of the page, as wide as a cell's output.


def grid_html(
  images: np.ndarray, class_of: np.ndarray, class_names: Sequence[str]
) -> str | None:
  """Returns a labelled grid of the first images of the first classes.

  Args:
    images: uint8 [N, H, W, D].
    class_of: int [N], the class of each.
    class_names: C names.

  Returns:
    HTML: a picture, and a line that counts what it shows and what not. None
    where images are no pictures, having neither 1 nor 3 channels, or where
    there are none.
  """
  if not len(images) or images.shape[-1] not in (1, 3):
    return None
  classes, counts = np.unique(class_of, return_counts=True)
  shown = classes[:MAX_CLASSES]
  columns = min(counts.max(), MAX_PER_CLASS)
  # White stands where a class has fewer images than another.
  grid = np.full((len(shown), columns, *images.shape[1:]), 255, np.uint8)
  for row, label in enumerate(shown):
    own = images[class_of == label][:columns]
    grid[row, : len(own)] = own
  picture = draw_grid(grid, [class_names[c] for c in shown], caption='')
  file = io.BytesIO()
  picture.save(file, format='PNG')
  data = base64.b64encode(file.getvalue()).decode()
  line = escape(_count(images.shape, len(classes), counts.max()))
  return (
    f'<figure style="margin:0"><img src="data:image/png;base64,{data}"'
    f' alt="{line}" width="{min(picture.width, _WIDEST)}"'
    f' style="max-width:100%"><figcaption>{line}</figcaption></figure>'
  )


def _count(shape: tuple[int, ...], classes: int, most: int) -> str:
  """Says how many images there are, and how many are not shown."""
  left = [
    f'{classes - MAX_CLASSES:,} classes' if classes > MAX_CLASSES else '',
    f'all but the first {MAX_PER_CLASS} images of a class'
    if most > MAX_PER_CLASS
    else '',
  ]
  kinds = 'class' if classes == 1 else 'classes'
  images = 'image' if shape[0] == 1 else 'images'
  line = (
    f'{shape[0]:,} {images} of {shape[1]} × {shape[2]} pixels,'
    f' {classes:,} {kinds}'
  )
  missing = ' and '.join(filter(None, left))
  return f'{line}; not shown: {missing}' if missing else line
