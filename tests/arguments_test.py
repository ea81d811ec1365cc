import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dm_jax
from dm_jax.arguments import as_key, check_type, describe, refuse_traced
from dm_jax.errors import InputError

KEY = jax.random.key(3)


@pytest.mark.parametrize(
  'given',
  [
    3,
    np.int64(3),
    np.uint8(3),
    np.array(3),
    jnp.int32(3),
    KEY,
    jax.random.PRNGKey(3),
    np.array(jax.random.PRNGKey(3)),
  ],
)
def test_a_seed_and_every_kind_of_key_give_the_same_draws(given):
  key = as_key(given)
  assert key.shape == ()
  assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
  assert jax.random.uniform(key) == jax.random.uniform(KEY)


def test_keys_of_another_generator_seed_one_of_ours():
  """With rbg, draws that are mapped over keys depend on each other."""
  made = [
    as_key(given(seed, impl='rbg'))
    for given in (jax.random.key, jax.random.PRNGKey)
    for seed in (1, 2)
  ]
  assert {str(jax.random.key_impl(key)) for key in made} == {'threefry2x32'}
  first, second, *old = map(jax.random.uniform, made)
  assert first != second
  assert [first, second] == old


@pytest.mark.parametrize('given', [3, np.array(3), jnp.int32(3)])
def test_a_seed_means_the_same_under_every_default(given):
  with jax.default_prng_impl('rbg'):
    assert jax.random.uniform(as_key(given)) == jax.random.uniform(KEY)


def test_a_seed_may_be_traced():
  drawn = jax.jit(lambda seed: jax.random.uniform(as_key(seed)))(3)
  assert drawn == jax.random.uniform(KEY)


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    (None, r'jax.random.key\(0\), or a whole number .* got None'),
    (True, 'got True'),
    (0.0, r'got 0\.0'),
    ('0', "got '0'"),
    (-1, '0 to 2'),
    (2**32, 'got 4294967296'),
    (np.zeros(2), r'array float64 \[2\]'),
    (jax.random.split(KEY), r'array of them, shape \(2,\).*keys\[0\]'),
    (jax.random.split(KEY, 1), 'array of them'),
    (np.zeros((3, 2), np.uint32), r'array of them, shape \(3, 2\)'),
  ],
)
def test_what_is_no_key_is_refused_in_one_line(given, message):
  with pytest.raises(InputError, match=message) as error:
    as_key(given)
  assert '\n' not in str(error.value)


def call(values):
  refuse_traced('condense', values)
  return jnp.float32(0)


@pytest.mark.parametrize(
  'transformed',
  [
    jax.jit(call),
    jax.vmap(call),
    jax.grad(call),
    jax.jit(lambda x: call(np.zeros(2)) + x[0]),
    lambda x: jax.eval_shape(call, x),
    lambda x: jax.lax.map(call, x),
  ],
)
def test_a_call_inside_a_transformation_is_refused(transformed):
  with pytest.raises(
    InputError, match=r'^condense .* dm_jax\.make_step'
  ) as error:
    transformed(jnp.ones(2))
  assert '\n' not in str(error.value)


def test_a_call_outside_is_not():
  call({'images': jnp.ones(2), 'labels': [1, 2], 'state': None})
  jax.vmap(lambda x: call(np.ones(2)) + x)(jnp.ones(2))  # It sees values.


SETTINGS = {'steps': 1}


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    (SETTINGS, r'got a dict: write dm_jax\.CondenseConfig\(\*\*config\)'),
    (None, 'got None'),
    (dm_jax.CondenseConfig, 'got the class CondenseConfig'),
    (dm_jax.EvalConfig(), 'got an EvalConfig'),
    (np.ones((2, 3), np.uint8), r'got an array uint8 \[2, 3\]'),
  ],
)
def test_a_value_of_another_type_is_refused_with_how_it_is_made(given, message):
  with pytest.raises(InputError, match=message) as error:
    check_type('config', given, dm_jax.CondenseConfig)
  assert str(error.value).startswith('config must be a dm_jax.CondenseConfig')
  assert '\n' not in str(error.value)


def test_a_long_text_is_described_by_its_beginning():
  assert len(describe('x' * 1000)) < 50


IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), np.uint8)
LABELS = np.arange(8) % 2
DATA = dm_jax.ClassData.from_arrays(IMAGES, LABELS)
CONFIG = dm_jax.CondenseConfig(images_per_class=1, steps=1, augment='none')
SMALL = dm_jax.SyntheticSet.from_images(
  np.zeros((2, 8, 8, 1), np.float32), np.arange(2), (0.5,), (0.2,), ('a', 'b')
)
NETWORK = dm_jax.make_network(
  'convnet', image_shape=(16, 16, 1), classes=2, width=4, depth=1
)


