"""Chooses settings of the recipe `trajectory` on held-out training images.

  python benchmarks/settings.py --workdir=runs/settings --ipc=10 \\
      --config.data.name=folder --config.data.dir=cifar10 \\
      --config.data.statistics=cifar10 --config.network.width=32 \\
      --record=benchmarks/records/settings_cifar10_width_32.json

condenses by each of `ARRANGEMENTS`, trains two networks on each set and tests
them on a tenth of the training images that was held out. The test set is not
read. What the record holds already is skipped, so that the same command goes on
after a stop; pools and targets are kept in the workdir. With --what=gradients
it says how long the gradient of each term of the loss is at the start, at
weight 1: a term that is to count as much as another takes the quotient.
"""

import dataclasses
from pathlib import Path
import shlex
import sys
import time
from typing import Any

from absl import flags
import jax
from ml_collections import config_flags
import numpy as np

from benchmarks.start import start
from dm_jax.condensing.condense import condense_classes, made_from
from dm_jax.condensing.plan import make_plan
from dm_jax.condensing.targets import make_targets_ahead
from dm_jax.config.fields import build
from dm_jax.config.recipes import recipe
from dm_jax.config.sections import (
  CondenseConfig,
  DataConfig,
  EmbedderConfig,
  EvalConfig,
  NetworkConfig,
  PretrainConfig,
)
from dm_jax.configs import cifar10
from dm_jax.data.digest import fingerprint
from dm_jax.data.load import load
from dm_jax.data.split import hold_out
from dm_jax.errors import InputError
from dm_jax.files import full_path, read_json, write_json
from dm_jax.matching.state import make_problem
from dm_jax.networks.labels import label
from dm_jax.networks.registry import make_network
from dm_jax.run.facts import describe_machine
from dm_jax.synthetic_set import SyntheticSet, package_versions
from dm_jax.training.evaluate import evaluate
from dm_jax.training.pool import make_pool

_WORKDIR = flags.DEFINE_string('workdir', 'runs/settings', 'Pools and targets.')
_RECORD = flags.DEFINE_string('record', '', 'JSON file; is added to.')
_WHAT = flags.DEFINE_enum(
  'what', 'settings', ('settings', 'gradients'), 'What to measure.'
)
_IPC = flags.DEFINE_integer('ipc', 10, 'Stored images per class.')
_ONLY = flags.DEFINE_list('only', [], 'Names; all where there are none.')
_CONFIG = config_flags.DEFINE_config_dict(
  'config', cifar10.get_config(), 'Data and network.'
)

_HELD_OUT = 0.1
_KEY, _POOL_KEY, _TARGETS_KEY, _JUDGE_KEY = 0, 100, 55, 7
_EPOCHS = {1: 500, 10: 150}  # Of judging; else:
_MANY_EPOCHS = 60
_TRAININGS = 8  # Epochs of the pool's.
_DRAWS = 8  # Of networks and real images.
_DISCREPANCIES = ('mean', 'covariance', 'mmd', 'characteristic')


@dataclasses.dataclass(frozen=True)
class Arrangement:
  """Settings that are tried, beside those that all have.

  Attributes:
    condense: of `CondenseConfig`.
    embedder: of `EmbedderConfig`.
    at: steps at which the set is judged, beside the last one.
    trainings: epochs of the pool's trainings.
    judged: epochs of judging, where they are not as for the others: sets of
      more training images take as many steps in fewer epochs.
  """

  condense: dict[str, Any]
  embedder: dict[str, Any] = dataclasses.field(default_factory=dict)
  at: tuple[int, ...] = ()
  trainings: int = _TRAININGS
  judged: int | None = None


def _by_recipe(per_class: int) -> dict[str, Arrangement]:
  """Returns the recipe as it is, but for how its targets are made."""
  made = recipe(
    'trajectory_short', image_shape=(32, 32, 3), images_per_class=per_class
  )
  chosen = dataclasses.asdict(made.condense)
  del chosen['images_per_class']
  as_chosen = Arrangement(
    chosen,
    trainings=made.pretrain.epochs,
    judged=100 if per_class == 10 else None,
  )
  kinds: dict[str, dict[str, Any]] = {
    f'recipe_draws_{draws}': {'draws': draws} for draws in (1, 4, 16)
  }
  kinds['recipe_fresh'] = {'targets': 'fresh'}
  return {
    name: dataclasses.replace(as_chosen, embedder=embedder)
    for name, embedder in kinds.items()
  }


