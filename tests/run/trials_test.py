from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.config.sections import EvalConfig
from dm_jax.run import team, trials
from dm_jax.run.interrupts import Request
from dm_jax.run.team import Team
from dm_jax.run.trials import Trial, run_trial
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import evaluate
from dm_jax.types import Network

CONFIG = EvalConfig(networks=6, epochs=2, batch_size=4, augment='none')


@pytest.mark.parametrize(
  ('networks', 'devices', 'size'),
  [
    (20, 1, 5),
    (6, 1, 3),
    (7, 1, 1),
    (1, 8, 1),
    (5, 8, 5),
    (7, 8, 7),
    (20, 2, 10),
    # Ten take four turns of one device, and so twice as many in all.
    (20, 3, 10),
    (20, 4, 20),
    (20, 8, 20),
    # 25 would take four turns of every device, four times.
    (100, 8, 20),
  ],
)
def test_a_group_fills_the_devices(networks, devices, size):
  assert trials._group_size(networks, devices) == size


@pytest.mark.parametrize('devices', range(1, 10))
def test_groups_are_equal_and_of_at_most_five_for_each_device(devices):
  for networks in range(1, 101):
    size = trials._group_size(networks, devices)
    assert networks % size == 0
    assert 1 <= size <= 5 * devices


def logits(variables, images, *, train):
  return images.reshape(len(images), -1) @ variables, variables


def images(count, seed):
  state = np.random.RandomState(seed)
  return state.randint(0, 256, (count, 8, 8, 1), np.uint8)


def make(number):
  return SyntheticSet.from_images(
    jnp.asarray(images(6, number) / 255, jnp.float32),
    jnp.arange(6) % 3,
    (0.0,),
    (1.0,),
    ('a', 'b', 'c'),
  )


def no_features(variables, images):
  return images.reshape(len(images), -1)


LINEAR = Network.from_functions(
  init=lambda key: jax.random.normal(key, (64, 3), jnp.float32),
  embed=no_features,
  logits=logits,
)


@pytest.fixture
def run_on(monkeypatch):
  """A function that runs a trial and returns its entry and its groups."""

  def run(devices, accuracies=()):
    local = jax.local_devices()[:devices]
    groups, saved = [], []

    def record(made, *args, first, **options):
      groups.append((first, args[2].networks))
      return evaluate(made, *args, first=first, devices=local, **options)

    test_images, test_labels = images(300, 9), np.arange(300) % 3
    job: Any = SimpleNamespace(
      key=lambda purpose, number: jax.random.key(number),
      dataset=SimpleNamespace(test_images=test_images, test_labels=test_labels),
      pool={'linear': LINEAR},
      split=SimpleNamespace(train=SimpleNamespace(classes=3)),
    )
    results = {
      'method': 'dm',
      'networks': ['linear'],
      'images_per_class': 2,
    }
    request = Request()
    maker: Any = SimpleNamespace(
      job=job,
      results=results,
      request=request,
      team=Team(job, request),
      save_results=lambda: saved.append(len(groups)),
    )
    trial = Trial('dm', 2, 'linear', 2, CONFIG, make)
    entry = trial.entry(results)
    entry['accuracies'] = [[*part] for part in accuracies]
    with monkeypatch.context() as patch:
      patch.setattr(team, 'evaluate', record)
      patch.setattr(jax, 'device_count', lambda: devices)
      run_trial(maker, trial)
    assert saved == [*range(1, len(groups) + 1)]
    return entry, groups

  return run


def test_a_trial_goes_on_with_groups_of_another_size(run_on):
  straight, groups = run_on(1)
  assert groups == [(0, 3), (3, 3), (0, 3), (3, 3)]
  first, second = straight['accuracies']
  assert first != second
  entry, groups = run_on(2, [first, second[:3]])
  assert groups == [(3, 3)]
  assert entry == straight
  entry, groups = run_on(1, [first[:2]])
  assert groups == [(2, 4), (0, 3), (3, 3)]
  assert entry == straight
  entry, groups = run_on(1, [first, second])
  assert groups == []
