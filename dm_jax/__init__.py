"""Dataset condensation with distribution matching, in JAX.

Makes a labelled image set tiny: a few synthetic images per class, from which
networks learn far more than from as many real ones (Zhao & Bilen, WACV 2023).
"""

from typing import TYPE_CHECKING, Any

from dm_jax.applications.config import ContinualConfig, SearchConfig
from dm_jax.applications.continual import ContinualLearner
from dm_jax.applications.rankings import compare_rankings
from dm_jax.applications.search import (
  early_stopping,
  keep_fitting,
  list_space,
  train_networks,
)
from dm_jax.condensing.condense import condense, condense_classes
from dm_jax.condensing.loop import Metrics
from dm_jax.condensing.plan import make_plan
from dm_jax.config.recipes import Recipe, recipe
from dm_jax.config.sections import (
  CondenseConfig,
  DataConfig,
  EmbedderConfig,
  EvalConfig,
  NetworkChoice,
  NetworkConfig,
  PretrainConfig,
)
from dm_jax.data.class_data import ClassData, Dataset
from dm_jax.data.load import load as load_data
from dm_jax.errors import Diverged, InputError
from dm_jax.matching.state import CondenseState, Problem, make_problem
from dm_jax.matching.step import init_state, make_step
from dm_jax.networks.linen import network_from_linen
from dm_jax.networks.registry import make_network, register_network
from dm_jax.selection.select import select
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import EvalResult, evaluate
from dm_jax.training.teacher import label_by_teacher
from dm_jax.types import Network
from dm_jax.version import __version__

if TYPE_CHECKING:
  from dm_jax.run.config import RunConfig

__all__ = [
  'ClassData',
  'CondenseConfig',
  'CondenseState',
  'ContinualConfig',
  'ContinualLearner',
  'DataConfig',
  'Dataset',
  'Diverged',
  'EmbedderConfig',
  'EvalConfig',
  'EvalResult',
  'InputError',
  'Metrics',
  'Network',
  'NetworkChoice',
  'NetworkConfig',
  'PretrainConfig',
  'Problem',
  'Recipe',
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
  'label_by_teacher',
  'list_space',
  'load_data',
  'make_network',
  'make_plan',
  'make_problem',
  'make_step',
  'network_from_linen',
  'recipe',
  'register_network',
  'select',
  'train_networks',
]


def __getattr__(name: str) -> Any:
  """Loads the settings of a run of the command only for who asks for them."""
  if name == 'RunConfig':
    from dm_jax.run.config import RunConfig

    return RunConfig
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
