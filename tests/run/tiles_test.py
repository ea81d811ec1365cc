"""A run whose stored images are cut into tiles, and what it leaves."""

import re
import shutil

import pytest

from dm_jax.errors import InputError
from dm_jax.run.config import RunConfig
from dm_jax.run.run import run
from dm_jax.synthetic_set import SyntheticSet

TILES = {'storage': 'tiles', 'factor': 2}
PLAIN = {'storage': 'plain', 'factor': 1}


@pytest.fixture(scope='module')
def start(twelve_of_each, make_config):
  """A function of a folder and settings that runs, and returns the results."""

  def start(folder, storage=TILES, mode='run', synthetic=None, **changes):
    config: RunConfig = make_config(
      **{
        'data.dir': str(twelve_of_each),
        'condense.images_per_class': (1, 2),
        'evaluate.baselines': 'random,random_full',
        'output.checkpoint_seconds': 0,
      }
      | {f'condense.{name}': value for name, value in storage.items()}
      | changes
    )
    return run(
      config,
      mode=mode,
      folder=folder,
      synthetic=synthetic,
      say=lambda line: None,
    )

  return start


@pytest.fixture(scope='module')
def finished(start, tmp_path_factory):
  folder = tmp_path_factory.mktemp('tiles')
  return folder, start(folder)


def test_every_size_of_every_set_is_judged(finished):
  _, results = finished
  cases = [(e['method'], e['images_per_class']) for e in results['evaluations']]
  assert sorted(cases) == [
    (method, size)
    for method in ('dm', 'random', 'random_full')
    for size in (1, 2)
  ]
  for name in ('accuracy', 'baseline_random', 'baseline_random_full'):
    assert 0 <= results[f'{name}_mean'] <= 1


def test_stored_images_are_saved_and_real_ones_fill_as_many(finished):
  folder, _ = finished
  for name, storage, images in (
    ('synthetic', 'tiles:2', 24),
    ('baselines/random', 'tiles:2', 24),
    ('baselines/random_full', 'plain', 6),
  ):
    kept = SyntheticSet.load(folder / f'{name}.npz')
    assert kept.storage == storage
    assert kept.stored.shape == (6, 8, 8, 1)
    assert len(kept.images) == images


def test_the_size_of_the_files_is_told(finished):
  folder, results = finished
  paths = {'dm': 'synthetic', 'random': 'baselines/random'}
  for method, name in paths.items():
    size = (folder / f'{name}.npz').stat().st_size
    assert results['set_bytes'][method] == size


def test_a_stream_counts_the_bytes_of_stored_images(start, tmp_path):
  budget = 5 * 64  # Five images of 8 × 8, one byte for each pixel.
  results = start(
    tmp_path,
    application='continual',
    **{
      'continual.steps': 3,
      'continual.orders': 1,
      'continual.budget_bytes': budget,
      'condense.images_per_class': 2,
    },
  )
  rows = results['continual']['rows']
  assert [(row['step'], row['images'], row['bytes']) for row in rows[::3]] == [
    (0, 2, 128),
    (1, 4, 256),
    (2, 3, 192),
  ]
  for name, storage, images in (
    ('synthetic', 'tiles:2', 12),
    ('order_0/memory_random', 'tiles:2', 12),
    ('order_0/memory_random_full', 'plain', 3),
  ):
    memory = SyntheticSet.load(tmp_path / f'{name}.npz')
    assert (memory.storage, len(memory.images)) == (storage, images)
  assert (tmp_path / 'images' / 'training_images.png').exists()


def test_the_report_shows_stored_and_training_images(finished):
  folder, _ = finished
  names = {path.stem for path in (folder / 'images').iterdir()}
  assert {'step_000004', 'training_images', 'random', 'random_full'} <= names
  page = (folder / 'report.html').read_text()
  assert '<b>Step 4</b>, the end' in page
  assert '<b>training images</b>' in page


def test_a_run_that_is_done_stays_as_it_is(start, finished):
  folder, results = finished
  before = (folder / 'synthetic.npz').read_bytes()
  assert start(folder)['accuracies'] == results['accuracies']
  assert (folder / 'synthetic.npz').read_bytes() == before


def test_a_run_that_lost_its_end_goes_on_to_the_same_bytes(
  start, finished, tmp_path
):
  shutil.copytree(finished[0], tmp_path / 'run')
  last = max((tmp_path / 'run' / 'checkpoints').glob('4*'))
  shutil.rmtree(last) if last.is_dir() else last.unlink()
  (tmp_path / 'run' / 'synthetic.npz').unlink()
  assert start(tmp_path / 'run')['resumed_from'] == [2]
  for name in ('synthetic.npz', 'images/training_images.png'):
    again = (tmp_path / 'run' / name).read_bytes()
    assert again == (finished[0] / name).read_bytes()


@pytest.mark.parametrize('storage', [TILES, PLAIN])
def test_a_set_is_judged_as_its_file_says(start, finished, tmp_path, storage):
  folder, _ = finished
  results = start(
    tmp_path / 'judged',
    storage,
    'evaluate',
    folder / 'synthetic.npz',
    **{'condense.images_per_class': 2},
  )
  judged = [
    (found['method'], found['images_per_class'])
    for found in results['evaluations']
  ]
  assert judged == [('dm', 2), ('dm', 1)]


@pytest.mark.parametrize(
  ('name', 'factor', 'held'),
  [('synthetic', 3, 'tiles:2'), ('baselines/random_full', 2, 'plain')],
)
def test_a_set_of_another_storage_than_is_asked_for(
  start, finished, tmp_path, name, factor, held
):
  folder, _ = finished
  with pytest.raises(InputError) as error:
    start(
      tmp_path / 'judged',
      {'storage': 'tiles', 'factor': factor},
      'evaluate',
      folder / f'{name}.npz',
    )
  message = f'stored as {held}, the config asks for tiles:{factor}: leave '
  assert message in str(error.value)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'judged').exists()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'condense.factor': 5}, 'condense.factor 5 .* use 4$'),
    ({'condense.factor': 5, 'method': 'random'}, 'condense.factor 5 .* use 4$'),
    ({'condense.images_per_class': 4}, '12 images .* use at most 3'),
    (
      {'condense.images_per_class': 4, 'condense.init': 'noise'},
      'random cannot .* each of 4 real ones: .* at most 3, .* leave random out',
    ),
  ],
)
def test_what_images_do_not_allow_is_refused(start, tmp_path, changes, message):
  with pytest.raises(InputError) as error:
    start(tmp_path / 'run', **changes)
  assert re.search(message, str(error.value))
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'run').exists()
