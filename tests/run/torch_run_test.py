"""The whole run in PyTorch; where it is installed, as it is of an extra."""

import importlib.util
import json

import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.records.results import read_results
from dm_jax.run.config import RunConfig
from dm_jax.synthetic_set import SyntheticSet

if importlib.util.find_spec('torch'):
  import torch

  from benchmarks.torch_run import run_in_torch

  @pytest.fixture(autouse=True)
  def one_thread(monkeypatch):
    """Threads that wait for each other spin, beside other tests for long."""
    monkeypatch.setattr('benchmarks.torch_run.count_threads', lambda: 1)

  @pytest.fixture(scope='module')
  def config(tmp_path_factory):
    """Of a run on three classes of coloured noise."""
    path = tmp_path_factory.mktemp('data') / 'images.npz'
    random = np.random.default_rng(0)
    labels = np.arange(30) % 3
    images = random.integers(0, 120, (30, 32, 32, 3)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
      image[..., label] += 100
    np.savez(
      path,
      train_images=images[:21],
      train_labels=labels[:21],
      test_images=images[21:],
      test_labels=labels[21:],
    )
    values = RunConfig().to_dict()
    values['data'] |= {'name': 'npz', 'dir': str(path), 'validation': 0.3}
    values['network'] |= {'width': 4}
    values['condense'] |= {
      'images_per_class': 2,
      'steps': 6,
      'batch_real': 4,
      'log_every': 2,
    }
    values['evaluate'] |= {
      'networks': 2,
      'epochs': 20,
      'baselines': 'none',
      'validation_every': 4,
      'validation_networks': 1,
    }
    return RunConfig.from_dict(values)

  def silent(_):
    pass

  def test_a_run_leaves_what_one_of_the_library_does(config, tmp_path):
    run_in_torch(config, tmp_path, command='run it', say=silent)
    results = read_results(tmp_path)
    (evaluation,) = results.evaluations
    assert [len(each) for each in evaluation.accuracies] == [2]
    assert evaluation.mean > 0.6  # Chance is a third.
    assert [row.step for row in results.validation] == [0, 4]
    assert results.versions['torch'] == torch.__version__
    assert results.condensing['0'].condense_seconds
    rows = (tmp_path / 'metrics.jsonl').read_text().splitlines()
    assert [json.loads(row)['step'] for row in rows] == [2, 4, 6]
    made = SyntheticSet.load(tmp_path / 'synthetic.npz')
    assert made.stored.shape == (6, 32, 32, 3)

  def test_a_stopped_run_goes_on_to_the_same(config, tmp_path):
    class Stopped(Exception):
      pass

    def stop(line):
      if line.startswith('step 4'):
        raise Stopped

    run_in_torch(config, tmp_path / 'straight', say=silent)
    values = config.to_dict()
    values['output'] |= {'checkpoint_seconds': 0.0}  # At every line.
    often = RunConfig.from_dict(values)
    with pytest.raises(Stopped):
      run_in_torch(often, tmp_path / 'stopped', say=stop)
    run_in_torch(often, tmp_path / 'stopped', say=silent)
    one, other = (
      read_results(tmp_path / name) for name in ('straight', 'stopped')
    )
    assert one.evaluations == other.evaluations
    assert one.validation == other.validation
    one, other = (
      SyntheticSet.load(tmp_path / name / 'synthetic.npz').stored
      for name in ('straight', 'stopped')
    )
    np.testing.assert_array_equal(one, other)

  def test_what_the_loop_does_not_know_is_refused(config, tmp_path):
    values = config.to_dict()
    values['network'] |= {'norm': 'batch'}
    with pytest.raises(InputError, match='network.norm'):
      run_in_torch(RunConfig.from_dict(values), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()
