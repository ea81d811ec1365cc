import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.config.sections import EvalConfig
from dm_jax.records.evaluations import Case, Evaluation
from dm_jax.records.results import Results, read_results, write_results
from dm_jax.run.interrupts import Interrupted, Request
from dm_jax.run.results_file import ResultsFile
from dm_jax.run.trials import Trial, run_trial
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import evaluate
from dm_jax.types import Network

CONFIG = EvalConfig(networks=6, epochs=2, batch_size=4, augment='none')


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
TRIAL = Trial(Case('dm', 'linear', 2), 2, CONFIG)


class Alone:
  """A team of one process, which notes the groups that it trains.

  Attributes:
    groups: (first network, networks) of each.
    stop: what is called before a group is trained.
  """

  def __init__(self, devices, stop=lambda: None):
    self.devices = jax.local_devices()[:devices]
    self.groups, self.stop = [], stop

  def evaluate(
    self, made, config, *, purpose, number, network, first, callback
  ):
    self.stop()
    self.groups.append((first, config.networks))
    return evaluate(
      made,
      images(300, 9),
      np.arange(300) % 3,
      config,
      key=jax.random.key(number),
      network={'linear': LINEAR}[network],
      callback=callback,
      first=first,
      devices=self.devices,
    )


class Saves(ResultsFile):
  """Results that note how often they are kept."""

  kept = 0

  def keep(self, results):
    super().keep(results)
    self.kept += 1


def run_on(folder: Path, devices, accuracies=()):
  """Returns the accuracies of a trial that goes on, and its groups."""
  before = Results()
  if accuracies:
    before = before.with_evaluation(Evaluation.of(TRIAL.case, accuracies))
  write_results(folder, before)
  file, team = Saves(folder, {}), Alone(devices)
  made = [make(number) for number in range(2)]
  given: Any = team
  run_trial(TRIAL, made, given, file, Request(), devices=devices)
  assert file.kept == len(team.groups)
  found = file.now.evaluation(TRIAL.case)
  assert found is not None
  flat = [accuracy for each in found.accuracies for accuracy in each]
  assert found.mean == pytest.approx(sum(flat) / 12)
  assert file.kept == 0 or read_results(folder) == file.now
  return found.accuracies, team.groups


def test_a_trial_goes_on_with_groups_of_another_size(tmp_path):
  straight, groups = run_on(tmp_path, 1)
  one_by_one = [(number, 1) for number in range(6)]
  assert groups == one_by_one * 2
  first, second = straight
  assert first != second
  found, groups = run_on(tmp_path, 2, [first, second[:3]])
  assert groups == [(3, 3)]
  assert found == straight
  found, groups = run_on(tmp_path, 4, [first[:2]])
  assert groups == [(2, 4), (0, 3), (3, 3)]
  assert found == straight
  found, groups = run_on(tmp_path, 1, [first, second])
  assert groups == []
  assert found == straight


def test_a_signal_ends_a_trial_after_the_network_in_training(tmp_path):
  request = Request()
  file = ResultsFile(tmp_path, {})
  team: Any = Alone(1)
  trial = dataclasses.replace(
    TRIAL, config=dataclasses.replace(CONFIG, epochs=0)
  )

  def stop_in_the_second():
    if team.groups:
      request.number = 15

  team.stop = stop_in_the_second
  with pytest.raises(Interrupted) as error:
    run_trial(trial, [make(0), make(1)], team, file, request, devices=1)
  assert error.value.signal == 15
  assert str(error.value) == (
    'stopped (train linear on dm, 2 per class: 2 of 12 networks are kept); the'
    ' same command goes on'
  )
  found = read_results(tmp_path).evaluation(trial.case)
  assert found is not None
  assert [len(each) for each in found.accuracies] == [2]
