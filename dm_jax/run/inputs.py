"""What a run reads, kept in its workdir to see later whether it changed."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dm_jax.data.class_data import Dataset, Part
from dm_jax.data.digest import fingerprint
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.types import Json

_MOST = 5  # Classes that a message names.
_SPLITS = {'train': 'training', 'test': 'test'}


def describe_inputs(
  dataset: Dataset, part: Part, synthetic: SyntheticSet | None
) -> dict[str, Any]:
  """Returns digests of all that a run reads, and its images of each class.

  Args:
    dataset: the real images; all of their bytes are read.
    part: the classes that this process holds.
    synthetic: the set that is judged, if one is.
  """
  train, classes = dataset.train, dataset.train.classes
  test = np.bincount(dataset.test_labels, minlength=classes)
  counts = {
    split: dict(zip(train.names, np.asarray(found).tolist(), strict=True))
    for split, found in (('train', train.counts), ('test', test))
  }
  described = {'data': fingerprint(dataset, part), 'images': counts}
  if synthetic is not None:
    described['synthetic'] = synthetic.fingerprint()
  return described


def changed_inputs(old: Json, new: Json) -> list[str]:
  """Says what differs between what a run read and what it would read now.

  Args:
    old: as from `describe_inputs`; of earlier versions it has digests alone.
    new: the same.
  """
  told = []
  if old.get('data') != new.get('data'):
    before, now = (_counts(inputs) for inputs in (old, new))
    parts = [part for s in _SPLITS for part in _split(s, before, now)]
    told.append(f'the images or labels of the data changed: {"; ".join(parts)}')
  if old.get('synthetic') != new.get('synthetic'):
    told.append('--synthetic names another set, or what is in it changed')
  return told


def _counts(inputs: Json) -> dict[str, Mapping[str, int]]:
  """The images of each class by split; none where they were not kept."""
  found = inputs.get('images')
  found = found if isinstance(found, Mapping) else {}
  return {split: found.get(split) or {} for split in _SPLITS}


def _split(
  split: str,
  before: Mapping[str, Mapping[str, int]],
  now: Mapping[str, Mapping[str, int]],
) -> Iterator[str]:
  """Says how many images of each class one split had, and has."""
  old, new, what = before[split], now[split], f'{_SPLITS[split]} images'
  if not old:  # Of an earlier version.
    yield f'{sum(new.values()):,} {what} now'
    return
  names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
  if not names:
    yield f'as many {what} of each class, {sum(new.values()):,} in all'
    return
  cells = [f'{n!r} {old.get(n, 0)} -> {new.get(n, 0)}' for n in names[:_MOST]]
  rest = len(names) - len(cells)
  more = f' and of {rest:,} more classes' if rest else ''
  yield f'{what} of class {", ".join(cells)}{more}'
