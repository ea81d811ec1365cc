"""Measures what a device should compute together: a row for the table.

  python benchmarks/arrangements.py

One choice of `dm_jax.devices.arrangement` after the other, the others as the
table has them for this platform:

  classes           whose real images are drawn and embedded together,
  synthetic_images  that are differentiated together,
  networks          that are trained together: one after the other (mapped), by
                    `vmap` (vmapped), or folded into channels (folded), which
                    the library does not do,
  part              images of a training batch, differentiated at a time.

The alternatives of a choice take turns for a share of --seconds, at least once
each after they are compiled; figures are medians. Pixels are random. The last
line is the row, with the fastest of each, of networks by the time for one.
"""

from collections.abc import Callable
import dataclasses
import shlex
import statistics
import sys
import time
from typing import Any

from absl import flags
import jax

from benchmarks.arranged import Sizes, condensing, training_step
from benchmarks.arrangement_row import make_row, pick, show_row
from benchmarks.portable import portable_command
from benchmarks.start import start, whole_numbers
from dm_jax.condensing.plan import real_images_at_once
from dm_jax.devices.arrangement import Arrangement, get_arrangement
from dm_jax.files import full_path, write_json
from dm_jax.run.facts import describe_machine
from dm_jax.synthetic_set import package_versions

_CLASSES = flags.DEFINE_integer('classes', 10, 'Classes.')
_SIZE = flags.DEFINE_integer('images_per_class', 10, 'Synthetic images.')
_BATCH = flags.DEFINE_integer('batch_real', 256, 'Real images per class.')
_REAL = flags.DEFINE_integer('real', 1000, 'Images per class to draw from.')
_WIDTH = flags.DEFINE_integer('width', 128, 'See NetworkConfig.width.')
_DEPTH = flags.DEFINE_integer('depth', 3, 'See NetworkConfig.depth.')
_SIDE = flags.DEFINE_integer('side', 32, 'Height and width of the images.')
_TRAINED = flags.DEFINE_list('networks', ['5', '20'], 'Networks trained.')
_SECONDS = flags.DEFINE_float('seconds', 120.0, 'About how long to measure.')
_RECORD = flags.DEFINE_string('record', None, 'JSON file to write.')

Steps = dict[str, tuple[Callable, Callable]]  # See `benchmarks.arranged`.


def time_by_turns(steps: Steps, seconds: float) -> dict[str, float]:
  """Returns median seconds of a call of each, compiled before."""
  started = time.monotonic()
  calls = {}
  for name, (step, arguments) in steps.items():
    made = jax.jit(arguments)()
    calls[name] = (jax.jit(step), made)
    jax.block_until_ready(calls[name][0](*made))
  spent: dict[str, list[float]] = {name: [] for name in steps}
  while True:
    for name, (step, made) in calls.items():
      begun = time.perf_counter()
      jax.block_until_ready(step(*made))
      spent[name].append(time.perf_counter() - begun)
    if time.monotonic() - started > seconds:
      return {name: statistics.median(each) for name, each in spent.items()}


def divisors(count: int) -> list[int]:
  """Returns 1, the whole, and two divisors between, if there are any."""
  found = [n for n in range(1, count + 1) if count % n == 0]
  return sorted({*found[:2], *found[-2:]})


def choices(sizes: Sizes, table: Arrangement) -> dict[str, Steps]:
  """Returns the steps of every alternative of every choice."""
  classes, size, part = sizes.classes, sizes.images_per_class, table.part
  own = real_images_at_once(
    table, sizes.batch_real, sizes.network, sizes.image_shape
  )

  def condense(**change: Any) -> tuple[Callable, Callable]:
    made = dataclasses.replace(table, **change)
    whole = made.classes * sizes.batch_real if made.classes > 1 else 0
    return condensing(sizes, made, max(own, whole))

  counts = whole_numbers(_TRAINED)
  ways = [(count, 'vmapped') for count in counts]
  ways += [(count, 'folded') for count in counts[-1:]]
  return {
    'classes': {str(n): condense(classes=n) for n in divisors(classes)},
    'synthetic_images': {
      str(n * size): condense(synthetic_images=n * size)
      for n in divisors(classes)
    },
    'networks': {
      f'{count} {way}': training_step(sizes, count, way, part)
      for count, way in [(1, 'mapped'), *ways]
    },
    'part': {
      str(n): training_step(sizes, 1, 'mapped', n)
      for n in sorted({0, 20, sizes.training_batch // 2})
      if n < sizes.training_batch
    },
  }


def main(argv: list[str]) -> None:
  del argv
  sizes = Sizes(
    classes=_CLASSES.value,
    images_per_class=_SIZE.value,
    batch_real=_BATCH.value,
    real=_REAL.value,
    width=_WIDTH.value,
    depth=_DEPTH.value,
    image_shape=(_SIDE.value, _SIDE.value, 3),
  )
  platform = jax.devices()[0].platform
  table = get_arrangement(platform)
  device = describe_machine()['device']
  print(f'{device}, jax {jax.__version__}, width {sizes.width}')
  print('| choice | alternative | ms |\n|---|---|---|')
  found: dict[str, dict[str, float]] = {}
  best: dict[str, int] = {}
  compared = choices(sizes, table)
  for choice, steps in compared.items():
    share = _SECONDS.value / len(compared)
    found[choice] = time_by_turns(steps, share)
    for name, seconds in found[choice].items():
      print(f'| {choice} | {name} | {1e3 * seconds:.3g} |', flush=True)
    best[choice] = pick(choice, found[choice])
  arrangement = make_row(table, best, sizes.training_batch)
  print(show_row(platform, arrangement))
  if _RECORD.value:
    record = {
      'command': portable_command(shlex.join(['python', *sys.argv])),
      'device': device,
      'versions': package_versions(),
      'sizes': dataclasses.asdict(sizes),
      'seconds': found,
      'row': dataclasses.asdict(arrangement),
    }
    write_json(full_path(_RECORD.value, '--record'), record)


if __name__ == '__main__':
  start(main)
