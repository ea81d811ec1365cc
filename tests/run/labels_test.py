"""Runs whose images a teacher labels, and what they leave."""

import shutil

import jax
import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.networks.registry import make_network
from dm_jax.report.compare import compare
from dm_jax.run.interrupts import Interrupted, Request
from dm_jax.run.make import Maker
from dm_jax.run.prepare import prepare
from dm_jax.run.results_file import ResultsFile
from dm_jax.run.run import run
from dm_jax.run.team import Team
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.types import Batch

TEACHER = {
  'labels': 'teacher',
  'condense.storage': 'tiles',
  'condense.factor': 2,
  'condense.images_per_class': (1, 2),
  'embedder.name': 'trajectory',
  'embedder.networks': 2,
  'embedder.ahead': 1,
  'pretrain.epochs': 2,
  'pretrain.batch_size': 8,
  'pretrain.learning_rate': 0.3,
  'pretrain.augment': 'none',
  'evaluate.baselines': 'random,random_full,herding,whole',
  'evaluate.whole_set_epochs': 1,
  'evaluate.cutmix': 0.5,
}
# What is labelled, with the training images in each of six stored ones.
LABELLED = {
  'synthetic': 4,
  'baselines/random': 4,
  'baselines/random_full': 1,
  'baselines/herding': 1,
}
NOTE = 'probabilities from a teacher, 2 networks trained on real images'


@pytest.fixture(scope='module')
def configure(make_config, twelve_of_each):
  """A function of changes by dotted name -> a run's settings."""
  settings = {'data.dir': str(twelve_of_each), 'output.checkpoint_seconds': 0}
  return lambda **changes: make_config(**settings | TEACHER | changes)


@pytest.fixture(scope='module')
def start(configure):
  """A function of a folder and settings that runs, and returns the results."""

  def start(folder, mode='run', synthetic=None, said=None, **changes):
    return run(
      configure(**changes),
      mode=mode,
      folder=folder,
      synthetic=synthetic,
      command='python launch.py',
      say=(lambda line: None) if said is None else said.append,
    )

  return start


@pytest.fixture(scope='module')
def finished(start, tmp_path_factory):
  folder, said = tmp_path_factory.mktemp('teacher'), []
  return folder, start(folder, said=said), '\n'.join(said)


def by_numpy(folder, images):
  """The mean of the softmaxes of each training's last network."""
  network = make_network(
    'convnet', image_shape=(8, 8, 1), classes=3, width=4, depth=1
  )
  like = jax.tree.structure(network.init(jax.random.key(0)))
  shares = []
  for file in sorted((folder / 'pool').iterdir()):
    with np.load(file) as kept:
      names = sorted(name for name in kept.files if 'leaf' in name)
      last = [kept[name][2] for name in names]  # Before, after one and two.
    variables = jax.tree.unflatten(like, last)
    logits = network.apply(variables, images, Batch(train=False)).logits
    powers = np.exp(np.asarray(logits, np.float64))
    shares.append(powers / powers.sum(1, keepdims=True))
  assert len(shares) == 2
  return sum(shares) / 2


@pytest.mark.parametrize('name', LABELLED)
def test_each_training_image_has_the_teachers_probabilities(finished, name):
  folder, _, _ = finished
  kept = SyntheticSet.load(folder / f'{name}.npz')
  shape = (6, 4, 3) if LABELLED[name] == 4 else (6, 3)
  assert kept.targets.shape == shape
  expected = by_numpy(folder, kept.images)
  np.testing.assert_allclose(kept.training_targets, expected, rtol=1e-4)
  assert np.ptp(expected, axis=0).max() > 0.05  # They differ by image.
  assert kept.provenance['teachers'] == 2
  assert kept.provenance['config']['labels'] == 'teacher'


def test_every_size_is_judged(finished):
  _, results, _ = finished
  cases = {(e['method'], e['images_per_class']) for e in results['evaluations']}
  few = ('dm', 'random', 'random_full', 'herding')
  assert cases == {(m, size) for m in few for size in (1, 2)} | {
    ('whole', None)
  }
  assert results['teachers'] == 2


def test_it_is_said_that_a_teacher_labels(finished):
  folder, _, said = finished
  assert "labels 'teacher', not 'class'" in said
  # In the table of a terminal, whose lines are broken.
  assert NOTE in ' '.join(said.split())
  page = (folder / 'report.html').read_text()
  assert page.count(NOTE) >= 2
  assert 'but for the whole set, which keeps its classes' in page


def test_a_run_that_is_done_stays_as_it_is_and_needs_no_pool(
  start, finished, tmp_path
):
  folder = tmp_path / 'run'
  shutil.copytree(finished[0], folder)
  shutil.rmtree(folder / 'pool')
  start(folder)
  assert not (folder / 'pool').exists()
  for name in LABELLED:
    again = (folder / f'{name}.npz').read_bytes()
    assert again == (finished[0] / f'{name}.npz').read_bytes()


@pytest.mark.parametrize('lost', [(), ('checkpoints/4',), ('pool',)])
def test_a_run_killed_after_condensing_goes_on_to_the_same_bytes(
  start, finished, tmp_path, lost
):
  folder = tmp_path / 'run'
  shutil.copytree(finished[0], folder)
  for name in lost:
    shutil.rmtree(folder / name)
  for name in ('synthetic', 'baselines/random'):
    (folder / f'{name}.npz').unlink()
  start(folder, mode='condense')
  again = (folder / 'synthetic.npz').read_bytes()
  assert again == (finished[0] / 'synthetic.npz').read_bytes()


class AtLabelling(Request):
  """A signal that comes while the images are labelled."""

  def meet(self, doing):
    if 'labelling' in doing:
      self.number = 15
    super().meet(doing)


