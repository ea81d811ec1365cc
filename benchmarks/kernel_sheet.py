"""Counts kernels and bytes of each arrangement, and what an H100 needs for it.

  python benchmarks/kernel_sheet.py --what=condense \
      --record=benchmarks/records/kernels_condense_h100.json
  python benchmarks/kernel_sheet.py --what=train \
      --record=benchmarks/records/kernels_train_h100.json
  python benchmarks/pages.py

Nothing is computed and no GPU is needed: `benchmarks/kernels.py` says how is
counted. The steps are the paper's condensing step and a training step on the
synthetic set, with CIFAR-10's shapes and the paper's ConvNet.
"""

from collections.abc import Callable
import dataclasses
import itertools
import shlex
import sys
from typing import Any

from absl import flags
import jax

from benchmarks.arranged import WAYS, Sizes, condensing, training_step
from benchmarks.kernel_table import make_table
from benchmarks.kernels import H100, Count, count_kernels
from benchmarks.portable import portable_command
from benchmarks.start import start
from dm_jax.devices.arrangement import Arrangement
from dm_jax.files import full_path, write_json
from dm_jax.synthetic_set import package_versions

_WHAT = flags.DEFINE_enum('what', 'condense', ['condense', 'train'], 'Step.')
_RECORD = flags.DEFINE_string('record', None, 'JSON file to write.')
_WIDTH = flags.DEFINE_integer('width', 128, 'See NetworkConfig.width.')
# Classes and images per class.
_CONDENSED = ((10, 1), (10, 10), (10, 50), (100, 10))
# Classes whose real images are embedded together, and whose synthetic ones are
# differentiated together.
_TOGETHER = ((1, 1), (1, 10), (5, 10), (10, 10), (20, 10))
_TRAINED = (1, 10, 50)  # Images per class, of ten classes.
_NETWORKS = (5, 10, 20)


def count(step: Callable, arguments: Callable) -> Count:
  return count_kernels(step, *jax.eval_shape(arguments))


def count_condensing() -> list[dict[str, Any]]:
  """Returns a row for each arrangement of each condensing step."""
  rows = []
  for (classes, size), (real, synthetic) in itertools.product(
    _CONDENSED, _TOGETHER
  ):
    arrangement = Arrangement(classes=real, synthetic_images=synthetic * size)
    sizes = Sizes(classes, size, width=_WIDTH.value)
    half = dataclasses.replace(sizes, precision='bfloat16')
    full, lowered = (
      count(*condensing(each, arrangement)) for each in (sizes, half)
    )
    rows.append(
      {
        'classes': classes,
        'images_per_class': size,
        'embedded': real,
        'differentiated': synthetic * size,
        **figures_of(full),
        'bounds': bounds_of(full) | bounds_of(lowered, 'bfloat16'),
      }
    )
  return rows


def count_training() -> list[dict[str, Any]]:
  """Returns a row for each way to train several networks, for all of them."""
  ways = [(1, 'mapped'), *itertools.product(_NETWORKS, WAYS[1:])]
  rows = []
  for size, (networks, way) in itertools.product(_TRAINED, ways):
    sizes = Sizes(images_per_class=size, width=_WIDTH.value)
    counted = count(*training_step(sizes, networks, way))
    rows.append(
      {
        'images_per_class': size,
        'networks': networks,
        'way': way,
        **figures_of(counted),
        'bounds': bounds_of(counted),
      }
    )
  return rows


def figures_of(counted: Count) -> dict[str, float]:
  return {
    'kernels': counted.number,
    'bytes': counted.bytes,
    'flops': counted.flops,
  }


def bounds_of(counted: Count, *precisions: str) -> dict[str, float]:
  """Returns the least seconds by the precision of products."""
  names = precisions or ('tf32', 'float32')
  return {name: counted.bound(H100, name) for name in names}


def main(argv: list[str]) -> None:
  del argv
  counts = {'condense': count_condensing, 'train': count_training}
  record = {
    'command': portable_command(shlex.join(['python', *sys.argv])),
    'versions': package_versions(),
    'what': _WHAT.value,
    'width': _WIDTH.value,
    'device': {'name': 'H100', **dataclasses.asdict(H100)},
    'rows': counts[_WHAT.value](),
  }
  print(make_table(record).as_text())
  if _RECORD.value:
    write_json(full_path(_RECORD.value, '--record'), record)


if __name__ == '__main__':
  start(main)
