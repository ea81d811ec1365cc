import json

import pytest

from dm_jax.errors import InputError
from dm_jax.report.compare import compare, write
from dm_jax.run.config import RunConfig

DIGEST = 'ab' * 32


def entry(method, size, mean, count=2, network='convnet:width=32', sets=1):
  std = 0.0 if count == 1 else 0.004
  return {
    'method': method,
    'images_per_class': size,
    'network': network,
    'accuracies': [[mean] * count] * sets,
    'mean': mean,
    'std': std,
  }


@pytest.fixture
def make(tmp_path):
  """Writes a workdir as a run leaves it, and returns it."""

  def make(folder, method='dm', size=10, *, evaluations=None, **changes):
    config = {
      'method': method,
      'condense': {'steps': 1000} | changes.pop('condense', {}),
      'embedder': {'name': changes.pop('embedder', 'random')},
      'evaluate': {'networks': 2, 'epochs': 300},
      'data': changes.pop('data_config', {}),
    }
    digest = changes.pop('digest', DIGEST)
    results = {
      'method': method,
      'seed': 3,
      'sets': 1,
      'sizes': [size],
      'networks': ['convnet:width=32'],
      'command': f'python launch.py --workdir={folder}',
      'device': 'CPU, 2 cores',
      'data': {
        'name': changes.pop('name', 'cifar10'),
        'classes': 10,
        'train_images': 50_000,
        'image_shape': [32, 32, 3],
      },
      'evaluations': evaluations or [entry(method, size, 0.409)],
    }
    path = tmp_path / folder
    path.mkdir()
    (path / 'results.json').write_text(json.dumps(results | changes))
    config = RunConfig.from_dict(config).to_dict()
    config['inputs'] = {'data': digest}
    (path / 'config.json').write_text(json.dumps(config))
    return path

  return make


def cells(comparison, heading):
  table = comparison.table
  i = table.columns.index(heading)
  return {row[0]: row[i] for row in table.rows}


def test_ours_stand_beside_the_papers(make):
  dm = make(
    'dm',
    evaluations=[
      entry('dm', 10, 0.409),
      entry('dm', 10, 0.2, network='mlp'),
      entry('random', 10, 0.301),
      entry('whole', None, 0.7, count=1),
    ],
  )
  herding = make('herding', 'herding', 1, seed=4)
  comparison = compare([dm, herding])
  assert comparison.table.columns == (
    'Images per class',
    'Bytes',
    'Random, ours',
    'Random, paper',
    'Herding, ours',
    'Herding, paper',
    'K-Center, paper',
    'Forgetting, paper',
    'DM, ours',
    'DM, paper',
    'Whole set, ours',
    'Whole set, paper',
  )
  assert cells(comparison, 'DM, ours') == {'1': '–', '10': '40.9 ± 0.4'}
  assert cells(comparison, 'Bytes') == {'1': '30.7 kB', '10': '307 kB'}
  assert cells(comparison, 'DM, paper') == {
    '1': '26.0 ± 0.8',
    '10': '48.9 ± 0.6',
  }
  assert cells(comparison, 'Herding, ours') == {'1': '40.9 ± 0.4', '10': '–'}
  assert cells(comparison, 'Whole set, ours') == {'1': '70.0', '10': '70.0'}
  assert {
    (cell.evaluation.method, cell.workdir, cell.command, cell.seed)
    for cell in comparison.cells
  } == {
    ('dm', dm, 'python launch.py --workdir=dm', 3),
    ('random', dm, 'python launch.py --workdir=dm', 3),
    ('whole', dm, 'python launch.py --workdir=dm', 3),
    ('herding', herding, 'python launch.py --workdir=herding', 4),
  }


def test_every_run_has_a_note_with_its_budget(make):
  dm = make('dm', evaluations=[entry('dm', 10, 0.4, sets=5)], sets=5)
  herding = make('herding', 'herding')
  paper, augmented, counted, *runs = compare([dm, herding]).table.notes
  assert '8 bits per value' in counted
  assert 'WACV 2023' in paper
  assert 'at its own budget' in paper
  assert 'same augmentation: 15.4 at 1, 31.0 at 10, 50.6 at 50' in augmented
  assert runs == [
    f'{dm}: DM at 10 (5 sets × 2 networks); network convnet:width=32, 1,000'
    ' steps, 300 epochs, seed 3, CPU, 2 cores; python launch.py --workdir=dm',
    f'{herding}: Herding at 10 (1 set × 2 networks); network convnet:width=32,'
    ' 300 epochs, seed 3, CPU, 2 cores; python launch.py --workdir=herding',
  ]


