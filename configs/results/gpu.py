"""What needs a GPU, ordered by worth, for some minutes of a borrowed one.

`benchmarks/results.py --plan=gpu` first checks that the card computes what it
should, then takes seconds per step, then condenses at the paper's whole budget:
20,000 steps, five sets of twenty networks, by DM and by the recipe
`trajectory`. Each goes on over several sittings. `--cells=` takes some of it.
"""

from dm_jax.configs.results.planned import (
  CIFAR10,
  TINY_IMAGENET,
  TINY_TILES,
  Command,
  Planned,
  epochs_within,
)
from dm_jax.report import paper

RECORD = 'gpu'
COMMON = {
  'network.depth': 3,
  'sets': 5,
  'evaluate.baselines': 'none',
}

_EPOCHS = 1000  # The paper's.
_CHECKS = {
  'golden': 'agrees with the golden files in float32',
  'twice': 'the same twice, deterministic operations',
  'resume': 'killed and resumed, the same to the byte',
  'precision': 'bfloat16 beside float32',
}
# By name: a flag of the script, and what JAX multiplies with by default.
_PRECISIONS = {
  'float32': ('float32', 'float32'),
  'tf32': ('float32', 'tensorfloat32'),
  'bfloat16': ('bfloat16', 'tensorfloat32'),
}
_IMAGES = 500  # Per class, to draw from; their number costs no time.


def _commands():
  for name, says in _CHECKS.items():
    arguments = 'benchmarks/checks.py', f'--what={name}'
    yield f'check_{name}', Command(says, arguments)
  for classes in (10, 100):
    for size in (10, 50, 1):
      yield from _speed(classes, size)


def _speed(classes, size):
  """Yields what takes seconds per step of the paper's method."""
  what = f'{classes} classes, {size} images per class'
  for name, (precision, default) in _PRECISIONS.items():
    arguments = (
      'benchmarks/condense.py',
      f'--config=configs/cifar10.py:ipc={size}',
      f'--config.condense.precision={precision}',
      '--random_data',
      f'--shape={classes},{_IMAGES},32,32,3',
      '--seconds=5',
    )
    environment = {'JAX_DEFAULT_MATMUL_PRECISION': default}
    yield (
      f'speed_{classes}_{size}_{name}',
      Command(f'{what}, {name}', arguments, environment),
    )
  beside = (
    'benchmarks/peer.py',
    '--what=condense',
    f'--images_per_class={size}',
    f'--classes={classes}',
    f'--real={_IMAGES}',
    '--rounds=5',
  )
  yield (
    f'speed_{classes}_{size}_torch',
    Command(f'{what}, beside PyTorch', beside),
  )


def _cells(config, classes, size, images):
  """Yields DM and the recipe; networks take about as many steps on both."""
  plain = classes * size
  yield (
    f'{config}_{size}_dm_20000',
    Planned(
      'DM',
      config,
      f'ipc={size}',
      {'evaluate.epochs': _EPOCHS},
      # Of another set the paper's figure is none of these 100 classes'.
      beside=paper.find(config, 'dm', size) if config == 'cifar10' else None,
      images=images,
    ),
  )
  cell = Planned(
    'recipe trajectory',
    config,
    f'ipc={size}:recipe=trajectory',
    TINY_TILES if images == TINY_IMAGENET else {},
    images=images,
    pool='pool_long_128',
  )
  epochs = epochs_within(_EPOCHS, plain, cell.trained_on(plain))
  sets = {'evaluate.epochs': epochs, **cell.sets}
  yield f'{config}_{size}_trajectory', cell._replace(sets=sets)


COMMANDS: dict[str, Command] = dict(_commands())
CELLS: dict[str, Planned] = {
  name: cell
  for cells in (
    _cells('cifar10', 10, 10, CIFAR10),
    _cells('cifar10', 10, 50, CIFAR10),
    _cells('cifar10', 10, 1, CIFAR10),
    _cells('tiny_imagenet', 100, 10, TINY_IMAGENET),
  )
  for name, cell in cells
}
