"""From what was measured to a row of `dm_jax.devices.arrangement`."""

import dataclasses
from typing import Any

from dm_jax.devices.arrangement import PLAIN, Arrangement


def pick(choice: str, seconds: dict[str, float]) -> int:
  """Returns the entry of the fastest alternative that the library has."""
  if choice != 'networks':
    return int(min(seconds, key=lambda name: seconds[name]))
  each = {
    tuple(name.split()): spent / int(name.split()[0])
    for name, spent in seconds.items()
  }
  known = {key: spent for key, spent in each.items() if key[1] != 'folded'}
  count, way = min(known, key=lambda key: known[key])
  return int(count) if way == 'vmapped' else 1


def make_row(
  table: Arrangement, best: dict[str, Any], batch: int
) -> Arrangement:
  """Returns a platform's entry with what was fastest.

  Args:
    table: its entry before.
    best: the fastest of every choice that was measured.
    batch: training images of each network that was trained.
  """
  made = dataclasses.replace(table, **best)
  if table.networks == best['networks'] == 1:
    return made
  if best['networks'] == 1:
    # Smaller batches may do with more, as before; two of these may not.
    most = 2 * batch - 1
    bound = min(table.training_images or most, most)
    return dataclasses.replace(
      made, networks=table.networks, training_images=bound
    )
  return dataclasses.replace(made, training_images=best['networks'] * batch)


def show_row(platform: str, arrangement: Arrangement) -> str:
  """Returns the table's line for a platform, as Python."""
  plain = dataclasses.asdict(PLAIN)
  entries = [
    f'{name}={value}'
    for name, value in dataclasses.asdict(arrangement).items()
    if value != plain[name]
  ]
  return f"'{platform}': Arrangement({', '.join(entries)}),"
