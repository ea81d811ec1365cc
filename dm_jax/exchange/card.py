"""Cards: what must travel with a set so that others use it as it was meant."""

import json
from pathlib import Path
from typing import Any

from dm_jax.errors import InputError
from dm_jax.exchange.released import Released
from dm_jax.types import Json

NAME = 'card.json'
# What of a card is read -> its key there, and the type of its values.
_READ = {
  'mean': ('mean', (int, float)),
  'std': ('std', (int, float)),
  'class_names': ('classes', str),
}


def card_path(path: Path, *, is_folder: bool) -> Path:
  """Returns where the card of a set lies: in its folder, or beside its file."""
  return path / NAME if is_folder else path.with_name(f'{path.name}.{NAME}')


def make_card(
  released: Released, layout: str, pixels: str, about: Json
) -> dict[str, Any]:
  """Returns a card; what is not known is None.

  Args:
    released: the images that are written, normalised, those to train on.
    layout: the format's name.
    pixels: in which space the format has them, in words.
    about: what the images do not say: `storage` and `factor` of what is
      written, `made_as` of the set they are of, `method`, `protocol`,
      `expected_accuracy`, `seed` and `versions`.
  """
  counts = [
    int((released.labels == label).sum())
    for label in range(len(released.class_names or ()))
  ]
  return {
    'format': layout,
    'pixels': pixels,
    'mean': list(released.mean or ()),
    'std': list(released.std or ()),
    'image_shape': list(released.images.shape[1:]),
    'images': len(released.images),
    'images_per_class': counts[0] if len({*counts}) == 1 else counts,
    'classes': list(released.class_names or ()),
    'targets': 'hard' if released.targets is None else 'soft',
    **about,
  }


def read_card(path: Path) -> dict[str, Any]:
  """Returns the card of a set, {} where there is none.

  Raises:
    InputError: it cannot be read.
  """
  file = card_path(path, is_folder=path.is_dir())
  if not file.exists():
    return {}
  try:
    values = json.loads(file.read_text('utf-8'))
    return {
      name: _checked(name, values[key], kind)
      for name, (key, kind) in _READ.items()
    }
  except (OSError, ValueError, TypeError, KeyError) as error:
    raise InputError(
      f'{file} is no card of a set ({error}): mend it or take it away'
    ) from error


def _checked(name: str, values: Any, kind: Any) -> tuple[Any, ...]:
  odd = [value for value in values if not isinstance(value, kind)]
  if odd:
    raise TypeError(f'its {name} has {odd[0]!r}')
  return tuple(values)


def write_card(file: Path, card: Json) -> None:
  text = json.dumps(card, indent=2, ensure_ascii=False) + '\n'
  file.write_text(text, 'utf-8')


def write_readme(file: Path, card: Json) -> None:
  """Writes the page that Hugging Face shows of a set."""
  count, classes = card['images'], len(card['classes'])
  shown = json.dumps(card, indent=2, ensure_ascii=False)
  file.write_text(
    f"""---
task_categories:
- image-classification
size_categories:
- {_size(count)}
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
---

# {count:,} images that stand for a training set

{classes:,} classes, made with dm_jax. Train on `image`, scaled to [0, 1], less
`mean`, divided by `std`; test images are normalised by the same values.
`{NAME}` beside this page:

```json
{shown}
```
""",
    'utf-8',
  )


def _size(count: int) -> str:
  """Returns the size as Hugging Face names it."""
  sizes = {'n<1K': 1_000, '1K<n<10K': 10_000, '10K<n<100K': 100_000}
  return next((s for s, most in sizes.items() if count < most), '100K<n<1M')
