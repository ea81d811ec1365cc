import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.config.sections import ACTIVATIONS, NORMS, POOLINGS, NetworkConfig
from dm_jax.errors import InputError
from dm_jax.networks.labels import label
from dm_jax.networks.layers import Norm, average_pool, max_pool
from dm_jax.networks.registry import make_network, register_network
from dm_jax.types import Batch

KEY = jax.random.key(0)


def make(image_shape=(8, 8, 1), **options):
  options = {'width': 4, 'depth': 1} | options
  return make_network('convnet', image_shape=image_shape, classes=3, **options)


@pytest.fixture(scope='module')
def many_parameters():
  """64 networks' parameters; every leaf has them as its first axis."""
  init = jax.jit(make((8, 8, 3), width=8, depth=2).init)
  drawn = [init(key)['params'] for key in jax.random.split(KEY, 64)]
  return jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)


def some_variables(network):
  """Variables of a network that cost no compilation."""
  state = np.random.RandomState(0)
  return jax.tree.map(
    lambda s: jnp.asarray(state.uniform(-0.5, 0.5, s.shape), s.dtype),
    jax.eval_shape(network.init, KEY),
  )


def shapes(network, variables, images):
  """What the network makes of a batch, without computing it."""
  return jax.eval_shape(
    lambda v, x: network.apply(v, x, Batch(train=True)), variables, images
  )


def test_parameters_are_uniform_within_one_over_the_root_of_the_fan_in(
  many_parameters,
):
  layers = {'Convolution_0': 27, 'Convolution_1': 72, 'Linear_0': 32}
  for layer, fan_in in layers.items():
    bound = fan_in**-0.5
    for name in ('kernel', 'bias'):
      values = np.asarray(many_parameters[layer][name])
      what = f'{layer}/{name}'
      assert np.abs(values).max() <= bound, what
      assert np.abs(values).max() > 0.98 * bound, what
      assert abs(values.mean()) < 0.1 * bound, what
      np.testing.assert_allclose(values.var(), bound**2 / 3, rtol=0.15)


def test_norms_start_as_the_identity(many_parameters):
  norm = many_parameters['Norm_0']['InstanceNorm_0']
  assert (norm['scale'] == 1).all()
  assert (norm['bias'] == 0).all()


def test_a_key_decides_the_network():
  init = jax.jit(make().init)
  first, same, other = init(KEY), init(KEY), init(jax.random.key(1))
  assert jax.tree.all(jax.tree.map(np.array_equal, first, same))
  for layer in ('Convolution_0', 'Linear_0'):
    for name in ('kernel', 'bias'):
      a, b = first['params'][layer][name], other['params'][layer][name]
      assert (a != b).all()


def test_equal_arguments_give_one_and_the_same_network():
  assert make(norm='layer') is make(norm='layer')
  assert make(norm='layer') != make(norm='group')


# Each beside the defaults of the others.
OPTIONS = [
  *({'norm': norm} for norm in NORMS),
  *({'activation': activation} for activation in ACTIVATIONS[1:]),
  *({'pooling': pooling} for pooling in POOLINGS[1:]),
]


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_every_option_takes_images_of_every_size(options):
  for side in (28, 30, 32, 64):
    for channels in (1, 3):
      network = make((side, side, channels), depth=2, **options)

      def outputs(images, network=network):
        variables = network.init(KEY)
        outputs = network.apply(variables, images, Batch(train=False))
        return outputs.features, outputs.logits

      images = jax.ShapeDtypeStruct((5, side, side, channels), jnp.float32)
      features, logits = jax.eval_shape(outputs, images)
      side_padded = 32 if (side, channels) == (28, 1) else side
      pooled = side_padded // (1 if options.get('pooling') == 'none' else 4)
      assert features.shape == (5, pooled**2 * 4)
      assert logits.shape == (5, 3)
      assert features.dtype == logits.dtype == jnp.float32


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_features_are_finite_and_only_batch_norm_mixes_images(options):
  network = make((9, 7, 3), **options)
  variables = some_variables(network)

  @jax.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def outputs(images):
    features = network.apply(variables, images, Batch(train=True)).features
    return features.var(), features

  images = jax.random.normal(KEY, (4, 9, 7, 3))
  (_, features), gradient = outputs(images)
  assert np.isfinite(features).all()
  assert np.isfinite(gradient).all()
  assert (gradient != 0).any()
  (_, others), _ = outputs(images.at[2:].multiply(3))
  alone = np.allclose(features[:2], others[:2], atol=1e-5)
  assert alone != network.mixes_images
  assert network.mixes_images == (options.get('norm') == 'batch')


