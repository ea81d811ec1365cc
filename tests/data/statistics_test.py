import dataclasses

import numpy as np
import pytest

from dm_jax.config.sections import DataConfig
from dm_jax.data.load import load
from dm_jax.data.statistics import published
from dm_jax.errors import InputError


@pytest.fixture
def rgb_file(tmp_path):
  images = np.full((2, 4, 4, 3), 51, np.uint8)
  labels = np.array([0, 1])
  path = tmp_path / 'set.npz'
  np.savez(
    path,
    train_images=images,
    train_labels=labels,
    test_images=images,
    test_labels=labels,
  )
  return DataConfig(name='npz', dir=str(path))


def test_the_papers_constants_are_used():
  cifar10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
  assert published('cifar10') == cifar10
  assert published('mnist') == ((0.1307,), (0.3081,))
  assert published('tiny_imagenet_20') == published('tiny_imagenet')
  assert published('imagenet_resized/64x64') is None


def test_another_set_gets_its_own(rgb_file):
  train = load(rgb_file).train
  assert (train.mean, train.std) == ((0.2,) * 3, (1.0,) * 3)


def test_the_statistics_of_a_named_set_are_used(rgb_file):
  named = dataclasses.replace(rgb_file, statistics='tiny_imagenet')
  train = load(named).train
  assert (train.mean, train.std) == published('tiny_imagenet')


def test_an_unknown_name_is_refused_with_near_ones(rgb_file):
  named = dataclasses.replace(rgb_file, statistics='cifar11')
  with pytest.raises(InputError, match='did you mean cifar10'):
    load(named)


def test_statistics_of_other_channels_are_refused(rgb_file):
  named = dataclasses.replace(rgb_file, statistics='mnist')
  with pytest.raises(InputError, match='1 channels, the images have 3'):
    load(named)
