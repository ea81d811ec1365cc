import dataclasses
import itertools
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from dm_jax.applications.search import (
  early_stopping,
  keep_fitting,
  list_space,
  train_networks,
)
from dm_jax.config.sections import EvalConfig, NetworkConfig
from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError
from dm_jax.networks.family import split_families
from dm_jax.networks.registry import make_network
from dm_jax.selection.select import select_classes
from dm_jax.training.evaluate import NetworksDiverged, evaluate
from dm_jax.types import Batch

KEY = jax.random.key(0)
# One operation to draw parameters of: each more is compiled for each network.
CONFIG = EvalConfig(
  networks=1, epochs=6, learning_rate=0.05, batch_size=16, augment='crop'
)
BASE = NetworkConfig(width=4, depth=1)


@pytest.fixture(scope='module')
def digits():
  found: Any = load_digits()
  images = np.round(found.images * 255 / 16).astype(np.uint8)[..., None]
  return ClassData.from_arrays(images[:1000], found.target[:1000]), (
    images[1000:],
    found.target[1000:],
  )


def variants(base=BASE):
  """The six members of a family with pooling."""
  names = itertools.product(('sigmoid', 'relu', 'leaky_relu'), ('max', 'avg'))
  return [
    dataclasses.replace(base, activation=activation, pooling=pooling)
    for activation, pooling in names
  ]


def test_the_papers_space_is_the_720_networks():
  networks = list_space('paper')
  assert len(networks) == len(set(networks)) == 720
  expected = {
    NetworkConfig('convnet', width, depth, norm, activation, pooling)
    for width in (32, 64, 128, 256)
    for depth in (1, 2, 3, 4)
    for norm in ('none', 'batch', 'layer', 'instance', 'group')
    for activation in ('sigmoid', 'relu', 'leaky_relu')
    for pooling in ('none', 'max', 'avg')
  }
  assert set(networks) == expected


def test_the_small_space_is_24_networks():
  networks = list_space('small')
  assert len(networks) == len(set(networks)) == 24


def test_an_unknown_space_is_refused():
  with pytest.raises(InputError, match='did you mean small'):
    list_space('smal')


def test_networks_that_are_too_deep_are_left_out():
  # Images of 8×8 can be halved three times: 4 widths × 5 norms × 3 activations
  # × 2 poolings have four layers.
  fitting = keep_fitting(list_space('paper'), (8, 8, 1), 10)
  assert len(fitting) == 720 - 120
  assert not [n for n in fitting if n.depth == 4 and n.pooling != 'none']


def test_a_space_of_which_nothing_fits_is_refused():
  message = r'no network of the search space takes these images: .* 1×1 pixels'
  with pytest.raises(InputError, match=message):
    keep_fitting(list_space('small'), (1, 1, 3), 10)


def test_families_are_networks_of_equal_shape():
  families = split_families(list_space('paper'))
  # 4 widths × 4 depths × 5 norms, with pooling and without.
  assert len(families) == 160
  assert sorted({len(family.members) for family in families}) == [3, 6]
  for family in families[:4]:
    shapes = {
      str(
        jax.tree.map(
          lambda leaf: leaf.shape,
          jax.eval_shape(
            make_network(member, image_shape=(16, 16, 3), classes=10).init, KEY
          )['params'],
        )
      )
      for member in family.members
    }
    assert len(shapes) == 1


def test_a_family_is_of_different_convnets():
  with pytest.raises(InputError, match='families are of ConvNets, got vgg11'):
    split_families([NetworkConfig('vgg11')])
  with pytest.raises(InputError, match='comes twice'):
    split_families([BASE, BASE])


@pytest.mark.parametrize('norm', ['instance', 'batch'])
def test_together_or_alone_networks_learn_the_same(digits, norm):
  """Three of six members: each activation and each pooling is among them."""
  data, (images, labels) = digits
  family = variants(dataclasses.replace(BASE, norm=norm))
  members = [family[place] for place in (0, 3, 4)]
  chosen = select_classes(data, 'random', 4, key=KEY)
  together = list(
    train_networks(members, chosen, images, labels, CONFIG, key=KEY)
  )
  assert [trained.network for trained in together] == members
  for trained in together:
    alone = evaluate(
      chosen,
      images,
      labels,
      CONFIG,
      key=KEY,
      network=make_network(
        trained.network, image_shape=data.image_shape, classes=10
      ),
    )
    # Sums in another order may tip an image in a hundred over.
    assert trained.result.mean == pytest.approx(alone.mean, abs=0.01)
    assert trained.seconds > 0
  assert len({trained.result.mean for trained in together}) > 1


def test_members_give_the_logits_of_the_networks_they_are(digits):
  data, (images, _) = digits
  members = variants()
  (family,) = split_families(members)
  network = family.make(data.image_shape, 10)
  batch = jax.numpy.asarray(images[:5] / 255, jax.numpy.float32)
  for member in members:
    alone = make_network(member, image_shape=data.image_shape, classes=10)
    variables = alone.init(KEY)
    choice = jax.tree.map(lambda x: x[0], family.choose([member]))
    chosen = {**network.init(KEY), **choice}
    assert jax.tree.all(
      jax.tree.map(
        lambda a, b: (a == b).all(), chosen['params'], variables['params']
      )
    )

    def loss(params, network, variables):
      variables = {**variables, 'params': params}
      logits = network.apply(variables, batch, Batch(train=True)).logits
      return (logits**2).sum(), logits

    gradient = jax.grad(loss, has_aux=True)
    ours = gradient(chosen['params'], network, chosen)
    expected = gradient(variables['params'], alone, variables)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
      ours,
      expected,
    )