@pytest.mark.parametrize(
  ('image_shape', 'depth', 'pooling', 'features'),
  [
    ((32, 32, 3), 3, 'avg', 4 * 4 * 4),
    ((64, 64, 3), 4, 'avg', 4 * 4 * 4),
    ((28, 28, 1), 3, 'avg', 4 * 4 * 4),  # Padded to 32 × 32.
    ((28, 28, 3), 3, 'avg', 3 * 3 * 4),
    ((30, 30, 1), 3, 'max', 3 * 3 * 4),
    ((9, 7, 1), 2, 'max', 2 * 1 * 4),
    ((8, 8, 1), 3, 'avg', 1 * 1 * 4),
    ((8, 8, 1), 5, 'none', 8 * 8 * 4),
  ],
)
def test_size_of_the_features(image_shape, depth, pooling, features):
  network = make(image_shape, depth=depth, pooling=pooling)
  images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
  variables = jax.eval_shape(network.init, KEY)
  assert shapes(network, variables, images).features.shape == (2, features)


def test_instance_norm_by_hand():
  # A large mean and a small deviation: one-pass variances would be useless.
  values = np.random.RandomState(0).standard_normal((2, 6, 5, 3))
  images = jnp.asarray(100 + values, jnp.float32)
  norm, batch = Norm('instance'), Batch(train=True)
  variables = norm.init(KEY, images, batch)
  output = np.asarray(norm.apply(variables, images, batch))
  np.testing.assert_allclose(output.mean((1, 2)), 0, atol=1e-4)
  np.testing.assert_allclose(output.var((1, 2)), 1, atol=1e-3)