def given(function, *values, **options):
  """A function of changes by name that calls one of the package's."""
  return lambda **changes: function(*values, **(options | changes))


CALLS = {
  'condense': given(dm_jax.condense, IMAGES, LABELS, config=CONFIG, key=0),
  'condense_classes': given(
    dm_jax.condense_classes, config=CONFIG, key=0, data=DATA
  ),
  'evaluate': given(
    dm_jax.evaluate, SMALL, IMAGES, LABELS, config=dm_jax.EvalConfig(), key=0
  ),
  'select': given(dm_jax.select, IMAGES, LABELS, 'herding', 1, key=0),
  'init_state': given(dm_jax.init_state, config=CONFIG, key=0, data=DATA),
  'make_step': given(dm_jax.make_step, NETWORK, config=CONFIG),
  'make_plan': given(dm_jax.make_plan, CONFIG, DATA),
  'make_problem': given(
    dm_jax.make_problem, data=DATA, key=0, embedder=NETWORK.init
  ),
  'train_networks': given(
    dm_jax.train_networks, [], SMALL, IMAGES, LABELS, key=0
  ),
  'early_stopping': given(
    dm_jax.early_stopping,
    data=DATA,
    images=2,
    config=dm_jax.EvalConfig(),
    key=0,
  ),
  'ContinualLearner': given(dm_jax.ContinualLearner, key=0),
}


@pytest.mark.parametrize(
  ('name', 'changes'),
  [
    (name, {argument: value})
    for argument, value, names in (
      (
        'config',
        SETTINGS,
        'condense condense_classes evaluate select init_state make_step'
        ' train_networks early_stopping ContinualLearner',
      ),
      (
        'key',
        None,
        'condense condense_classes evaluate select init_state make_problem'
        ' train_networks early_stopping ContinualLearner',
      ),
      (
        'data',
        IMAGES,
        'condense_classes init_state make_problem early_stopping',
      ),
      ('state', IMAGES, 'condense'),
      ('network', 'convnet', 'condense evaluate select init_state make_plan'),
      # Made for images of another shape.
      ('network', NETWORK, 'condense evaluate select init_state make_plan'),
    )
    for name in names.split()
  ],
)
def test_no_public_function_answers_by_a_traceback(name, changes):
  argument = next(iter(changes))
  with pytest.raises(InputError, match=argument) as error:
    CALLS[name](**changes)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('function', 'values', 'options', 'message'),
  [
    (
      dm_jax.make_network,
      ['convnet'],
      {'image_shape': 8, 'classes': 2},
      r'image_shape must be \(H, W, D\), .* got 8: write e.g.',
    ),
    (
      dm_jax.make_network,
      ['mlp'],
      {'image_shape': (8, 8, 1), 'classes': '2'},
      "classes=C.* got .*'2'",
    ),
    (
      dm_jax.make_network,
      [{}],
      {'image_shape': (8, 8, 1), 'classes': 2},
      'got a dict: give a name',
    ),
    (
      dm_jax.recipe,
      ['trajectory'],
      {'image_shape': (8, 8, 1), 'images_per_class': '10'},
      "images_per_class .*'10'",
    ),
    (dm_jax.evaluate, [IMAGES, IMAGES, LABELS], {'key': 0}, 'SyntheticSet'),
    (dm_jax.label_by_teacher, ['x.npz', NETWORK, {}], {}, 'SyntheticSet'),
    (dm_jax.label_by_teacher, [SMALL, NETWORK, {}], {}, 'images of 8×8×1'),
    (dm_jax.register_network, [3, print], {}, 'got 3'),
    (dm_jax.register_network, ['mine', None], {}, 'factory'),
    (dm_jax.compare_rankings, [[1], {}], {}, 'a ranking must be a dict'),
    (dm_jax.keep_fitting, [None, (8, 8, 1), 2], {}, 'networks must be'),
    (
      dm_jax.select,
      [IMAGES, LABELS],
      {'images_per_class': (1, 2), 'key': 0},
      'one whole number',
    ),
  ],
)
def test_other_arguments_are_refused_in_one_line(
  function, values, options, message
):
  with pytest.raises(InputError, match=message) as error:
    function(*values, **options)
  assert '\n' not in str(error.value)
