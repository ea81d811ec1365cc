"""scikit-learn's handwritten digits: 8 × 8 pixels, in the package itself."""

import numpy as np

from dm_jax.data.source import Contents, Source, from_array

# Part of the dataset, not of a run: every run must see the same test images.
_SPLIT_SEED = 0
_TEST_SHARE = 0.2


def source() -> Source:
  """1,797 grey digits, a fifth of each class as the test set.

  uint8 [N, 8, 8, 1], N = 1,437 and 360.

  Source: UCI Optical Recognition of Handwritten Digits, test part.
  """
  return Source(state=_state, open=_open)


def _state() -> str:
  import sklearn

  return f'{sklearn.__version__} {_SPLIT_SEED} {_TEST_SHARE}'


def _open() -> Contents:
  from sklearn import datasets, model_selection

  values, labels = datasets.load_digits(return_X_y=True)
  # Each value counts the set pixels of a 4 × 4 block.
  images = np.rint(np.reshape(values, (-1, 8, 8, 1)) * (255 / 16))
  images = images.astype(np.uint8)
  train, test = model_selection.train_test_split(
    np.arange(len(labels)),
    test_size=_TEST_SHARE,
    random_state=_SPLIT_SEED,
    stratify=labels,
  )
  return Contents(
    from_array(images[train], labels[train]),
    from_array(images[test], labels[test]),
    images.shape[1:],
  )
