"""Dataset condensation with distribution matching, in JAX.

Makes a labelled image set tiny: a few synthetic images per class on which
networks train almost as well (Zhao & Bilen, WACV 2023).
"""

from dm_jax.architecture_search import (
  compare_rankings,
  early_stopping,
  keep_fitting,
  list_space,
  train_networks,
)
from dm_jax.condense import (
  CondenseState,
  Problem,
  condense,
  condense_classes,
  init_state,
  make_problem,
  make_step,
)
from dm_jax.config import (
  CondenseConfig,
  ContinualConfig,
  DataConfig,
  EvalConfig,
  NetworkChoice,
  NetworkConfig,
  PretrainConfig,
  RunConfig,
  SearchConfig,
)
from dm_jax.continual import ContinualLearner
from dm_jax.data import ClassData, Dataset
from dm_jax.data import load as load_data
from dm_jax.evaluate import EvalResult, evaluate
from dm_jax.loop import Metrics
from dm_jax.networks import (
  make_network,
  network_from_linen,
  register_network,
)
from dm_jax.selection import select
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.types import Diverged, InputError, Network
from dm_jax.version import __version__

__all__ = [
  'ClassData',
  'CondenseConfig',
  'CondenseState',
  'ContinualConfig',
  'ContinualLearner',
  'DataConfig',
  'Dataset',
  'Diverged',
  'EvalConfig',
  'EvalResult',
  'InputError',
  'Metrics',
  'Network',
  'NetworkChoice',
  'NetworkConfig',
  'PretrainConfig',
  'Problem',
  'RunConfig',
  'SearchConfig',
  'SyntheticSet',
  '__version__',
  'compare_rankings',
  'condense',
  'condense_classes',
  'early_stopping',
  'evaluate',
  'init_state',
  'keep_fitting',
  'list_space',
  'load_data',
  'make_network',
  'make_problem',
  'make_step',
  'network_from_linen',
  'register_network',
  'select',
  'train_networks',
]