# What all have: tiles, every augmentation, four short trainings.
CONDENSE = CondenseConfig(
  storage='tiles',
  factor=2,
  augment='color+crop+cutout',
  clamp=True,
  momentum=0.0,
  batch_real=128,
  decoded_at_once=200,
)
EMBEDDER = EmbedderConfig(
  name='trajectory', networks=4, ahead=0, targets='cached', draws=4
)
PRETRAIN = PretrainConfig(batch_size=128, learning_rate=0.02)
ARRANGEMENTS: dict[int, dict[str, Arrangement]] = {
  1: {
    'weight_0.5_rate_5': Arrangement(
      {'steps': 600, 'cross_entropy': 0.5, 'learning_rate': 5.0}
    ),
    'weight_0_rate_5': Arrangement(
      {'steps': 600, 'cross_entropy': 0.0, 'learning_rate': 5.0}
    ),
    'weight_2.5_rate_5': Arrangement(
      {'steps': 600, 'cross_entropy': 2.5, 'learning_rate': 5.0}
    ),
    'weight_10_rate_5': Arrangement(
      {'steps': 1500, 'cross_entropy': 10.0, 'learning_rate': 5.0}
    ),
    'weight_10_rate_1.5': Arrangement(
      {'steps': 1500, 'cross_entropy': 10.0, 'learning_rate': 1.5}
    ),
    'weight_40_rate_1': Arrangement(
      {'steps': 1500, 'cross_entropy': 40.0, 'learning_rate': 1.0}
    ),
    'weight_2.5_rate_5_long': Arrangement(
      {'steps': 3000, 'cross_entropy': 2.5, 'learning_rate': 5.0}
    ),
    'factor_3_rate_5': Arrangement(
      {'steps': 1500, 'cross_entropy': 10.0, 'learning_rate': 5.0, 'factor': 3}
    ),
    'weight_5_rate_1.5': Arrangement(
      {'steps': 1500, 'cross_entropy': 5.0, 'learning_rate': 1.5}
    ),
    'weight_10_rate_0.6': Arrangement(
      {'steps': 1500, 'cross_entropy': 10.0, 'learning_rate': 0.6}
    ),
    'factor_3_rate_2': Arrangement(
      {'steps': 1500, 'cross_entropy': 10.0, 'learning_rate': 2.0, 'factor': 3}
    ),
    'factor_4_rate_5': Arrangement(
      {'steps': 1500, 'cross_entropy': 10.0, 'learning_rate': 5.0, 'factor': 4}
    ),
    'factor_3_rate_10': Arrangement(
      {'steps': 1500, 'cross_entropy': 10.0, 'learning_rate': 10.0, 'factor': 3}
    ),
    'factor_3_rate_2_four_epochs': Arrangement(
      {'steps': 1500, 'cross_entropy': 10.0, 'learning_rate': 2.0, 'factor': 3},
      trainings=4,
    ),
    **_by_recipe(1),
  },
  10: {
    'fresh': Arrangement(
      {
        'cross_entropy': 2.5,
        'learning_rate': 5.0,
        'steps': 300,
        'batch_real': 64,
      },
      embedder={'targets': 'fresh'},
    ),
    'fresh_rate_10': Arrangement(
      {
        'cross_entropy': 2.5,
        'learning_rate': 10.0,
        'steps': 300,
        'batch_real': 64,
      },
      embedder={'targets': 'fresh'},
    ),
    'cached': Arrangement(
      {'cross_entropy': 2.5, 'learning_rate': 5.0, 'steps': 300}
    ),
    'sixteen_at_once': Arrangement(
      {
        'cross_entropy': 2.5,
        'learning_rate': 5.0,
        'steps': 600,
        'decoded_at_once': 16,
      },
      at=(300,),
    ),
    'one_training': Arrangement(
      {'cross_entropy': 2.5, 'learning_rate': 5.0, 'steps': 300},
      embedder={'networks': 1},
    ),
    'weight_10': Arrangement(
      {'cross_entropy': 10.0, 'learning_rate': 5.0, 'steps': 300}
    ),
    'factor_3_rate_10': Arrangement(
      {'cross_entropy': 2.5, 'learning_rate': 10.0, 'steps': 300, 'factor': 3}
    ),
    'pair': Arrangement(
      {
        'cross_entropy': 2.5,
        'learning_rate': 5.0,
        'batch_real': 64,
        'steps': 600,
      },
      embedder={'ahead': 6, 'targets': 'fresh'},
      at=(300,),
    ),
    'cached_judged_longer': Arrangement(
      {'cross_entropy': 2.5, 'learning_rate': 5.0, 'steps': 300}, judged=340
    ),
    'factor_3_rate_10_four_epochs': Arrangement(
      {'steps': 800, 'cross_entropy': 2.5, 'learning_rate': 10.0, 'factor': 3},
      at=(300,),
      trainings=4,
    ),
    'factor_3_rate_5_four_epochs': Arrangement(
      {'steps': 300, 'cross_entropy': 2.5, 'learning_rate': 5.0, 'factor': 3},
      trainings=4,
    ),
    **_by_recipe(10),
  },
  50: {
    'all_at_once': Arrangement(
      {
        'steps': 150,
        'cross_entropy': 0.5,
        'learning_rate': 25.0,
        'decoded_at_once': 200,
      }
    ),
    'forty_at_once': Arrangement(
      {
        'steps': 600,
        'cross_entropy': 0.5,
        'learning_rate': 25.0,
        'decoded_at_once': 40,
      },
      at=(150,),
    ),
    'forty_at_once_rate_10_four_epochs': Arrangement(
      {
        'steps': 1500,
        'cross_entropy': 0.5,
        'learning_rate': 10.0,
        'decoded_at_once': 40,
      },
      at=(600,),
      trainings=4,
    ),
    **_by_recipe(50),
  },
}