def test_a_run_stopped_while_it_labels_goes_on_to_the_same_bytes(
  configure, finished, tmp_path
):
  shutil.copytree(finished[0] / 'pool', tmp_path / 'pool')

  def make(request):
    config, folder = configure(), tmp_path
    job = prepare(config, 'condense', folder, None, '', lambda line: None)
    results = ResultsFile(folder, {})
    return Maker(job, request, Team(job, request), results).make(0)

  with pytest.raises(Interrupted, match='labelling the images'):
    make(AtLabelling())
  assert not (tmp_path / 'synthetic.npz').exists()
  made = make(Request())
  assert made.targets.shape == (6, 4, 3)
  again = (tmp_path / 'synthetic.npz').read_bytes()
  assert again == (finished[0] / 'synthetic.npz').read_bytes()


def test_a_set_with_probabilities_is_judged_as_its_file_says(
  start, finished, tmp_path
):
  plain = {'condense.storage': 'plain', 'condense.factor': 1}
  judged = {'condense.images_per_class': 2, 'evaluate.baselines': 'none'}
  said = []
  for labels in ('class', 'teacher'):
    results = start(
      tmp_path / labels,
      'evaluate',
      finished[0] / 'synthetic.npz',
      said,
      **{'labels': labels, 'embedder.name': 'random'} | plain | judged,
    )
    assert results['teachers'] == 2
    evaluated = [
      (found['method'], found['images_per_class'])
      for found in results['evaluations']
    ]
    assert evaluated == [('dm', 2), ('dm', 1)]
  assert '\n'.join(said).count(NOTE) == 2


def test_validation_on_the_way_is_of_the_same_labels(start, tmp_path):
  """With a rate of 0 all images stay: first and last step reach the same."""
  settings = {
    'data.validation': 0.25,
    'condense.images_per_class': 1,
    'condense.learning_rate': 1e-30,
    'evaluate.baselines': 'none',
    'evaluate.validation_every': 2,
    'evaluate.validation_networks': 1,
    'evaluate.epochs': 2,
  }
  results = start(tmp_path / 'run', mode='condense', **settings)
  rows = results['validation']
  assert [row['step'] for row in rows] == [0, 2, 4]
  assert len({tuple(row['accuracies']) for row in rows}) == 1


def test_a_selection_is_labelled_where_there_is_a_pool(
  start, finished, tmp_path
):
  changes = {
    'method': 'random_full',
    'embedder.dir': str(finished[0] / 'pool'),
    'evaluate.baselines': 'none',
  }
  results = start(tmp_path / 'run', **changes)
  assert results['teachers'] == 2
  kept = SyntheticSet.load(tmp_path / 'run' / 'synthetic.npz')
  expected = by_numpy(finished[0], kept.images)
  np.testing.assert_allclose(kept.training_targets, expected, rtol=1e-4)


@pytest.fixture(scope='module')
def of_classes(start, finished, tmp_path_factory):
  """A run with classes as labels, by the same pool."""
  folder = tmp_path_factory.mktemp('classes')
  pool = {'embedder.dir': str(finished[0] / 'pool')}
  return folder, start(folder, labels='class', **pool)


def test_the_labels_change_no_image(finished, of_classes):
  for name in LABELLED:
    soft, hard = (
      SyntheticSet.load(folder / f'{name}.npz')
      for folder in (finished[0], of_classes[0])
    )
    np.testing.assert_array_equal(soft.stored, hard.stored)
    np.testing.assert_array_equal(hard.targets, hard.class_of)
  assert 'teachers' not in of_classes[1]
  assert 'from a teacher' not in (of_classes[0] / 'report.html').read_text()


def test_the_table_of_runs_tells_their_labels(
  start, finished, of_classes, tmp_path
):
  folder = tmp_path / 'run'
  pool = {'embedder.dir': str(finished[0] / 'pool')}
  start(folder, method='random', **pool, **{'evaluate.baselines': 'none'})
  table = compare([of_classes[0], folder]).table
  notes = '\n'.join(table.notes)
  assert f'Labels in {folder} are probabilities from a teacher' in notes
  assert notes.count('labels from a teacher (2 networks)') == 1
  alone = '\n'.join(compare([of_classes[0]]).table.notes)
  assert 'from a teacher' not in alone


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'labels': 'soft'}, "unknown labels 'soft'.* class, teacher"),
    (
      {'embedder.name': 'random'},
      'embedder.name random has none: set embedder.name trajectory',
    ),
    (
      {'embedder.name': 'random', 'method': 'random'},
      'embedder.name random has none: set embedder.name trajectory',
    ),
    ({'embedder.name': 'pool'}, 'set data.validation, e.g. 0.1'),
    (
      {'embedder.name': 'pool', 'method': 'random'},
      'set data.validation, e.g. 0.1',
    ),
    ({'method': 'whole'}, 'labels teacher does not go with method whole'),
    (
      {
        'application': 'continual',
        'condense.images_per_class': 1,
        'evaluate.baselines': 'random',
      },
      'labels teacher does not go with application continual',
    ),
  ],
)
def test_what_cannot_be_labelled_is_refused(start, tmp_path, changes, message):
  with pytest.raises(InputError, match=message) as error:
    start(tmp_path / 'run', **changes)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'run').exists()


def test_a_file_of_classes_has_no_teacher(start, of_classes, tmp_path):
  file = of_classes[0] / 'synthetic.npz'
  with pytest.raises(InputError, match='leave labels out, since the file says'):
    start(tmp_path / 'run', 'evaluate', file)
  assert not (tmp_path / 'run').exists()


def test_a_workdir_keeps_its_labels(start, of_classes):
  with pytest.raises(InputError, match="labels: 'class' -> 'teacher'"):
    start(of_classes[0])
