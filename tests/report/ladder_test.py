import json
import math

import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.records.results import from_json
from dm_jax.report.ladder import ladder_figure, ladder_table, write
from dm_jax.report.rungs import Rung, from_record


def entry(method, mean, protocol='dm', networks=2):
  return {
    'method': method,
    'images_per_class': 10,
    'network': 'convnet',
    'protocol': protocol,
    'accuracies': [[mean] * networks] * 2,
    'mean': mean,
    'std': 0.01,
  }


def validation(number, step, mean):
  return {'set': number, 'step': step, 'images_per_class': 10, 'mean': mean}


def results(*evaluations, **changes):
  return from_json(
    {
      'method': 'dm',
      'seed': 3,
      'command': 'run it',
      'device': 'CPU, 2 cores',
      'sets': 2,
      'images_per_class': 10,
      'networks': ['convnet'],
      'protocols': ['dm', 'idc'],
      'data': {'name': 'cifar10', 'classes': 10, 'image_shape': [32, 32, 3]},
      'evaluations': evaluations,
      'condensing': {
        '0': {'condense_seconds': 20.0},
        '1': {'condense_seconds': 40.0},
      },
    }
    | changes
  )


DM = Rung(
  'dm',
  'the first',
  results(
    entry('dm', 0.4),
    entry('dm', 0.45, 'idc', networks=1),
    validation=[
      validation(0, 0, 0.1),
      validation(1, 0, 0.2),
      validation(0, 100, 0.3),
      validation(1, 100, 0.5),
      validation(0, 200, 0.6),
    ],
  ),
  1000,
  {'0': {'0': 0.0, '100': 10.0, '200': 20.0}, '1': {'0': 0.0, '100': 30.0}},
)
TILES = Rung(
  'with_tiles',
  'tiles',
  results(
    entry('dm', 0.5),
    entry('random_full', 0.3),
    entry('random_jpeg', 0.35),
    pool_seconds=0.5,
    jpeg={'0': {'images': 330, 'bytes': 300_000}},
  ),
)
TEACHER = Rung(
  'teacher',
  'labels',
  results(
    entry('dm', 0.55),
    entry('random_full', 0.4),
    pool_seconds=90.0,
    teachers=3,
  ),
)


def test_baselines_come_first_and_each_rung_has_a_row():
  table = ladder_table([DM, TILES])
  assert table.columns == (
    'Rung',
    'Adds',
    'Epochs',
    'ConvNet, dm protocol',
    'ConvNet, idc protocol',
    'Bytes',
    'Condensing',
  )
  real = 'as many real images', 'as many bytes of real images'
  real = [f'{words} as in with tiles' for words in real]
  assert table.rows == [
    ('random real, whole', real[0], '–', '30.0 ± 1.0', '–', '307 kB', '–'),
    ('random JPEG', real[1], '–', '35.0 ± 1.0', '–', '300 kB', '–'),
    (
      'dm',
      'the first',
      '1,000',
      '40.0 ± 1.0',
      # Of fewer networks than the others.
      '45.0 ± 1.0 (2 sets × 1 network)',
      '307 kB',
      '30 s',
    ),
    ('with tiles', 'tiles', '–', '50.0 ± 1.0', '–', '307 kB', '30 s'),
  ]
  assert '2 sets × 2 networks' in table.notes[0]
  assert 'cifar10, 10 images per class' in table.title


def test_images_of_one_s_own_are_called_by_their_folder():
  data = {'name': 'folder', 'place': 'my_photos'}
  rung = Rung('dm', '', results(entry('dm', 0.4), data=data))
  assert ladder_table([rung]).title.startswith('my_photos, 10 images')


def test_other_baselines_follow_their_rung_and_the_pool_is_told_once():
  table = ladder_table([DM, TILES, TEACHER])
  assert [row[:2] for row in table.rows[-2:]] == [
    ('teacher', 'labels'),
    (
      'random real, whole',
      'as many real images as in teacher, labelled as there',
    ),
  ]
  # Its training, not that another rung read it.
  assert 'the pool, which took 1 min 30 s once for all' in table.notes[1]
  assert 'pool' not in ladder_table([DM]).notes[1]


def test_a_curve_is_the_mean_over_sets_by_seconds():
  # Only one of the sets has reached step 200.
  assert DM.curve == {0.0: pytest.approx(0.15), 20.0: pytest.approx(0.4)}
  assert TILES.curve == {}


def test_each_rung_with_a_curve_is_a_line_of_its_own():
  rungs = [Rung(f'r_{n}', '', DM.results, 1, DM.seconds) for n in range(9)]
  figure = ladder_figure([TILES, *rungs])
  assert figure is not None
  (axes,) = figure.axes
  lines = axes.get_lines()
  assert [line.get_label() for line in lines] == [f'r {n}' for n in range(9)]
  styles = {(line.get_color(), line.get_linestyle()) for line in lines}
  assert len(styles) == 9
  drawn = np.array(lines[0].get_data())
  np.testing.assert_allclose(drawn, [[0, 20], [15, 40]])
  assert ladder_figure([TILES]) is None


def test_all_is_written_and_the_record_holds_every_accuracy(tmp_path):
  table, paths = write([DM, TILES], tmp_path)
  assert sorted(path.name for path in paths) == [
    f'ladder.{kind}' for kind in ('html', 'json', 'md', 'png', 'svg')
  ]
  assert all(path.stat().st_size for path in paths)
  assert (tmp_path / 'ladder.md').read_text().strip() == table.as_markdown()
  record = json.loads((tmp_path / 'ladder.json').read_text())
  # Another machine makes the same table of it.
  assert from_record(record) == [DM, TILES]
  assert ladder_table(from_record(record)) == table
  page = (tmp_path / 'ladder.html').read_text()
  assert '45.0 ± 1.0 (2 sets × 1 network)' in page
  assert page.count('data:image/svg+xml;base64,') == 1


def test_seconds_are_read_from_the_lines_of_metrics(tmp_path):
  for folder, seconds in (('dm', (1.5, 2.0)), ('dm/set_1', (3.0, 1.0))):
    path = tmp_path / folder
    path.mkdir()
    lines = [
      {'step': 10 * (i + 1), 'loss': 1.0, 'seconds': s}
      for i, s in enumerate(seconds)
    ]
    text = '\n'.join(map(json.dumps, lines))
    (path / 'metrics.jsonl').write_text(f'{text}\n')
  rows = [validation(0, 0, 0.1), validation(1, 10, 0.2), validation(0, 99, 0.2)]
  written = {'method': 'dm', 'sets': 2, 'validation': rows}
  (tmp_path / 'dm/results.json').write_text(json.dumps(written))
  (tmp_path / 'dm/config.json').write_text('{"evaluate": {"epochs": 30}}')
  rung = Rung.read(tmp_path, 'dm', 'the first')
  assert rung is not None
  # Of steps that were judged alone, and no step that has no line.
  assert rung.seconds == {'0': {'0': 0, '10': 1.5}, '1': {'0': 0, '10': 3.0}}
  assert rung.epochs == 30
  assert Rung.read(tmp_path, 'tiles', '') is None


def test_rungs_that_do_not_belong_together(tmp_path):
  other = Rung('other', '', results(entry('dm', math.nan), seed=4))
  with pytest.raises(InputError, match='rungs dm and other differ') as error:
    ladder_table([DM, other])
  assert '\n' not in str(error.value)
  with pytest.raises(InputError, match='has no rung yet: run some first'):
    write([], tmp_path)
