"""How the cost of a step grows with classes and shrinks with devices.

  python benchmarks/scaling.py --classes=10,100,1000 --devices=1,2 \\
      --plot=benchmarks/scaling.png

Every point runs in a process of its own, on random pixels: seconds per step,
per class, to compile, and the process's peak memory. On a CPU, devices share
the cores, so that several of them show what dealing costs and no more.
"""

import json
import os
import statistics
import subprocess
import sys

from absl import flags
import jax
import numpy as np

from benchmarks.start import start, whole_numbers
from dm_jax.condensing.condense import condense_classes
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.networks.registry import make_network
from dm_jax.run.facts import describe_machine

_CLASSES = flags.DEFINE_list('classes', ['10', '100', '1000'], 'C.')
_DEVICES = flags.DEFINE_list('devices', ['1', '2'], 'Devices in use.')
_IMAGES = flags.DEFINE_integer('images', 100, 'Real images of a class.')
_SIZE = flags.DEFINE_integer('size', 32, 'Pixels: size × size × 3.')
_WIDTH = flags.DEFINE_integer('width', 32, 'Of the ConvNet.')
_BATCH_REAL = flags.DEFINE_integer('batch_real', 64, 'B.')
_PER_CLASS = flags.DEFINE_integer('images_per_class', 10, 'S.')
_AT_ONCE = flags.DEFINE_integer('classes_at_once', 0, 'As in the config.')
_PLACE = flags.DEFINE_string('place', 'auto', 'As data.placement.')
_STEPS = flags.DEFINE_integer('steps', 7, 'Compiled calls to measure.')
_PLOT = flags.DEFINE_string('plot', None, 'A PNG to draw the points into.')
_POINT = flags.DEFINE_boolean('point', False, 'Measure one point, as JSON.')


def _data(classes: int) -> ClassData:
  shape = (classes, _IMAGES.value, _SIZE.value, _SIZE.value, 3)
  pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  return ClassData(
    images=pixels,
    counts=np.full(classes, _IMAGES.value, np.int32),
    mean=(0.5,) * 3,
    std=(0.25,) * 3,
    class_names=tuple(map(str, range(classes))),
  )


def measure(classes: int) -> dict:
  """Condenses for some steps on all devices of this process."""
  data = _data(classes)
  shape = data.image_shape
  depth = 4 if _SIZE.value >= 64 else 3
  network = make_network(
    'convnet',
    width=_WIDTH.value,
    depth=depth,
    image_shape=shape,
    classes=classes,
  )
  seconds: list[float] = []
  compiled: list[float] = []

  def callback(_, metrics):
    compiled.append(metrics.compile_seconds)
    seconds.append(metrics.seconds / len(metrics.losses))

  config = CondenseConfig(
    images_per_class=_PER_CLASS.value,
    batch_real=_BATCH_REAL.value,
    classes_at_once=_AT_ONCE.value,
    steps=_STEPS.value + 1,
    log_every=1,
  )
  condense_classes(
    data,
    config,
    key=jax.random.key(0),
    network=network,
    callback=callback,
    place=_PLACE.value,
  )
  # The first step touches all memory for the first time.
  return {
    'seconds': statistics.median(seconds[1:]),
    'compile_seconds': compiled[0],
    'peak_bytes': describe_machine()['peak_bytes'],
    'data_bytes': data.images.nbytes,
  }


def _in_process(classes: int, devices: int) -> dict:
  flag = f' --xla_force_host_platform_device_count={devices}'
  environment = {
    **os.environ,
    'XLA_FLAGS': os.environ.get('XLA_FLAGS', '') + flag,
  }
  command = [sys.executable, '-m', 'benchmarks.scaling', *sys.argv[1:]]
  done = subprocess.run(
    [*command, '--point', f'--classes={classes}'],
    env=environment,
    check=True,
    capture_output=True,
    text=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def _draw(rows: list[dict], path: str) -> None:
  import matplotlib.pyplot as plt

  figure, axes = plt.subplots(figsize=(6, 4), layout='constrained')
  for devices in sorted({row['devices'] for row in rows}):
    points = [row for row in rows if row['devices'] == devices]
    axes.loglog(
      [row['classes'] for row in points],
      [row['seconds'] for row in points],
      marker='o',
      label=f'{devices} device{"s" * (devices > 1)}',
    )
  axes.set_xlabel('classes')
  axes.set_ylabel('seconds per step')
  axes.grid(alpha=0.3)
  axes.legend()
  figure.savefig(path, dpi=120)


def main(argv: list[str]) -> None:
  del argv
  if _POINT.value:
    print(json.dumps(measure(whole_numbers(_CLASSES, 1)[0])))
    return
  counts, numbers = whole_numbers(_DEVICES), whole_numbers(_CLASSES)
  print(
    '| classes | devices | step | per class | compile | peak memory | data |'
  )
  print('|---|---|---|---|---|---|---|')
  rows = []
  for devices in counts:
    for classes in numbers:
      row = _in_process(classes, devices)
      rows.append({**row, 'classes': classes, 'devices': devices})
      print(
        f'| {classes} | {devices} | {row["seconds"] * 1e3:,.0f} ms |'
        f' {row["seconds"] / classes * 1e3:.2f} ms |'
        f' {row["compile_seconds"]:.1f} s |'
        f' {row["peak_bytes"] / 2**20:,.0f} MiB |'
        f' {row["data_bytes"] / 2**20:,.0f} MiB |',
        flush=True,
      )
  if _PLOT.value:
    _draw(rows, _PLOT.value)


if __name__ == '__main__':
  start(main)
