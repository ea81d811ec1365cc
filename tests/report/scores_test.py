import math

import pytest

from dm_jax.records.results import Results, from_json
from dm_jax.report.scores import (
  Score,
  advice,
  evaluation_table,
  image_counts,
  label_note,
  origin,
  read_scores,
  sentence,
  warnings,
)


def entry(method, size, mean, std=0.004, sets=((0.5, 0.5),), network='convnet'):
  return {
    'method': method,
    'images_per_class': size,
    'network': network,
    'accuracies': [list(accuracies) for accuracies in sets],
    'mean': mean,
    'std': std,
  }


VALUES = {
  'method': 'dm',
  'images_per_class': 10,
  'networks': ['convnet'],
  'data': {'train_images': 1437, 'classes': 10},
  'evaluations': [
    entry('dm', 10, 0.923, 0.004, [[0.919, 0.927]]),
    entry('random', 10, 0.851, 0.012, [[0.85, 0.86]]),
  ],
}


RESULTS = from_json(VALUES)


def changed(**changes):
  return from_json(VALUES | changes)


def with_entries(*entries, **changes):
  return changed(evaluations=list(entries), **changes)


def test_scores_are_of_the_first_network_and_the_largest_size():
  more = [
    entry('dm', 1, 0.5),
    entry('dm', 10, 0.6, network='mlp'),
    entry('random', 10, 0.4, network='mlp'),
  ]
  results = with_entries(
    *more, *VALUES['evaluations'], networks=['convnet', 'mlp']
  )
  synthetic, random = read_scores(results)
  assert synthetic == Score(
    'synthetic',
    '10 per class',
    0.923,
    0.004,
    (0.919, 0.927),
    own=True,
    count='2 networks',
  )
  assert (random.name, random.own, str(random)) == (
    'random real',
    False,
    '85.1 ± 1.2',
  )
  assert read_scores(Results()) == []


def test_sentences_and_warnings_speak_of_the_first_protocol():
  results = with_entries(
    entry('dm', 10, 0.7) | {'protocol': 'idc'},
    entry('dm', 10, 0.5),
    entry('random', 10, 0.75) | {'protocol': 'idc'},
    entry('random', 10, 0.4),
    protocols=['dm', 'idc'],
  )
  assert [score.mean for score in read_scores(results)] == [0.5, 0.4]
  assert [score.mean for score in read_scores(results, 'idc')] == [0.7, 0.75]
  assert warnings(results) == []
  assert sentence(results).startswith(
    'Networks (ConvNet, dm protocol) trained on nothing else reach 50.0'
  )


def test_the_runs_own_set_comes_first_and_the_whole_set_last():
  entries = [
    entry('whole', None, 0.99, sets=[[0.99]]),
    entry('random', 10, 0.5),
    entry('herding', 10, 0.6, sets=[[0.6, 0.6], [0.6, 0.6]]),
    entry('k_center', 10, 0.4),
  ]
  scores = read_scores(with_entries(*entries, method='herding'))
  assert [(s.name, s.own, s.count) for s in scores] == [
    ('herding', True, '2 sets × 2 networks'),
    ('random real', False, '2 networks'),
    ('k-center', False, '2 networks'),
    ('whole set', False, '1 network'),
  ]
  # One network has no deviation.
  assert (str(scores[-1]), scores[-1].detail) == ('99.0', '1,437 images')


def test_every_size_and_network_that_is_not_above_random_warns():
  results = with_entries(
    entry('dm', 1, 0.2),
    entry('dm', 10, 0.4),
    entry('dm', 10, math.nan, network='resnet18:norm=batch'),
    entry('random', 1, 0.1),
    entry('random', 10, 0.4),
    entry('random', 10, 0.3, network='resnet18:norm=batch'),
    entry('herding', 1, 0.05),
  )
  equal, nan = warnings(results)
  assert equal == (
    'convnet, 10 per class: synthetic images reach 40.0 %, no better than'
    ' random real ones, 40.0 %.'
  )
  assert nan.startswith('resnet18:norm=batch, 10 per class: ')
  assert 'smaller condense.learning_rate' in advice(results)


def test_selected_images_warn_without_advice():
  entries = entry('herding', 10, 0.3), entry('random', 10, 0.4)
  results = with_entries(*entries, method='herding')
  assert 'herding images reach 30.0 %' in warnings(results)[0]
  assert advice(results) == ''


