import pytest

from dm_jax.config.sections import CondenseConfig
from dm_jax.configs.default import DIGIT_OPERATIONS
from dm_jax.report import paper

# As the paper (arXiv 2110.04181) prints them.
PRINTED = {
  # Table 1.
  ('cifar10', 'dm'): {1: (26.0, 0.8), 10: (48.9, 0.6), 50: (63.0, 0.4)},
  ('cifar100', 'dm'): {1: (11.4, 0.3), 10: (29.7, 0.3), 50: (43.6, 0.4)},
  ('tiny_imagenet', 'dm'): {1: (3.9, 0.2), 10: (12.9, 0.4), 50: (24.1, 0.3)},
  ('cifar10', 'random'): {1: (14.4, None), 10: (26.0, None), 50: (43.4, None)},
  ('cifar10', 'herding'): {10: (31.6, None)},
  ('cifar10', 'k_center'): {10: (14.7, None)},
  ('cifar10', 'forgetting'): {10: (23.3, None)},
  ('cifar10', 'whole'): {None: (84.8, None), 10: (84.8, None)},
  ('cifar100', 'herding'): {50: (33.7, None)},
  ('cifar100', 'whole'): {50: (56.2, None)},
  ('tiny_imagenet', 'forgetting'): {1: (1.6, None)},
  ('tiny_imagenet', 'whole'): {1: (37.6, None)},
  # As published.
  ('fashion_mnist', 'dm'): {1: (70.7, None), 50: (88.1, None)},
}


@pytest.mark.parametrize(('data', 'method'), PRINTED)
def test_the_accuracies_are_those_that_the_paper_prints(data, method):
  for size, figure in PRINTED[data, method].items():
    assert paper.find(data, method, size) == figure


def test_what_is_not_printed_is_none():
  assert paper.find('cifar10', 'dm', 7) is None
  assert paper.find('mnist', 'dm', 10) is None
  assert paper.find('fashion_mnist', 'forgetting', 10) is None
  assert paper.find('tiny_imagenet', 'k_center', 10) is None


@pytest.mark.parametrize('data', paper.TABLE)
def test_the_whole_set_is_best_and_more_images_are_better(data):
  columns = paper.TABLE[data]
  best, _ = columns['whole'][None]
  for column in columns.values():
    assert all(0 < accuracy <= best < 100 for accuracy, _ in column.values())
  sizes = [size for size in columns['dm'] if size is not None]
  assert sizes[:3] == [1, 10, 50]
  assert sizes == sorted(sizes)
  accuracies = [columns['dm'][size][0] for size in sizes]
  assert accuracies == sorted(accuracies)


def test_the_papers_augmentation_is_the_default_and_that_of_digits():
  default = CondenseConfig().augment
  assert (default, DIGIT_OPERATIONS) == paper.AUGMENT


def test_every_set_says_which_images_its_figures_are_of():
  assert paper.IMAGES.keys() == paper.TABLE.keys()


def test_what_is_not_the_papers_is_told_by_name_and_value():
  papers = {'condense': {'smoothing': 0.0, 'storage': 'plain'}, 'seed': 3}
  assert paper.otherwise(papers) == {}
  # A later version's settings, and none at all.
  assert paper.otherwise({'condense': {'more': 1}}) == {}
  other = {'condense': {'smoothing': 2.0}, 'embedder': {'name': 'pool'}}
  assert paper.otherwise(other) == {
    'condense.smoothing': 2.0,
    'embedder.name': 'pool',
  }