class Bench:
  """The data, and what arrangements share."""

  def __init__(self, data: DataConfig, network: NetworkConfig, folder: Path):
    """Loads the data and holds a part of the training images out."""
    dataset = load(data)
    self.split = hold_out(dataset.train, _HELD_OUT, 0)
    self.train = self.split.train
    self.network = make_network(
      network,
      image_shape=self.train.image_shape,
      classes=self.train.classes,
    )
    self.folder = folder
    # What pools and targets of the folder must be of.
    self.made_of = f'{fingerprint(dataset)}, {label(network)}'

  def pool_folder(self, epochs: int) -> Path:
    """Returns where trainings of so many epochs are kept."""
    return self.folder / f'pool_{epochs}'

  def pool(self, config: EmbedderConfig, epochs: int):
    """Returns the snapshots of trainings."""
    return make_pool(
      self.network,
      self.train,
      self.split.images,
      self.split.labels,
      config,
      dataclasses.replace(PRETRAIN, epochs=epochs),
      self.pool_folder(epochs),
      jax.random.key(_POOL_KEY),
      fingerprint=self.made_of,
    )

  def measure(self, arrangement: Arrangement, per_class: int) -> dict[str, Any]:
    """Condenses by an arrangement; returns accuracies and seconds.

    `seconds_ahead` are of what is made once, near 0 where the workdir has it;
    `seconds`, by step, hold compiling.
    """
    config = dataclasses.replace(
      CONDENSE, images_per_class=per_class, **arrangement.condense
    )
    embedder = dataclasses.replace(EMBEDDER, **arrangement.embedder)
    snapshots = EmbedderConfig(name=embedder.name, networks=embedder.networks)
    ahead = {}
    started = time.perf_counter()
    pool = self.pool(snapshots, arrangement.trainings)
    ahead['pool'] = time.perf_counter() - started
    cached = None
    started = time.perf_counter()
    if embedder.cached:
      cached = make_targets_ahead(
        make_plan(config, self.train, self.network),
        self.train,
        pool.variables,
        embedder,
        jax.random.key(_TARGETS_KEY),
        self.pool_folder(arrangement.trainings),
        fingerprint=self.made_of,
      )
    ahead['targets'] = time.perf_counter() - started
    states = {}
    started = time.perf_counter()
    seconds: dict[str, float] = {}

    def callback(state, metrics) -> None:
      if metrics.step in arrangement.at:
        states[metrics.step] = state
        seconds[str(metrics.step)] = time.perf_counter() - started

    made = condense_classes(
      self.train,
      config,
      key=jax.random.key(_KEY),
      network=self.network,
      embedder=pool.embedder(embedder),
      cached=cached,
      callback=callback,
    )
    seconds[str(config.steps)] = time.perf_counter() - started
    sets = {
      str(step): made_from(state, self.train, config)
      for step, state in states.items()
    } | {str(config.steps): made}
    epochs = arrangement.judged or _EPOCHS.get(per_class, _MANY_EPOCHS)
    return {
      'condense': dataclasses.asdict(config),
      'embedder': dataclasses.asdict(embedder),
      'trainings': arrangement.trainings,
      'judged': epochs,
      'seconds_ahead': ahead,
      'seconds': seconds,
      'accuracies': {
        step: self._judge(one, epochs) for step, one in sets.items()
      },
    }

  def gradients(self, per_class: int) -> dict[str, list[float]]:
    """Returns each term's gradient by the images, Euclidean, of some draws."""
    config = dataclasses.replace(CONDENSE, images_per_class=per_class)
    alone = {
      name: dataclasses.replace(config, discrepancy=name)
      for name in _DISCREPANCIES
    }
    # There is always a discrepancy beside it, which is taken off again.
    alone['cross_entropy'] = dataclasses.replace(config, cross_entropy=1.0)
    snapshots = EmbedderConfig(name='trajectory', networks=EMBEDDER.networks)
    pool = self.pool(snapshots, _TRAININGS)
    embedder = pool.embedder(dataclasses.replace(snapshots, ahead=0))
    made = {name: self._gradients(one, embedder) for name, one in alone.items()}
    made['cross_entropy'] = made['cross_entropy'] - made['mean']
    return {
      name: np.linalg.norm(each.reshape(len(each), -1), axis=1).tolist()
      for name, each in made.items()
    }

  def _gradients(self, config: CondenseConfig, embedder) -> np.ndarray:
    algorithm = make_plan(config, self.train, self.network).algorithm
    state = algorithm.init(self.train, jax.random.key(_KEY), config.init)
    gradient = jax.jit(lambda *args: algorithm.gradient(*args)[0])
    keys = jax.random.split(jax.random.key(_KEY), _DRAWS)
    problems = [make_problem(self.train, key, embedder) for key in keys]
    return np.stack([gradient(state, problem) for problem in problems])

  def _judge(self, made: SyntheticSet, epochs: int) -> tuple[float, ...]:
    return evaluate(
      made,
      self.split.images,
      self.split.labels,
      EvalConfig(networks=2, epochs=epochs),
      key=jax.random.key(_JUDGE_KEY),
      network=self.network,
    ).accuracies


