"""What a condensing step costs, beside what its arithmetic must cost.

  python benchmarks/condense.py --config=configs/cifar10.py --random_data

Any config and any of its fields can be given, as for launch.py. The least cost
of a step is that of the operations it cannot do without (the forward pass of
the real images, the forward and the backward pass of the synthetic ones) at the
rate at which this machine multiplies matrices of the step's precision, measured
in the same process between the steps.
"""

import contextlib
import shlex
import statistics
import sys
import time

from absl import flags
import jax
from ml_collections import config_flags
import numpy as np

from benchmarks.commit import commit
from benchmarks.portable import portable_command, portable_settings
from benchmarks.rates import embed_flops, matrix_rate
from benchmarks.start import start, whole_numbers
from dm_jax.condensing import loop
from dm_jax.condensing.condense import condense_classes
from dm_jax.data.class_data import ClassData
from dm_jax.data.load import load as load_data
from dm_jax.errors import InputError
from dm_jax.files import full_path, write_json
from dm_jax.images.storage import get_storage
from dm_jax.networks.registry import make_network
from dm_jax.run.config import RunConfig
from dm_jax.run.facts import describe_machine
from dm_jax.synthetic_set import package_versions

_CONFIG = config_flags.DEFINE_config_file('config', None, 'As for launch.py.')
_SECONDS = flags.DEFINE_float('seconds', 30.0, 'How long to measure.')
_RANDOM = flags.DEFINE_boolean(
  'random_data', False, 'Random pixels of --shape instead of a data set.'
)
_SHAPE = flags.DEFINE_list(
  'shape', ['10', '5000', '32', '32', '3'], 'C, images per class, H, W, D.'
)
_RECORD = flags.DEFINE_string('record', '', 'JSON file to write.')


class _Enough(Exception):
  """Ends the measurement."""


def load(config: RunConfig) -> ClassData:
  if not _RANDOM.value:
    return load_data(config.data).train
  classes, count, *shape = whole_numbers(_SHAPE, 5)
  draw = np.random.default_rng(0).integers
  pixels = draw(0, 256, (classes * count, *shape), np.uint8)
  return ClassData.from_arrays(pixels, np.repeat(np.arange(classes), count))


def measure(train, config: RunConfig, network) -> tuple[list, list, float]:
  """Returns seconds per step, matrix rates between, and seconds to compile."""
  per_step: list[float] = []
  precision = config.condense.precision
  rates = [matrix_rate(precision)]
  compiled: list[float] = []
  deadline = time.monotonic() + _SECONDS.value

  def callback(_, metrics: loop.Metrics) -> None:
    compiled.append(metrics.compile_seconds)
    if metrics.step > 1:  # The first step also touches all memory first.
      per_step.append(metrics.seconds / len(metrics.losses))
    rates.append(matrix_rate(precision))
    if time.monotonic() > deadline and len(per_step) >= 7:
      raise _Enough

  with contextlib.suppress(_Enough):
    condense_classes(
      train,
      config.condense,
      key=jax.random.key(config.seed),
      network=network,
      callback=callback,
    )
  return per_step, rates, compiled[0]


def main(argv: list[str]) -> None:
  del argv
  config = RunConfig.from_dict(_CONFIG.value.to_dict())
  if config.embedder.name != 'random':
    raise InputError(
      'condense.py measures steps of random networks: set'
      ' --config.embedder.name=random and --config.condense.cross_entropy=0, or'
      ' measure a step of the recipe by peer.py --recipe=trajectory'
    )
  train = load(config)
  network = make_network(
    config.network, image_shape=train.image_shape, classes=train.classes
  )
  per_step, rates, compile_seconds = measure(train, config, network)
  real = int(np.minimum(train.counts, config.condense.batch_real).sum())
  synthetic = train.classes * get_storage(config.condense.stored_as).trained_on(
    config.condense.largest, config.condense.decoded_at_once
  )
  # Only the synthetic pixels need a gradient: backward costs one more pass.
  flops = embed_flops(network, train.image_shape) * (real + 2 * synthetic)
  seconds = statistics.median(per_step)
  rate = statistics.median(rates)
  machine = describe_machine()
  figures = {
    'command': portable_command(shlex.join(['python', *sys.argv])),
    'commit': commit(),
    'settings': portable_settings(config.to_dict()),
    'device': machine['device'],
    'versions': package_versions(),
    'compile_seconds': compile_seconds,
    'seconds_per_step': seconds,
    'images_per_second': (real + synthetic) / seconds,
    'flops_per_step': flops,
    'flops_per_second': flops / seconds,
    'matrix_flops_per_second': rate,
    'share_of_matrix_rate': flops / seconds / rate,
    'peak_bytes': machine['peak_bytes'],
  }
  print(f'device            {machine["device"]}, jax {jax.__version__}')
  print(f'compile           {compile_seconds:.1f} s')
  print(f'step              {seconds * 1e3:.1f} ms (median of {len(per_step)})')
  print(f'images            {(real + synthetic) / seconds:,.0f} a second')
  print(f'needed            {flops / 1e9:.1f} GFLOP a step')
  print(f'achieved          {flops / seconds / 1e9:.1f} GFLOP/s')
  print(f'matrix product    {rate / 1e9:.1f} GFLOP/s (median of {len(rates)})')
  print(f'step / least cost {seconds * rate / flops:.2f}')
  print(f'peak memory       {machine["peak_bytes"] / 2**20:,.0f} MiB')
  if _RECORD.value:
    write_json(full_path(_RECORD.value, '--record'), figures)


if __name__ == '__main__':
  flags.mark_flag_as_required('config')
  start(main)
