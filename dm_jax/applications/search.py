"""Architecture search: what a small set's ranking of networks is worth.

Every network of a space is trained on the small set, which takes seconds, and
ranked. Trained on the whole set, which takes hours, they rank otherwise; how
much so is what `compare_rankings` measures.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
import dataclasses
import itertools
import math
import time
from typing import NamedTuple
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from dm_jax.arguments import (
  GROUPED,
  HOW_TO_LOAD,
  as_key,
  check_type,
  describe,
  refuse_traced,
)
from dm_jax.config.sections import NORMS, EvalConfig, NetworkConfig
from dm_jax.data.class_data import ClassData, check_whole
from dm_jax.devices.compile_clock import compile_seconds
from dm_jax.errors import InputError, choose
from dm_jax.images.normalise import normalise
from dm_jax.networks.family import Family, split_families
from dm_jax.networks.labels import label
from dm_jax.networks.registry import make_network
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training import pretrain as pretraining
from dm_jax.training.evaluate import (
  EvalResult,
  NetworksDiverged,
  evaluate_each,
  told_of_diverged,
  untold,
)
from dm_jax.types import AnyArray, AnyKey, ImageShape, Network

# By field of `NetworkConfig`; `paper` is Sec. 4.4's.
SPACES: dict[str, dict[str, tuple]] = {
  'paper': {
    'width': (32, 64, 128, 256),
    'depth': (1, 2, 3, 4),
    'norm': NORMS,
    'activation': ('sigmoid', 'relu', 'leaky_relu'),
    'pooling': ('none', 'max', 'avg'),
  },
  'small': {
    'width': (16,),
    'depth': (1, 2, 3),
    'norm': ('none', 'instance'),
    'activation': ('sigmoid', 'relu'),
    'pooling': ('max', 'avg'),
  },
}


class Candidate(NamedTuple):
  """A network of the space and what it reached.

  Attributes:
    network: which.
    result: of its M networks, see `evaluate`.
    seconds: that it took, with compilation.
    compile_seconds: of these, its share of what compilation took.
  """

  network: NetworkConfig
  result: EvalResult
  seconds: float
  compile_seconds: float = 0.0


def list_space(name: str) -> tuple[NetworkConfig, ...]:
  """Returns the networks of a space.

  Args:
    name: of `SPACES`: paper (720 ConvNets) or small (24).

  Raises:
    InputError: an unknown name.
  """
  choose('search.space', name, SPACES)
  fields = SPACES[name]
  base = NetworkConfig()
  return tuple(
    dataclasses.replace(base, **dict(zip(fields, values, strict=True)))
    for values in itertools.product(*fields.values())
  )


def keep_fitting(
  networks: Sequence[NetworkConfig], image_shape: ImageShape, classes: int
) -> tuple[NetworkConfig, ...]:
  """Returns the networks that can take the images, in their order.

  Args:
    networks: a space.
    image_shape: (H, W, D).
    classes: C.

  Raises:
    InputError: there is none.
  """
  _check_networks(networks)
  fitting, reason = [], None
  for network in networks:
    try:
      make_network(network, image_shape=image_shape, classes=classes)
      fitting.append(network)
    except InputError as error:
      reason = error
  if not fitting:
    raise InputError(
      f'no network of the search space takes these images: {reason}'
    ) from reason
  return tuple(fitting)


def train_networks(
  networks: Sequence[NetworkConfig],
  synthetic: SyntheticSet,
  images: AnyArray,
  labels: AnyArray,
  config: EvalConfig = EvalConfig(),
  *,
  key: AnyKey,
  callback: Callable[[int, int], None] | None = None,
  skip: Collection[NetworkConfig] = (),
) -> Iterator[Candidate]:
  """Trains ConvNets on one set and yields each as soon as it is tested.

  Those of equal shape (`networks.Family`) share all that is compiled, and are
  trained as many at a time as there are devices.

  Args:
    networks: different ConvNets.
    synthetic: what to train on.
    images: to test on, uint8 [N, H, W, D] or float in [0, 1]. To choose a
      network by the result, hold them out of the training set.
    labels: int [N].
    config: the protocol; `networks` of each architecture are trained.
    key: every draw follows from it; is consumed. A network's result depends on
      it alone, not on which others are trained, up to rounding.
    callback: gets (epochs done, epochs in all) of the networks in training.
      What it raises ends the training.
    skip: those of the networks that are trained already. The others are
      compiled as if all were trained, which makes their results the same.

  Returns:
    An iterator over the networks, family by family, in order of appearance. A
    warning names each of which networks diverged.

  Raises:
    InputError: at once, if a network is given twice or cannot take the images
      (see `keep_fitting`), and as for `evaluate`.

  Example:
    small = {
      trained.network: trained.result.mean
      for trained in train_networks(list_space('small'), synthetic,
                                    held_out_images, held_out_labels, key=key)
    }
  """
  refuse_traced('train_networks', synthetic, images, labels, key)
  check_type('synthetic', synthetic, SyntheticSet, remedy=HOW_TO_LOAD)
  check_type('config', config, EvalConfig)
  key = as_key(key)
  _check_networks(networks)
  made = [
    (family, family.make(synthetic.image_shape, synthetic.classes))
    for family in split_families(networks)
  ]
  numbers = jnp.arange(config.networks, dtype=jnp.int32)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
  together = max(1, jax.local_device_count() // config.networks)

  def train(family: Family, network: Network) -> Iterator[Candidate]:
    left = [member for member in family.members if member not in skip]
    for low in range(0, len(left), together):
      started, compiled = time.perf_counter(), compile_seconds()
      members = left[low : low + together]
      with untold():
        result = evaluate_each(
          synthetic,
          images,
          labels,
          config,
          keys=jnp.tile(keys, len(members)),
          network=network,
          constants=family.choose(
            member for member in members for _ in range(config.networks)
          ),
          callback=callback,
        )
      seconds = (time.perf_counter() - started) / len(members)
      compiling = (compile_seconds() - compiled) / len(members)
      for i, member in enumerate(members):
        own = slice(i * config.networks, (i + 1) * config.networks)
        part = EvalResult(
          result.accuracies[own], result.correct[own], result.finite[own]
        )
        _tell_of_diverged(member, part, config)
        yield Candidate(member, part, seconds, compiling)

  return itertools.chain.from_iterable(itertools.starmap(train, made))


def _check_networks(networks: Sequence[NetworkConfig]) -> None:
  """Raises InputError for a name, or for names, in the place of configs."""
  listed = isinstance(networks, Sequence) and not isinstance(networks, str)
  others = (
    [each for each in networks if not isinstance(each, NetworkConfig)]
    if listed
    else [networks]
  )
  if others:
    raise InputError(
      'networks must be a list of dm_jax.NetworkConfig, got'
      f' {describe(others[0])}: take dm_jax.list_space(name)'
    )


def _tell_of_diverged(
  network: NetworkConfig, result: EvalResult, config: EvalConfig
) -> None:
  """Warns that a network's place in a ranking says nothing of it."""
  if result.diverged:
    rate = config.training.learning_rate
    told = told_of_diverged(result.diverged, len(result.finite), rate)
    warnings.warn(f'{label(network)}: {told}', NetworksDiverged, stacklevel=3)


