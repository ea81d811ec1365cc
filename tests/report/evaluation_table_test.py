import numpy as np

from dm_jax.records.evaluations import Evaluation
from dm_jax.records.results import (
  Results,
  from_json,
)
from dm_jax.report.scores import evaluation_table


def entry(method, size, network, *sets):
  each = np.concatenate(sets)
  return {
    'method': method,
    'images_per_class': size,
    'network': network,
    'accuracies': [list(accuracies) for accuracies in sets],
    'mean': float(each.mean()),
    'std': float(each.std()),
  }


RESULTS = {
  'method': 'dm',
  'images_per_class': 10,
  'sizes': [1, 10],
  'networks': ['convnet', 'vgg11:norm=batch'],
  'condensing_network': 'convnet',
  'data': {
    'name': 'cifar10',
    'classes': 10,
    'train_images': 50_000,
    'image_shape': [32, 32, 3],
  },
  'evaluations': [
    entry('whole', None, 'convnet', [0.848]),
    entry('random', 1, 'convnet', [0.14, 0.16], [0.15, 0.15]),
    entry('dm', 10, 'convnet', [0.48, 0.5], [0.47, 0.51]),
    entry('dm', 1, 'convnet', [0.25, 0.27], [0.26, 0.26]),
    entry('dm', 1, 'vgg11:norm=batch', [0.2, 0.2], [0.2]),
  ],
}


def table_of(results):
  table = evaluation_table(from_json(results))
  assert table is not None
  return table


def test_rows_are_sets_and_columns_networks():
  table = table_of(RESULTS)
  assert table.columns == (
    'Images per class',
    'Set',
    'Bytes',
    'ConvNet',
    'VGG-11, batch norm',
  )
  assert table.rows == (
    ('1', 'DM', '30.7 kB', '26.0 ± 0.7', '20.0 ± 0.0'),
    ('1', 'random real', '30.7 kB', '15.0 ± 0.7', '–'),
    ('10', 'DM', '307 kB', '49.0 ± 1.6', '–'),
    # One network deviates from nothing.
    ('–', 'whole set', '154 MB', '84.8', '–'),
  )
  assert 'cifar10' in table.title


def test_the_note_says_how_many_networks_each_cell_has():
  table = table_of(RESULTS)
  note, counted = table.notes
  assert counted.startswith('Bytes: of the stored images without labels, 8')
  assert note == (
    'In %, mean ± deviation over all networks. Each cell: 2 sets × 2 networks,'
    ' but 2 sets, 3 networks in all for DM, 1 per class on VGG-11, batch norm,'
    ' 1 set × 1 network for whole set on ConvNet. The images were condensed'
    ' with ConvNet.'
  )
  even = RESULTS | {'evaluations': RESULTS['evaluations'][1:4]}
  note, _ = table_of(even | {'method': 'random'}).notes
  assert note.endswith('Each cell: 2 sets × 2 networks.')


def test_several_protocols_have_a_column_each():
  rows = [
    entry('dm', 10, 'convnet', [0.5]) | {'protocol': 'idc'},
    entry('dm', 10, 'convnet', [0.4]),
    entry('random', 10, 'convnet', [0.3, 0.3]) | {'protocol': 'idc'},
  ]
  table = table_of(
    RESULTS
    | {'evaluations': rows, 'networks': ['convnet']}
    | {'protocols': ['dm', 'idc']}
  )
  assert table.columns[-2:] == ('ConvNet, dm protocol', 'ConvNet, idc protocol')
  assert [row[-2:] for row in table.rows] == [
    ('40.0', '50.0'),
    ('–', '30.0 ± 0.0'),
  ]
  assert table.title.endswith('by network and protocol')
  assert 'random real, 10 per class on ConvNet under idc' in table.notes[0]


def test_random_jpeg_counts_the_bytes_of_its_files():
  files = {'0': {'images': 330, 'bytes': 300_000}}
  files['1'] = {'images': 332, 'bytes': 304_000}
  rows = [entry('random_jpeg', 10, 'convnet', [0.3])]
  values = RESULTS | {'evaluations': rows}
  assert table_of(values | {'jpeg': files}).rows[0][2] == '302 kB'
  assert table_of(values).rows[0][2] == '–'


def test_the_runs_own_method_comes_first():
  table = table_of(RESULTS | {'method': 'random'})
  assert [row[1] for row in table.rows] == [
    'random real',
    'DM',
    'DM',
    'whole set',
  ]


def test_nothing_evaluated_is_no_table():
  assert evaluation_table(Results()) is None
  assert evaluation_table(from_json(RESULTS | {'evaluations': []})) is None


def test_a_network_that_is_not_evaluated_yet_has_its_column():
  one = RESULTS | {'evaluations': RESULTS['evaluations'][:1]}
  table = table_of(one)
  assert table.rows == (('–', 'whole set', '154 MB', '84.8', '–'),)
  assert from_json({'evaluations': RESULTS['evaluations']}).pool == [
    'convnet',
    'vgg11:norm=batch',
  ]


def test_only_the_mean_is_needed():
  (evaluation,) = from_json(
    {'evaluations': [{'method': 'dm', 'network': 'mlp', 'mean': 0.5}]}
  ).evaluations
  assert evaluation == Evaluation('dm', 'mlp', mean=0.5)
  assert (str(evaluation), evaluation.count) == ('50.0', '')
  table = table_of(
    {'evaluations': [{'method': 'dm', 'network': 'mlp', 'mean': 0.5}]}
  )
  assert table.rows == (('–', 'DM', '–', '50.0'),)
