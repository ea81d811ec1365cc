import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import EvalResult
from dm_jax.words import (
  format_bytes,
  format_seconds,
  method_order,
  network_name,
  short_repr,
)


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [
    (0.0624, '62.4 ms'),
    (4.21, '4.2 s'),
    (9.96, '10 s'),
    (59.6, '1 min 0 s'),
    (200, '3 min 20 s'),
    (3599.7, '1 h 0 min'),
    (7500, '2 h 5 min'),
    (100 * 3600, '100 h 0 min'),
  ],
)
def test_durations(seconds, text):
  assert format_seconds(seconds) == text


@pytest.mark.parametrize(
  ('count', 'text'),
  [
    (0, '0 bytes'),
    (640, '640 bytes'),
    (6400, '6.4 kB'),
    (91_968, '92 kB'),
    (999_700, '1 MB'),
    (153_600_000, '154 MB'),
    (81.5e9, '81.5 GB'),
    (2e12, '2,000 GB'),
  ],
)
def test_bytes(count, text):
  assert format_bytes(count) == text


@pytest.mark.parametrize(
  ('label', 'name'),
  [
    ('convnet', 'ConvNet'),
    ('resnet18:norm=batch:width=32', 'ResNet-18, batch norm, width 32'),
    ('resnet18_ap', 'ResNet-18 (average pooling)'),
    ('convnet:norm=none:pooling=max', 'ConvNet, no norm, max pooling'),
    ('vgg11:depth=2', 'VGG-11, depth 2'),
    ('mine:odd', 'mine, odd'),
  ],
)
def test_networks_have_names_for_people(label, name):
  assert network_name(label) == name


def test_methods_have_one_order_the_own_first():
  methods = ['whole', 'other', 'herding', 'early_stopping', 'dm', 'random']
  assert method_order(methods, 'herding') == [
    'herding',
    'dm',
    'random',
    'early_stopping',
    'whole',
    'other',
  ]
  assert method_order(reversed(methods), None)[0] == 'dm'


@dataclasses.dataclass
class Held:
  step: object
  rest: object = None


@pytest.mark.parametrize(
  ('value', 'text'),
  [
    (Held(jnp.int32(3), np.ones((2, 3))), 'Held(step=3, rest=float64[2, 3])'),
    (Held(0.123456), 'Held(step=0.1235, rest=None)'),
    ((1, 2, 3), '(1, 2, 3)'),
    (tuple(range(1000)), '(0, 1, 2, … 1,000 in all)'),
    ({'a': [1], 'b': {}}, '{a=(1,), b={}}'),
    (dict.fromkeys(range(5), 0), '{0=0, 1=0, 2=0, … 5 in all}'),
    ('x' * 100, f"'{'x' * 59}…"),
    (jax.random.key(0, impl='threefry2x32'), 'key<fry>[]'),
    (Held, repr(Held)),
  ],
)
def test_values_are_told_in_short(value, text):
  assert short_repr(value) == text


def test_a_value_in_a_trace_is_told_by_its_shape():
  told = []
  jax.jit(lambda x: told.append(short_repr(x)) or x)(jnp.float32(1))
  assert told == ['float32[]']


def test_sets_and_results_of_a_thousand_classes_print_in_a_few_lines():
  names = tuple(f'class {i}' for i in range(1000))
  made = SyntheticSet.from_images(
    np.zeros((1000, 8, 8, 1), np.float32),
    np.arange(1000),
    (0.5,),
    (0.2,),
    names,
  )
  assert repr(made).startswith('SyntheticSet(stored=float32[1000, 8, 8, 1], ')
  assert "class_names=('class 0', 'class 1', 'class 2', … 1,000 in" in repr(
    made
  )
  assert len(repr(made)) < 400
  result = EvalResult((0.5, 0.75), ((1,) * 1000,) * 2)
  assert repr(result) == 'EvalResult(mean=0.625, std=0.125, networks=2)'