@pytest.mark.parametrize(
  ('norm', 'groups'), [('layer', 1), ('group', 4), ('instance', 8)]
)
def test_norm_over_groups_of_channels(norm, groups):
  images = np.random.RandomState(0).standard_normal((2, 4, 4, 8)) * 0.01
  grouped = images.reshape(2, 16, groups, 8 // groups)
  mean = grouped.mean((1, 3), keepdims=True)
  variance = grouped.var((1, 3), keepdims=True)
  # The deviation is near the root of epsilon, so that epsilon is seen.
  expected = (grouped - mean) / np.sqrt(variance + 1e-5)
  layer, batch = Norm(norm), Batch(train=True)
  inputs = jnp.asarray(images, jnp.float32)
  output = layer.apply(layer.init(KEY, inputs, batch), inputs, batch)
  np.testing.assert_allclose(
    np.asarray(output).reshape(expected.shape), expected, atol=1e-5
  )


def test_batch_norm_moves_its_averages_on_in_training_alone():
  network = make(norm='batch', activation='swish')
  images = 2 + jax.random.normal(KEY, (6, 8, 8, 1))
  start = some_variables(network)
  *_, logits, trained = network.apply(start, images, Batch(train=True))
  *_, tested, same = network.apply(trained, images, Batch(train=False))
  mean, before = (
    variables['batch_stats']['Norm_0']['BatchNorm_0']['mean']
    for variables in (trained, start)
  )
  assert (mean != before).all()
  assert jax.tree.all(jax.tree.map(np.array_equal, trained, same))
  assert not np.allclose(logits, tested, atol=1e-3)


def test_average_pooling_by_hand():
  image = jnp.arange(15.0).reshape(1, 3, 5, 1)
  expected = [[(0 + 1 + 5 + 6) / 4, (2 + 3 + 7 + 8) / 4]]
  np.testing.assert_allclose(average_pool(image)[0, ..., 0], expected)


def test_max_pooling_by_hand():
  image = -jnp.arange(15.0).reshape(1, 3, 5, 1)
  np.testing.assert_allclose(max_pool(image)[0, ..., 0], [[0, -2]])


@pytest.mark.parametrize(
  ('options', 'near'),
  [
    ({'name': 'convnt'}, 'convnet'),
    ({'norm': 'instanc'}, 'instance'),
    ({'activation': 'rel'}, 'relu'),
    ({'pooling': 'average'}, 'avg'),
    ({'dept': 2}, 'depth'),
  ],
)
def test_an_unknown_name_brings_near_ones(options, near):
  name = options.pop('name', 'convnet')
  with pytest.raises(InputError, match=near):
    make_network(name, image_shape=(8, 8, 1), classes=3, **options)


@pytest.mark.parametrize(
  ('image_shape', 'deepest'),
  [((8, 8, 1), 3), ((30, 40, 3), 4), ((64, 64, 3), 6), ((28, 28, 1), 5)],
)
def test_the_deepest_network_is_named_where_one_is_too_deep(
  image_shape, deepest
):
  network = make(image_shape, depth=deepest)
  jax.eval_shape(network.init, KEY)
  with pytest.raises(InputError, match=f'at most {deepest}'):
    make(image_shape, depth=deepest + 1)


def test_group_norm_needs_a_width_that_its_groups_divide():
  with pytest.raises(InputError, match='got 6'):
    make(norm='group', width=6)


def test_a_config_takes_no_options_beside_it():
  with pytest.raises(InputError, match='width'):
    make_network(NetworkConfig(), image_shape=(8, 8, 1), classes=3, width=4)


# The side from which on each network takes images, by its poolings.
SMALLEST = [
  ('mlp', 'instance', 1),
  ('lenet', 'instance', 16),
  ('alexnet', 'instance', 8),
  ('vgg11', 'instance', 32),
  ('resnet18', 'batch', 1),
  ('resnet18_ap', 'batch', 8),
]


@pytest.mark.parametrize(('name', 'norm', 'smallest'), SMALLEST)
def test_networks_take_images_from_their_smallest_size_on(name, norm, smallest):
  for side in {smallest, smallest + 1, 64}:
    for channels in (1, 3):
      shape = (side, side, channels)
      network = make_network(
        name, image_shape=shape, classes=7, width=16, norm=norm
      )
      variables = jax.eval_shape(network.init, KEY)
      images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
      features = shapes(network, variables, images).features
      assert features.shape[0] == 2
      assert features.shape[1] > 0
  if smallest > 1:
    shape = (64, smallest - 1, 3)
    with pytest.raises(InputError, match=f'from {smallest}×{smallest} pixels'):
      make_network(name, image_shape=shape, classes=7, norm=norm)


@pytest.mark.parametrize(
  ('name', 'sides', 'options'),
  [
    ('resnet18', (9, 9), {}),
    ('resnet18', (8, 9), {}),
    ('resnet18_ap', (16, 16), {}),
    ('vgg11', (32, 32), {}),
    ('convnet', (2, 2), {'depth': 1}),
    ('convnet', (1, 2), {'depth': 2, 'pooling': 'none'}),
  ],
)
def test_instance_norm_tells_the_smallest_images_apart(name, sides, options):
  shape = (*sides, 3)
  network = make_network(name, image_shape=shape, classes=7, width=8, **options)
  images = jax.random.normal(KEY, (2, *shape))
  embed = jax.jit(lambda v, x: network.apply(v, x, Batch(train=True)).features)
  features = embed(some_variables(network), images)
  assert not np.allclose(features[0], features[1], atol=1e-3)


@pytest.mark.parametrize(
  ('name', 'options', 'side', 'smallest'),
  [
    ('resnet18', {}, 8, 9),
    ('resnet18', {}, 1, 9),
    ('resnet18_ap', {}, 15, 16),
    ('resnet18_ap', {}, 8, 16),
    ('convnet', {'depth': 1, 'pooling': 'none'}, 1, 2),
  ],
)
def test_instance_norm_takes_no_maps_of_one_pixel(
  name, options, side, smallest
):
  make = functools.partial(
    make_network, name, image_shape=(side, side, 3), classes=7, **options
  )
  found = (
    f'from {smallest}×{smallest} pixels on, these are {side}×{side}: .*'
    r'another network\.norm, e\.g\. batch'
  )
  with pytest.raises(InputError, match=found):
    make()
  for norm in ('batch', 'layer', 'group', 'none'):
    make(norm=norm)


def test_digits_of_28_pixels_are_padded_where_the_original_pads_them():
  for name in ('lenet', 'alexnet', 'vgg11'):
    shapes = [
      jax.eval_shape(
        make_network(name, image_shape=(side, side, 1), classes=7).init, KEY
      )
      for side in (28, 32)
    ]
    assert shapes[0] == shapes[1], name


@pytest.mark.parametrize(
  ('name', 'first', 'features'),
  [
    ('convnet', 32, 32 * 4 * 4),
    ('mlp', 32, 32),
    ('lenet', 2, 21),  # A quarter of 6 and of 84.
    ('alexnet', 32, 48 * 4 * 4),
    ('vgg11', 16, 128),
    ('resnet18', 16, 128),
    ('resnet18_ap', 16, 128 * 4 * 4),
  ],
)
def test_width_32_is_a_quarter_of_every_network(name, first, features):
  network = make_network(name, image_shape=(32, 32, 3), classes=8, width=32)
  variables = jax.eval_shape(network.init, KEY)
  layer = 'Linear_0' if name == 'mlp' else 'Convolution_0'
  assert variables['params'][layer]['kernel'].shape[-1] == first
  images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
  assert shapes(network, variables, images).features.shape == (2, features)


@pytest.mark.parametrize(
  ('name', 'options', 'message'),
  [
    ('vgg11', {'depth': 4}, 'vgg11 has no depth'),
    ('resnet18', {'pooling': 'max'}, 'resnet18 has no pooling'),
    ('mlp', {'norm': 'batch'}, 'known are instance, none'),
    ('alexnet', {'norm': 'layer'}, 'known are instance, none, batch'),
    ('resnet18', {'norm': 'group', 'width': 12}, '8 divides'),
    ('resnet', {}, 'did you mean resnet18'),
    ('perceptron', {}, 'known are convnet, mlp, lenet, alexnet, vgg11'),
  ],
)
def test_what_a_network_does_not_come_with(name, options, message):
  with pytest.raises(InputError, match=message):
    make_network(name, image_shape=(32, 32, 3), classes=3, **options)


def test_batch_norm_forms_have_it_after_every_convolution():
  for name in ('alexnet', 'vgg11', 'resnet18', 'resnet18_ap'):
    network = make_network(
      name, image_shape=(32, 32, 3), classes=3, norm='batch', width=16
    )
    variables = jax.eval_shape(network.init, KEY)
    kernels = [
      leaf for leaf in jax.tree.leaves(variables['params']) if leaf.ndim == 4
    ]
    assert len(jax.tree.leaves(variables['batch_stats'])) == 2 * len(kernels)
    assert network.mixes_images


def test_a_registered_network_goes_by_its_name():
  def factory(config, image_shape, classes):
    del config
    return make_network('mlp', image_shape=image_shape, classes=classes)

  register_network('a_name_of_ones_own', factory)
  network = make_network('a_name_of_ones_own', image_shape=(4, 4, 1), classes=2)
  assert network is make_network('mlp', image_shape=(4, 4, 1), classes=2)
  register_network('a_name_of_ones_own', factory)  # A notebook cell again.
  with pytest.raises(InputError, match='already'):
    register_network('convnet', factory)
  with pytest.raises(InputError, match='letters'):
    register_network('with:colon', factory)


def test_the_first_of_equal_maxima_gets_the_gradient():
  image = jnp.array([[1.0, 3, 0, 0], [3, 3, 0, 5]]).reshape(1, 2, 4, 1)
  gradient = jax.grad(lambda x: max_pool(x).sum())(image)
  expected = [[0, 1, 0, 0], [0, 0, 0, 1]]
  np.testing.assert_array_equal(gradient[0, ..., 0], expected)
  ties = jax.grad(lambda x: max_pool(x).sum())(jnp.ones((1, 2, 2, 1)))
  np.testing.assert_array_equal(ties[0, ..., 0], [[1, 0], [0, 0]])


def test_a_name_alone_is_looked_up_first():
  with pytest.raises(InputError, match='known are convnet, mlp'):
    make_network('perceptron')
  with pytest.raises(InputError, match='give e.g. image_shape='):
    make_network('convnet')


def test_a_config_may_hold_what_its_network_does_not_read():
  """As when a preset for the ConvNet is given another network."""
  shape = {'image_shape': (32, 32, 3), 'classes': 3}
  config = NetworkConfig('mlp', depth=1, pooling='max')
  network = make_network(config, **shape)
  variables = jax.eval_shape(network.init, KEY)
  plain = jax.eval_shape(make_network('mlp', **shape).init, KEY)
  assert variables == plain
  assert label(config) == 'mlp'