def early_stopping(
  data: ClassData, images: int, config: EvalConfig, *, key: AnyKey
) -> tuple[SyntheticSet, EvalConfig]:
  """Makes the whole set comparable to a small one: as many steps, no more.

  Args:
    data: the real training images.
    images: of the small set.
    config: the protocol on the small set.
    key: draws the images that training comes to see; is consumed.

  Returns:
    A set and a protocol that passes over it once, in the small set's number of
    steps and size of batch, in random order. Its images are random ones, none
    of which is twice among them before all are once. The rate stays at its
    start, since training is stopped early. The set has steps times batch
    images, as float32.
  """
  refuse_traced('early_stopping', data, key)
  check_type('data', data, ClassData, remedy=GROUPED)
  check_type('config', config, EvalConfig)
  key = as_key(key)
  check_whole(data, 'early stopping')
  batch = min(config.training.batch_size, images)
  steps = config.epochs_run * math.ceil(images / config.training.batch_size)
  real, labels = pretraining.flatten(data)
  passes = math.ceil(steps * batch / len(labels))
  permute = jax.vmap(jax.random.permutation, (0, None))
  orders = permute(jax.random.split(key, passes), np.arange(len(labels)))
  rows = np.sort(np.asarray(orders).reshape(-1)[: steps * batch])
  chosen = SyntheticSet.from_images(
    normalise(real[rows], data.mean, data.std),
    labels[rows],
    data.mean,
    data.std,
    data.names,
  )
  once = dataclasses.replace(
    config, epochs=0, schedule='half', batch_size=batch
  )
  return chosen, once
