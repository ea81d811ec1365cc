import pytest

from dm_jax.config.sections import NetworkConfig
from dm_jax.errors import InputError
from dm_jax.networks.labels import POOLS, label, parse_pool
from dm_jax.networks.registry import make_network

BASE = NetworkConfig(width=32, norm='batch', depth=2)


def test_same_is_the_base():
  assert parse_pool('same', BASE) == (BASE,)


def test_another_network_takes_over_width_and_norm_alone():
  members = parse_pool('convnet,resnet18,vgg11:norm=layer', BASE)
  assert members == (
    BASE,
    NetworkConfig('resnet18', width=32, norm='batch'),
    NetworkConfig('vgg11', width=32, norm='layer'),
  )


def test_changes_are_of_their_field_and_kind():
  (member,) = parse_pool('same:width=256:activation=swish', BASE)
  assert member == NetworkConfig(
    width=256, norm='batch', depth=2, activation='swish'
  )


def test_a_member_comes_once():
  assert len(parse_pool('same,convnet,width', BASE)) == 4
  widths = [member.width for member in parse_pool('same,width', BASE)]
  assert widths == [32, 64, 128, 256]


@pytest.mark.parametrize('name', POOLS)
def test_every_member_of_the_original_pools_can_be_made(name):
  for member in parse_pool(name, NetworkConfig()):
    make_network(member, image_shape=(32, 32, 3), classes=10)


def test_labels_are_read_back():
  for name in POOLS:
    for member in parse_pool(name, NetworkConfig()):
      assert parse_pool(label(member), NetworkConfig()) == (member,)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('convnet,resnet', "unknown member of evaluate.pool 'resnet'.*resnet18"),
    ('convnet:widht=3', "unknown change in 'convnet:widht=3'.*width"),
    ('convnet:width=wide', "'width=wide' in evaluate.pool"),
    ('convnet:norm=bach', 'batch'),
    ('', 'no member'),
    ('none', 'no member'),
  ],
)
def test_what_is_no_pool(text, message):
  with pytest.raises(InputError, match=message):
    parse_pool(text, BASE)
