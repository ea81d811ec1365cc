from dm_jax.report_scores import Score, read_scores, sentence, warning

RESULTS = {
  'images_per_class': 10,
  'accuracy_mean': 0.923,
  'accuracy_std': 0.004,
  'accuracies': [0.919, 0.927],
  'baseline_random_mean': 0.851,
  'baseline_random_std': 0.012,
}


def test_scores_are_read_in_order_and_only_if_there():
  synthetic, random = read_scores(RESULTS)
  assert synthetic == Score(
    'synthetic', '10 per class', 0.923, 0.004, [0.919, 0.927]
  )
  assert random == Score('random real', '10 per class', 0.851, 0.012)
  assert str(random) == '85.1 ± 1.2'
  assert read_scores({}) == []


def test_one_network_has_no_deviation():
  (score,) = read_scores(
    {'whole_set_mean': 0.9, 'whole_set_std': 0.0, 'whole_set_accuracies': [0.9]}
  )
  assert score == Score('whole set', 'all images', 0.9, None, [0.9])
  assert str(score) == '90.0'


def test_an_accuracy_that_is_no_number_warns():
  scores = read_scores(RESULTS | {'accuracy_mean': float('nan')})
  assert 'no better' in warning(scores)
  assert warning(read_scores(RESULTS)) == ''
  assert warning([]) == ''


def test_the_sentence_compares_with_what_is_known():
  assert sentence(read_scores(RESULTS)) == (
    'Networks trained on nothing else reach 92.3 ± 0.4 % on the test set, '
    '7.2 points above as many random real images.'
  )
  assert sentence(read_scores({'baseline_random_mean': 0.5})) == ''
