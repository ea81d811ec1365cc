import pytest

from dm_jax.words import (
  format_bytes,
  format_seconds,
  method_order,
  network_name,
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