def test_runs_that_a_teacher_labels_are_told_apart(make):
  few = [entry('dm', 10, 0.4), entry('random', 1, 0.2)]
  soft, hard = (
    make('soft', evaluations=few, teachers=2),
    make('hard', 'herding'),
  )
  *_, labels, first, second = compare([soft, hard]).table.notes
  assert labels == (
    f'Labels in {soft} are probabilities from a teacher, which lift all but the'
    ' whole set: not to be compared with the other runs and paper, whose labels'
    ' are classes.'
  )
  assert 'seed 3, labels from a teacher (2 networks), CPU, 2 cores' in first
  assert 'from a teacher' not in second
  *_, labels, alone = compare([soft]).table.notes
  assert 'not to be compared with the paper, whose' in labels
  assert 'labels from a teacher' in alone


def test_a_run_that_is_not_the_papers_dm_says_what_it_is(make):
  recipe = make(
    'recipe',
    embedder='trajectory',
    condense={
      'storage': 'tiles',
      'factor': 2,
      'discrepancy': 'mean,covariance:50',
      'cross_entropy': 2.5,
    },
  )
  *_, note, run = compare([recipe]).table.notes
  assert note == (
    f"DM in {recipe} is not the paper's, which it stands beside:"
    ' condense.storage tiles; condense.factor 2; condense.discrepancy'
    ' mean,covariance:50; condense.cross_entropy 2.5; embedder.name trajectory.'
  )
  assert run.startswith(f'{recipe}: ')
  short = make(
    'short',
    condense={'batch_real': 16, 'init': 'noise', 'optimizer': 'adam'},
    data_config={'validation': 0.5},
  )
  *_, note, run = compare([short]).table.notes
  assert note.endswith(
    ': data.validation 0.5; condense.init noise; condense.batch_real 16;'
    ' condense.optimizer adam.'
  )
  digits = {'augment': 'color_crop_cutout_scale_rotate'}
  notes = compare([make('digits', condense=digits)]).table.notes
  assert not any("is not the paper's" in note for note in notes)
  tiles = {'storage': 'tiles', 'factor': 2}
  random = make('random', 'random', condense=tiles, embedder='trajectory')
  *_, note, run = compare([random]).table.notes
  assert note == (
    f'Random in {random} are real images stored as tiles;'
    " the paper's are whole."
  )
  given = make('given', size=1, mode='evaluate')
  *_, note, _ = compare([given]).table.notes
  assert note.startswith(f'The set in {given} was made elsewhere, maybe not by')


def test_a_method_of_its_own_goes_before_a_baseline(make):
  runs = [
    make('a', evaluations=[entry('dm', 10, 0.4), entry('random', 10, 0.3)]),
    make(
      'b',
      'herding',
      evaluations=[entry('herding', 10, 0.33), entry('random', 10, 0.31)],
    ),
  ]
  assert cells(compare(runs), 'Random, ours') == {'10': '30.0 ± 0.4'}
  runs.append(make('c', 'random', evaluations=[entry('random', 10, 0.32)]))
  assert cells(compare(runs), 'Random, ours') == {'10': '32.0 ± 0.4'}


def test_nested_sizes_are_rows(make):
  sizes = [entry('dm', 1, 0.26), entry('dm', 1250, 0.7)]
  comparison = compare([make('a', sizes=[1, 1250], evaluations=sizes)])
  assert cells(comparison, 'DM, ours') == {
    '1': '26.0 ± 0.4',
    '1,250': '70.0 ± 0.4',
  }
  assert cells(comparison, 'DM, paper')['1,250'] == '80.8 ± 0.3'
  assert cells(comparison, 'Random, paper') == {'1': '14.4', '1,250': '–'}


def test_files_of_random_jpeg_say_their_bytes(make):
  run = make(
    'a',
    evaluations=[entry('dm', 10, 0.4), entry('random_jpeg', 10, 0.35)],
    jpeg={'0': {'images': 300, 'bytes': 305_000}},
  )
  comparison = compare([run])
  assert cells(comparison, 'Random, JPEG, ours') == {'10': '35.0 ± 0.4'}
  assert cells(comparison, 'Bytes') == {'10': '307 kB'}
  assert (
    'Random, JPEG at 10 (1 set × 2 networks, 305 kB)'
    in (comparison.table.notes[-1])
  )


def test_a_run_on_the_whole_set_alone(make):
  whole = make('w', 'whole', evaluations=[entry('whole', None, 0.7, count=1)])
  assert compare([whole]).table.rows == (('–', '154 MB', '70.0', '84.8'),)


def test_data_that_the_paper_does_not_have(make):
  table = compare([make('a', name='digits')]).table
  assert table.columns == ('Images per class', 'Bytes', 'DM, ours')
  assert table.notes[0] == 'The paper has no figures for this data set.'