def check_alike(
  path: Path, record: dict[str, Any], network: NetworkConfig
) -> None:
  """Raises InputError if figures measured now do not belong into a record.

  Args:
    path: of the record, for the message.
    record: that is known, or just begun.
    network: whose figures are to come.
  """
  of_record = label(build(NetworkConfig, record['network']))
  for what, then, now in (
    ('network', of_record, label(network)),
    ('device', record['device'], describe_machine()['device']),
    ('versions', record['versions'], package_versions()),
  ):
    if then != now:
      raise InputError(
        f'{path} was measured with {what} {then}, now {now}: give another'
        ' --record'
      )


def main(_: list[str]) -> None:
  if _IPC.value not in ARRANGEMENTS:
    raise InputError(f'ipc must be one of {[*ARRANGEMENTS]}')
  settings = _CONFIG.value.to_dict()
  folder = full_path(_WORKDIR.value, '--workdir')
  network = build(NetworkConfig, settings['network'])
  bench = Bench(build(DataConfig, settings['data']), network, folder)
  path = full_path(_RECORD.value or folder / 'settings.json')
  record = read_json(path) or {
    'command': shlex.join(['python', *sys.argv]),
    'device': describe_machine()['device'],
    'versions': package_versions(),
    'network': settings['network'],
    # Each figure has the epochs of its own trainings.
    'pretrain': {
      name: value
      for name, value in dataclasses.asdict(PRETRAIN).items()
      if name != 'epochs'
    },
    'figures': {},
  }
  check_alike(path, record, network)
  if _WHAT.value == 'gradients':
    made = bench.gradients(_IPC.value)
    record['gradients'] = record.get('gradients', {}) | {str(_IPC.value): made}
    write_json(path, record)
    for name, lengths in made.items():
      print(f'{name}: {np.median(lengths):.3g}')
    return
  figures = record['figures'].setdefault(str(_IPC.value), {})
  for name, arrangement in ARRANGEMENTS[_IPC.value].items():
    if name in figures or (_ONLY.value and name not in _ONLY.value):
      continue
    figures[name] = bench.measure(arrangement, _IPC.value)
    write_json(path, record)
    last = [*figures[name]['accuracies'].values()][-1]
    print(f'{name}: {100 * np.mean(last):.1f} on held-out images')


if __name__ == '__main__':
  start(main)
