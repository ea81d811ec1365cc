"""Condenses a set of ImageNet's shape at 64×64 from a file, in bounded memory.

  python benchmarks/memory_map.py --file=/tmp/images.npy

Makes the file if it is not there: 1,000 classes of 1,300 random images, 16 GB.
Then condenses it with the images on the host, and prints the process's peak
memory, what it had to hold, and how long the devices waited for images. A set
of one's own gets such a file by `data.cache`.
"""

from pathlib import Path
import threading
import time

from absl import flags
import jax
import numpy as np

from benchmarks.start import start, whole_numbers
from dm_jax.condensing import loop
from dm_jax.condensing.condense import condense_classes
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.files import full_path
from dm_jax.networks.registry import make_network

_FILE = flags.DEFINE_string('file', None, 'An .npy file, made if need be.')
_SHAPE = flags.DEFINE_list(
  'shape', ['1000', '1300', '64', '64', '3'], 'C, images per class, H, W, D.'
)
_WIDTH = flags.DEFINE_integer('width', 16, 'Of the ConvNet.')
_BATCH_REAL = flags.DEFINE_integer('batch_real', 32, 'B.')
_AT_ONCE = flags.DEFINE_integer('classes_at_once', 50, 'As in the config.')
_STEPS = flags.DEFINE_integer('steps', 4, 'Of condensing.')
_PAUSE = 0.2  # Seconds between two looks at the memory.


def make_file(path: Path, shape: tuple[int, ...]) -> None:
  """Fills a file with random pixels, class by class."""
  images = np.lib.format.open_memmap(path, 'w+', np.uint8, shape)
  draw = np.random.default_rng(0)
  block = np.frombuffer(draw.bytes(images[0].nbytes), np.uint8)
  for row in images:
    shift = int(draw.integers(block.size))  # No two classes are alike.
    row[...] = np.roll(block, shift).reshape(row.shape)
  images.flush()


def resident() -> dict[str, int]:
  """Returns the process's resident bytes, its own and those of mapped files."""
  with open('/proc/self/status', encoding='ascii') as status:
    lines = [line.split() for line in status]
  wanted = ('VmRSS:', 'RssAnon:', 'RssFile:')
  return {line[0]: int(line[1]) * 1024 for line in lines if line[0] in wanted}


class Watch(threading.Thread):
  """Keeps the largest resident memory seen."""

  def __init__(self):
    super().__init__(daemon=True)
    self.peak: dict[str, int] = {}

  def run(self) -> None:
    while True:
      for name, value in resident().items():
        self.peak[name] = max(self.peak.get(name, 0), value)
      time.sleep(_PAUSE)


def condense(data: ClassData) -> list[loop.Metrics]:
  """Condenses from the host; returns what the steps took."""
  network = make_network(
    'convnet',
    width=_WIDTH.value,
    depth=4,
    image_shape=data.image_shape,
    classes=data.classes,
  )
  config = CondenseConfig(
    images_per_class=1,
    batch_real=_BATCH_REAL.value,
    classes_at_once=_AT_ONCE.value,
    steps=_STEPS.value,
  )
  seen: list[loop.Metrics] = []
  condense_classes(
    data,
    config,
    key=jax.random.key(0),
    network=network,
    callback=lambda _, metrics: seen.append(metrics),
    place='host',
  )
  return seen


def main(argv: list[str]) -> None:
  del argv
  shape = whole_numbers(_SHAPE, 5)
  path = full_path(_FILE.value or '', '--file')
  if not path.exists():
    make_file(path, shape)
  images = np.load(path, mmap_mode='r')
  data = ClassData(
    images=images,
    counts=np.full(len(images), images.shape[1], np.int32),
    mean=(0.5,) * 3,
    std=(0.25,) * 3,
    class_names=tuple(map(str, range(len(images)))),
  )
  watch = Watch()
  watch.start()
  for metrics in condense(data):
    steps = len(metrics.losses)
    print(
      f'step {metrics.step}: {metrics.seconds / steps:.1f} s a step, in calls'
      f' of {steps}; {metrics.waited:.1f} of {metrics.seconds:.1f} s waited for'
      ' images'
    )
  print(f'data {images.nbytes / 1e9:.1f} GB on disk')
  for name, value in watch.peak.items():
    print(f'peak {name:8} {value / 2**30:.2f} GiB')


if __name__ == '__main__':
  flags.mark_flag_as_required('file')
  start(main)