def test_the_statistics_tell_which_set_a_folder_holds(make):
  statistics = {'name': 'folder', 'statistics': 'tiny_imagenet'}
  data = {'name': 'folder', 'classes': 200, 'image_shape': [64, 64, 3]}
  run = make('a', data=data, data_config=statistics)
  assert cells(compare([run]), 'DM, paper') == {'10': '12.9 ± 0.4'}


@pytest.mark.parametrize(
  ('classes', 'shape'), [(100, [64, 64, 3]), (200, [32, 32, 3])]
)
def test_other_classes_or_sizes_have_no_figures_of_the_paper(
  make, classes, shape
):
  for name, config in (
    ('folder', {'name': 'folder', 'statistics': 'tiny_imagenet'}),
    ('tiny_imagenet', {}),
  ):
    data = {'name': name, 'classes': classes, 'image_shape': shape}
    table = compare([make(name, data=data, data_config=config)]).table
    assert table.columns == ('Images per class', 'Bytes', 'DM, ours')
    assert table.notes[0] == 'The paper has no figures for this data set.'


def test_random_images_are_told_to_be_trained_otherwise(make):
  both = [entry('dm', 10, 0.3), entry('random', 10, 0.2)]
  data = {'name': 'cifar100', 'classes': 100, 'image_shape': [32, 32, 3]}
  notes = compare([make('a', data=data, evaluations=both)]).table.notes
  told = "Ours of random images are trained with the protocol's augmentation"
  assert sum(told in note for note in notes) == 1
  alone = compare([make('b', evaluations=both[:1])]).table.notes
  assert not any(told in note for note in alone)


def test_three_files_are_written(make, tmp_path):
  comparison = compare([make('a')])
  paths = write(comparison, tmp_path / 'new/out')
  table = comparison.table
  texts = [table.as_text(), table.as_markdown(), table.as_latex()]
  assert [path.name for path in paths] == ['table.txt', 'table.md', 'table.tex']
  assert [path.read_text('utf-8') for path in paths] == [
    f'{t}\n' for t in texts
  ]
  with pytest.raises(InputError, match='choose another folder'):
    write(comparison, paths[0])


def refused(runs, *words):
  with pytest.raises(InputError) as caught:
    compare(runs)
  text = str(caught.value)
  assert '\n' not in text
  for word in words:
    assert str(word) in text


def test_no_run_is_refused():
  refused([], '--workdirs=runs/a,runs/b')


def test_other_data_is_refused(make):
  a, b, c = make('a'), make('b', name='cifar100'), make('c', digest='cd' * 32)
  refused([a, b], a, 'cifar10 ', b, 'cifar100 ', 'one data set at a time')
  refused([a, c], a, 'abababababab', c, 'cdcdcdcdcdcd')


def test_equal_figures_are_refused(make):
  a, b = make('a'), make('b', seed=5)
  refused([a, b], a, b, 'DM, 10 per class', 'leave one out')
  refused([a, a], a, 'leave one out')


def test_a_missing_run_is_refused(make, tmp_path):
  nowhere, file = tmp_path / 'nowhere', make('a') / 'results.json'
  refused([nowhere], nowhere, 'give the workdir of a finished run')
  refused([file], file, 'give the workdir of a finished run')


@pytest.mark.parametrize('name', ['results.json', 'config.json'])
def test_a_broken_run_is_refused(make, name):
  run = make('a')
  (run / name).write_text('{"method": "dm",')
  refused([run], run / name, 'leave it out')
  (run / name).write_text('[]')
  refused([run], run / name, 'leave it out')
  (run / name).write_text('{}')
  refused([run], run, 'leave it out')
  (run / name).unlink()
  refused([run], run, name, 'give the workdir of a finished run')


@pytest.mark.parametrize(
  'evaluations',
  [
    [],
    [entry('random', 10, 0.3)],
    [entry('dm', 10, 0.3, count=1)],
    [entry('dm', 1, 0.3)],
    [entry('dm', 10, 0.3, network='mlp')],
  ],
)
def test_an_unfinished_run_is_refused(make, evaluations):
  run = make('a')
  results = json.loads((run / 'results.json').read_text())
  results['evaluations'] = evaluations
  (run / 'results.json').write_text(json.dumps(results))
  refused([run], run, 'not evaluated yet', '--mode=run')


def test_a_baseline_that_is_not_finished_is_left_out(make):
  """One of two networks: the run was stopped there."""
  run = make(
    'dm', evaluations=[entry('dm', 10, 0.4), entry('random', 10, 0.3, count=1)]
  )
  comparison = compare([run])
  assert 'Random, ours' not in comparison.table.columns
  assert [cell.evaluation.method for cell in comparison.cells] == ['dm']
