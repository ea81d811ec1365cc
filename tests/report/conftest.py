import pytest

from dm_jax.types import Json


@pytest.fixture(scope='session')
def continual() -> Json:
  """What a finished run of continual learning leaves in results.json."""
  return {
    'steps': 2,
    'orders': 1,
    'budget_bytes': 0,
    'store': 'uint8',
    'rows': [
      {'order': 0, 'step': step, 'method': 'dm', 'accuracies': [0.9, 0.94]}
      for step in range(2)
    ],
    'methods': {
      'dm': {
        'classes': [5, 10],
        'mean': [0.98, 0.92],
        'std': [0.01, 0.02],
        'forgetting_mean': 0.0512,
        'forgetting_std': 0.004,
        'seconds_per_class': 3.2,
        'bytes_per_class': 640,
      }
    },
  }


@pytest.fixture(scope='session')
def search() -> Json:
  """What a finished architecture search leaves in results.json."""
  return {
    'space': 'small',
    'networks': ['convnet:width=16', 'mlp'],
    'real': {'accuracies': {'convnet:width=16': [0.97], 'mlp': [0.981]}},
    'sets': {'dm': {'accuracies': {'convnet:width=16': [0.5], 'mlp': [0.4]}}},
    'agreement': {
      'dm': {
        'groups': [
          {'share': 1.0, 'networks': 2, 'spearman': 1.0, 'kendall': 0.75},
          {'share': 0.05, 'networks': 1, 'spearman': None, 'kendall': None},
        ],
        'picked': 'convnet:width=16',
        'picked_accuracy': 0.97,
        'best': 'mlp',
        'best_accuracy': 0.981,
        'seconds': 130.0,
        'real_seconds': 400.0,
      }
    },
  }
