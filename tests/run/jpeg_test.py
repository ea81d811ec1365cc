"""Runs with random images that are stored as JPEG, beside synthetic ones."""

import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.run.run import run
from dm_jax.synthetic_set import SyntheticSet


@pytest.fixture
def start(make_config, tmp_path):
  """A function of settings that runs, and returns folder and results."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (36, 8, 8, 1), np.uint8)
  images[::3] = rng.integers(0, 256, (12, 1, 1, 1))  # A class of small files.
  data = tmp_path / 'images.npz'
  np.savez(
    data,
    train_images=images,
    train_labels=np.arange(36) % 3,
    test_images=images[:6],
    test_labels=np.arange(6) % 3,
  )

  def start(**changes):
    settings = {
      'data.dir': str(data),
      'sets': 2,
      'condense.images_per_class': 10,
      'evaluate.baselines': 'random_jpeg',
    }
    config = make_config(**settings | changes)
    folder, said = tmp_path / 'run', []
    results = run(config, mode='run', folder=folder, say=said.append)
    return folder, results, '\n'.join(said)

  return start


def test_random_jpeg_is_a_baseline_of_as_many_bytes(start):
  folder, results, said = start()
  bytes_of_class = 10 * 64
  for number, path in enumerate((folder, folder / 'set_1')):
    kept = SyntheticSet.load(path / 'baselines' / 'random_jpeg.npz')
    assert results['jpeg'][str(number)] == {
      'images': len(kept.class_of),
      'bytes': kept.provenance['bytes'],
    }
    assert kept.provenance['bytes'] <= 3 * bytes_of_class
    counts = np.bincount(kept.class_of)
    assert counts[0] > counts[1] > 0
    assert (path / 'images' / 'random_jpeg.png').exists()
  (entry,) = [e for e in results['evaluations'] if e['method'] == 'random_jpeg']
  assert len(entry['accuracies']) == 2
  assert results['baseline_random_jpeg_mean'] == entry['mean']
  assert 'random JPEG' in said
  # The bytes of three times ten images, and less.
  assert said.count('1.92 kB') == 1


def test_a_run_of_random_jpeg_alone(start):
  folder, results, _ = start(method='random_jpeg', sets=1)
  made = SyntheticSet.load(folder / 'synthetic.npz')
  assert results['jpeg']['0']['images'] == len(made.labels)
  assert [e['method'] for e in results['evaluations']] == ['random_jpeg']
  assert 'JPEG, from one byte per value' in (folder / 'report.html').read_text()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'condense.images_per_class': (1, 10)}, 'several condense.images_per_cl'),
    ({'application': 'continual', 'sets': 1}, 'application continual'),
  ],
)
def test_where_there_is_no_one_size(start, tmp_path, changes, message):
  with pytest.raises(InputError) as error:
    start(**changes)
  text = str(error.value)
  assert f'fills the bytes of one set and does not go with {message}' in text
  assert '\n' not in text
  assert not (tmp_path / 'run').exists()