def test_each_network_comes_as_soon_as_it_is_trained(digits):
  """With several networks of each architecture on the eight test devices."""
  data, (images, labels) = digits
  chosen = select_classes(data, 'random', 2, key=KEY)
  config = dataclasses.replace(CONFIG, networks=4, epochs=0)
  calls = []
  trained = train_networks(
    variants(),
    chosen,
    images,
    labels,
    config,
    key=KEY,
    callback=lambda done, total: calls.append((done, total)),
  )
  first = next(trained)
  assert calls == [(8, 8)]  # Two architectures are trained at a time.
  assert len(first.result.accuracies) == 4
  every = [first, *trained]
  assert len(every) == 6
  assert calls == [(8, 8)] * 3
  # What two take together is half each one's, with what they compiled.
  for one, other in zip(every[::2], every[1::2], strict=True):
    assert (one.seconds, one.compile_seconds) == (
      *(other.seconds, other.compile_seconds),
    )
    assert 0 <= one.compile_seconds < one.seconds


def test_early_stopping_names_classes_that_have_no_names(digits):
  data, _ = digits
  nameless = jax.device_put(data)
  assert not nameless.class_names
  stopped, _ = early_stopping(nameless, 40, CONFIG, key=KEY)
  assert stopped.class_names == nameless.names


def test_early_stopping_takes_as_many_steps(digits):
  data, _ = digits
  # 40 images in batches of 16 are 3 steps an epoch, 7 epochs: 21 steps of 16.
  stopped, config = early_stopping(data, 40, CONFIG, key=KEY)
  assert len(stopped.labels) == 21 * 16
  assert (config.epochs, config.batch_size) == (0, 16)
  images = {image.tobytes() for image in stopped.images_uint8}
  assert len(images) > 0.95 * len(stopped.labels)  # A few digits are equal.
  # 156 steps of 16 pass over 1000 images two and a half times.
  longer = dataclasses.replace(CONFIG, epochs=51)
  stopped, config = early_stopping(data, 40, longer, key=KEY)
  assert len(stopped.labels) == 156 * 16
  assert (config.epochs, config.batch_size) == (0, 16)
  seen = np.bincount(stopped.labels, minlength=10)
  assert (2 * np.asarray(data.counts) <= seen).all()
  assert (seen <= 3 * np.asarray(data.counts)).all()
  # A real set smaller than a batch.
  few = data.take([0, 1])
  many = dataclasses.replace(CONFIG, epochs=0, batch_size=512)
  stopped, config = early_stopping(few, 400, many, key=KEY)
  assert (len(stopped.labels), config.batch_size) == (400, 400)
  # A set smaller than a batch is one batch, here of 8: 7 steps.
  stopped, config = early_stopping(data, 8, CONFIG, key=KEY)
  assert (len(stopped.labels), config.batch_size) == (7 * 8, 8)


def test_early_stopping_keeps_to_the_protocol(digits):
  """6 epochs of 3 steps, and one pass at the rate of the start."""
  data, _ = digits
  config = dataclasses.replace(CONFIG, protocol='idc')
  stopped, once = early_stopping(data, 40, config, key=KEY)
  assert len(stopped.labels) == 18 * 16
  assert once.epochs_run == 1
  assert once.training.schedule == 'half'
  assert once.training.cutmix == 0.5


def test_what_cannot_be_trained_is_refused_before_the_first(digits):
  data, (images, labels) = digits
  chosen = select_classes(data, 'random', 2, key=KEY)
  deep = dataclasses.replace(BASE, depth=4)
  with pytest.raises(InputError, match='depth 4 is too deep'):
    train_networks([BASE, deep], chosen, images, labels, CONFIG, key=KEY)


@pytest.mark.parametrize(
  ('networks', 'got'),
  [
    ('small', "'small'"),
    (['convnet'], "'convnet'"),
    (BASE, 'a NetworkConfig'),
    (None, 'None'),
  ],
)
def test_names_are_no_networks(digits, networks, got):
  data, (images, labels) = digits
  chosen = select_classes(data, 'random', 2, key=KEY)
  message = f'networks must be a list of .*NetworkConfig, got {got}: take'
  with pytest.raises(InputError, match=message):
    keep_fitting(networks, (8, 8, 1), 10)
  with pytest.raises(InputError, match=message):
    train_networks(networks, chosen, images, labels, key=KEY)


def test_a_network_that_diverges_is_named_and_counted(digits):
  data, (images, labels) = digits
  chosen = select_classes(data, 'random', 2, key=KEY)
  config = dataclasses.replace(CONFIG, learning_rate=1e30, epochs=2, networks=2)
  with pytest.warns(NetworksDiverged) as told:
    (trained,) = train_networks([BASE], chosen, images, labels, config, key=KEY)
  assert trained.result.diverged == 2
  (line,) = [str(each.message) for each in told]
  assert line.startswith('convnet:width=4:depth=1: 2 of 2 networks diverged')


def test_a_search_goes_on_with_the_same_programs(digits):
  data, (images, labels) = digits
  chosen = select_classes(data, 'random', 2, key=KEY)
  arguments = (variants(), chosen, images, labels, CONFIG)
  every = list(train_networks(*arguments, key=KEY))
  left = list(train_networks(*arguments, key=KEY, skip=variants()[:4]))
  assert [(t.network, t.result) for t in left] == [
    (t.network, t.result) for t in every[4:]
  ]
