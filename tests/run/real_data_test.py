"""Real image sets, condensed for a few steps from their files to a result."""

import math
import os
import pathlib
import tarfile

import numpy as np
import pytest

from dm_jax.config.sections import (
  CondenseConfig,
  DataConfig,
  EvalConfig,
  NetworkConfig,
)
from dm_jax.records.metrics import read_metrics
from dm_jax.run import run
from dm_jax.run.config import OutputConfig, RunConfig
from dm_jax.synthetic_set import SyntheticSet

SHARED = pathlib.Path(__file__).parents[3] / 'shared'
SETS = pathlib.Path(os.environ.get('DM_JAX_TEST_DATA', SHARED / 'tfds'))
FOLDERS = pathlib.Path(
  os.environ.get('DM_JAX_TEST_FOLDERS', SHARED / 'folders')
)


def condense(data, network, workdir):
  """Runs a few steps and a short evaluation; returns results and set."""
  config = RunConfig(
    data=data,
    network=network,
    condense=CondenseConfig(
      images_per_class=1,
      steps=4,
      batch_real=8,
      augment='color',
      log_every=2,
    ),
    evaluate=EvalConfig(
      networks=1, epochs=1, augment='color', baselines='none'
    ),
    output=OutputConfig(pictures=0),
  )
  results = run.run(config, mode='run', folder=workdir)
  losses = [row['loss'] for row in read_metrics(workdir)]
  assert len(losses) == 2
  assert all(loss > 0 and math.isfinite(loss) for loss in losses)
  (accuracy,) = results['accuracies']
  assert 0 < accuracy < 1
  assert (workdir / 'report.html').exists()
  synthetic = SyntheticSet.load(workdir / 'synthetic.npz')
  assert np.isfinite(synthetic.images).all()
  # Real images to start from: of the data's own mean and deviation.
  assert abs(float(synthetic.images.mean())) < 1
  assert 0.5 < float(synthetic.images.std()) < 2
  return results, synthetic


@pytest.mark.parametrize(
  ('name', 'depth', 'train', 'test', 'shape', 'classes'),
  [
    ('mnist', 1, 60_000, 10_000, (28, 28, 1), 10),
    ('cifar10', 1, 50_000, 10_000, (32, 32, 3), 10),
    ('tiny_imagenet_20', 4, 10_000, 1_000, (64, 64, 3), 20),
  ],
)
def test_a_prepared_set_is_condensed(
  tmp_path, name, depth, train, test, shape, classes
):
  if not (SETS / name).is_dir():
    pytest.skip(f'no {SETS / name}: set DM_JAX_TEST_DATA')
  results, synthetic = condense(
    DataConfig(name=name, dir=str(SETS)),
    NetworkConfig(width=4, depth=depth),
    tmp_path,
  )
  assert results['data']['train_images'] == train
  assert results['data']['test_images'] == test
  assert synthetic.images.shape == (classes, *shape)
  assert synthetic.classes == classes


def unpack(archive, target, counts):
  """Unpacks so many images of each class."""
  left = {}
  with tarfile.open(archive) as file:
    for member in file:
      path = pathlib.PurePosixPath(member.name)
      if not member.isfile():
        continue
      part, name = path.parts[-3:-1]
      key = (part, name)
      if left.setdefault(key, counts[part]):
        left[key] -= 1
        (target / part / name).mkdir(parents=True, exist_ok=True)
        content = file.extractfile(member)
        assert content is not None
        (target / part / name / path.name).write_bytes(content.read())


def test_a_folder_of_images_is_condensed(tmp_path):
  archive = FOLDERS / 'cifar10.tar.xz'
  if not archive.is_file():
    pytest.skip(f'no {archive}: set DM_JAX_TEST_FOLDERS')
  # All of train/ comes before test/, so that the whole archive is read.
  unpack(archive, tmp_path / 'images', {'train': 100, 'test': 20})
  results, synthetic = condense(
    DataConfig(name='folder', dir=str(tmp_path / 'images')),
    NetworkConfig(width=4, depth=1),
    tmp_path / 'workdir',
  )
  assert results['data']['train_images'] == 1000
  assert results['data']['test_images'] == 200
  assert synthetic.images.shape == (10, 32, 32, 3)
  assert synthetic.class_names[:2] == ('airplane', 'automobile')