@pytest.mark.parametrize(
  'results',
  [
    Results(),
    RESULTS,
    with_entries(entry('random', 10, 0.3), method='random'),
    with_entries(entry('dm', 10, 0.3), entry('random', 1, 0.4)),
    with_entries(
      entry('whole', None, 0.3), entry('random', 10, 0.4), method='whole'
    ),
  ],
)
def test_nothing_to_warn_of(results):
  assert warnings(results) == []
  assert advice(results) == ''


def test_the_sentence_compares_with_what_is_known():
  assert sentence(RESULTS) == (
    'Networks trained on nothing else reach 92.3 ± 0.4 % on the test set, '
    '7.2 points above as many random real images.'
  )
  assert sentence(with_entries(entry('random', 10, 0.5))) == ''


def test_the_sentence_names_sets_and_network():
  results = with_entries(
    entry('random', 10, 0.5, 0.01, [[0.5, 0.5]] * 5),
    method='random',
    networks=['convnet', 'mlp'],
  )
  assert sentence(results) == (
    'Networks (ConvNet) trained on nothing else reach 50.0 ± 1.0 % on the test'
    ' set, over 5 sets × 2 networks.'
  )


@pytest.mark.parametrize(
  ('method', 'text'),
  [
    ('dm', '1,437 real images were condensed into 100 synthetic ones.'),
    ('random', '100 of 1,437 real images were drawn at random.'),
    ('herding', '100 of 1,437 real images were selected by herding.'),
    ('whole', 'All 1,437 real images were taken.'),
  ],
)
def test_where_the_images_come_from(method, text):
  assert origin(changed(method=method)) == text


def test_several_sets_are_named():
  assert origin(changed(sets=5)).endswith(
    'synthetic ones, 5 times independently.'
  )
  assert origin(Results(method='herding')) == (
    'A few real images were selected by herding.'
  )


def test_random_jpeg_says_how_many_images_fill_the_bytes():
  files = {'0': {'images': 330, 'bytes': 6400}}
  entries = entry('dm', 10, 0.5), entry('random_jpeg', 10, 0.6)
  results = with_entries(*entries, jpeg=files)
  ours, jpeg = read_scores(results)
  assert (jpeg.name, jpeg.detail, jpeg.bytes) == (
    'random JPEG',
    '33 per class',
    6400,
  )
  assert ours.detail == '10 per class'
  assert '10.0 points below as many bytes of random JPEG' in sentence(results)
  assert 'no better than random JPEG ones, 60.0 %' in warnings(results)[0]
  own = with_entries(entries[1], jpeg=files, method='random_jpeg')
  assert image_counts(own) == (1437, 330)
  assert warnings(own) == []


def test_images_of_unequal_classes_are_counted():
  data = VALUES['data'] | {'image_shape': [2, 2, 1]}
  results = changed(stored_images=105, data=data)
  assert image_counts(results) == (1437, 105)
  assert '1,437 real images were condensed into 105' in origin(results)
  own, random = read_scores(results)
  assert (own.detail, own.bytes) == ('about 10 per class', 420)
  assert (random.detail, random.bytes) == ('10 per class', 400)


def test_images_are_counted_if_known():
  assert image_counts(RESULTS) == (1437, 100)
  assert image_counts(changed(method='whole')) == (1437, 1437)
  assert image_counts(Results()) is None


@pytest.mark.parametrize(
  ('teachers', 'note'),
  [
    (None, ''),
    (0, 'Labels are probabilities: do not compare'),
    (1, 'from a teacher, 1 network trained on real images: do not compare'),
    (4, 'from a teacher, 4 networks trained on real images: do not compare'),
  ],
)
def test_labels_that_are_no_classes_are_noted(teachers, note):
  results = changed(teachers=teachers)
  assert note in label_note(results)
  table = evaluation_table(results)
  assert table is not None
  assert [n for n in table.notes if 'Labels' in n] == (
    [label_note(results)] if note else []
  )


def test_the_whole_set_keeps_its_classes():
  whole = entry('whole', None, 0.99)
  results = with_entries(*VALUES['evaluations'], whole, teachers=2)
  assert 'but for the whole set, which keeps its classes' in label_note(results)
