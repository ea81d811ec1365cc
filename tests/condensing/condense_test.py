import dataclasses
import importlib
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import dm_jax
from dm_jax import (
  CondenseState,
  condense_classes,
  init_state,
  make_problem,
  make_step,
)
from dm_jax.config.sections import CondenseConfig
from dm_jax.data.class_data import ClassData
from dm_jax.errors import Diverged, InputError
from dm_jax.images.normalise import normalise
from dm_jax.networks.registry import default_network
from dm_jax.types import Batch, Network

KEY = jax.random.key(0)
ONE = jax.devices()[:1]
CONFIG = CondenseConfig(
  images_per_class=2, steps=7, batch_real=4, log_every=3, augment='flip'
)
LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
IMAGES = np.random.RandomState(0).randint(0, 256, (11, 8, 8, 1), np.uint8)
DATA = ClassData.from_arrays(IMAGES, LABELS)


def embed(network, variables, images):
  return network.apply(variables, images, Batch(train=True)).features


def no_logits(variables, images, *, train):
  return images.reshape(len(images), -1), variables


# Linear: quick to compile.
LINEAR = Network.from_functions(
  init=lambda key: jax.random.normal(key, (64, 5)) / 8,
  embed=lambda weights, images: images.reshape(len(images), -1) @ weights,
  logits=no_logits,
)
CONVNET = dm_jax.make_network(
  'convnet', image_shape=(8, 8, 1), classes=2, width=4, depth=1
)


class Calls:
  """A callback that keeps what it gets."""

  def __init__(self):
    self.states, self.metrics = [], []

  def __call__(self, state, metrics):
    self.states.append(state)
    self.metrics.append(metrics)


def run(config=CONFIG, network=LINEAR, devices=ONE, key=KEY, **options: Any):
  """Returns the images of a run on one device, as NumPy."""
  synthetic = condense_classes(
    DATA, config, key=key, network=network, devices=devices, **options
  )
  return np.asarray(synthetic.images)


def changed(**changes):
  return dataclasses.replace(CONFIG, **changes)


@pytest.fixture(scope='module')
def straight():
  """The images of a whole run, and what its callback got."""
  calls = Calls()
  return run(callback=calls), calls


# The step.


def test_make_step_is_the_algorithm_written_out():
  config = changed(augment='none', batch_real=100)
  state = init_state(DATA, config, KEY)
  problem = make_problem(DATA, KEY, CONVNET.init)
  step = jax.jit(make_step(CONVNET, config))
  real = (IMAGES / 255 - np.asarray(DATA.mean)) / np.asarray(DATA.std)
  real = jnp.asarray(real, jnp.float32)
  images, velocity = state.images, jnp.zeros_like(state.images)

  @jax.jit
  def loss(images, key):
    variables, losses = CONVNET.init(key), []
    for label in range(2):
      ours = embed(CONVNET, variables, images[label]).mean(0)
      theirs = embed(CONVNET, variables, real[label == LABELS]).mean(0)
      losses.append(jnp.sum((ours - theirs) ** 2))
    return jnp.stack(losses).sum(), jnp.stack(losses)

  for i in range(3):
    key = jax.random.fold_in(problem.network_key, i)
    gradient, expected = jax.grad(loss, has_aux=True)(images, key)
    velocity = 0.5 * velocity + gradient
    images = images - 1.0 * velocity
    state, losses = step(state, problem)
    np.testing.assert_allclose(losses['mean'], expected, rtol=1e-4)
    np.testing.assert_allclose(state.images, images, atol=1e-4)
    assert int(state.step) == i + 1


def losses_of_steps(network, config, count):
  """The losses of step 0, 1, ... at one and the same images [count, C]."""
  state = init_state(DATA, config, KEY)
  problem = make_problem(DATA, KEY, network.init)
  step = make_step(network, config)

  @jax.jit
  def losses(number):
    return step(dataclasses.replace(state, step=number), problem)[1]['mean']

  return np.stack([losses(number) for number in jnp.arange(count)])


def test_every_step_draws_another_batch():
  fixed = dataclasses.replace(LINEAR, init=lambda key: jnp.eye(64, 5))
  config = changed(batch_real=1, augment='none', init='noise')
  losses = losses_of_steps(fixed, config, 60)
  # One image of five, and one of six.
  assert [len(np.unique(column)) for column in losses.T] == [5, 6]


def test_every_step_draws_another_network():
  losses = losses_of_steps(LINEAR, changed(batch_real=9, augment='none'), 20)
  assert len(np.unique(losses)) == losses.size


def test_the_loss_falls():
  calls = Calls()
  config = changed(steps=60, init='noise', learning_rate=0.2, augment='none')
  run(config, callback=calls)
  losses = np.concatenate([metrics.losses for metrics in calls.metrics])
  assert losses[-10:].mean() < 0.5 * losses[:10].mean()


# How it starts.


def levels(images):
  """Images as hashable values."""
  return [image.tobytes() for image in np.asarray(images)]


def test_real_starts_are_distinct_images_of_their_class():
  config = changed(images_per_class=5, steps=0)
  synthetic = condense_classes(DATA, config, key=KEY, network=LINEAR)
  labels = np.asarray(synthetic.labels)
  np.testing.assert_array_equal(labels, [0] * 5 + [1] * 5)
  for label in range(2):
    ours = levels(synthetic.images_uint8[labels == label])
    real = levels(IMAGES[label == LABELS])
    assert set(ours) <= set(real)
    assert len(set(ours)) == 5


def test_starts_depend_on_the_key_and_are_normalised():
  first, same, other = (
    init_state(DATA, CONFIG, jax.random.key(seed)).images for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, same)
  assert not np.array_equal(first, other)
  real = (IMAGES / 255 - DATA.mean[0]) / DATA.std[0]
  assert np.abs(real - np.asarray(first[0, 0])).max((1, 2, 3)).min() < 1e-5


def test_noise_is_standard_normal_and_differs_from_class_to_class():
  config = changed(init='noise', images_per_class=100)
  images = init_state(DATA, config, KEY).images
  assert images.shape == (2, 100, 8, 8, 1)
  assert abs(images.mean()) < 0.03
  assert abs(images.std() - 1) < 0.03
  assert not np.array_equal(images[0], images[1])


def test_no_steps_return_the_state_that_was_given(straight):
  images, calls = straight
  given = calls.states[0]
  config = changed(steps=int(given.step))
  np.testing.assert_array_equal(
    run(config, state=given), given.images.reshape(-1, 8, 8, 1)
  )


# How it goes on.


def test_callbacks_come_in_order_and_at_every_multiple_of_log_every(straight):
  images, calls = straight
  steps = [metrics.step for metrics in calls.metrics]
  assert steps == sorted(set(steps))
  assert {3, 6, 7} <= set(steps)
  assert steps == [int(state.step) for state in calls.states]
  assert sum(len(metrics.losses) for metrics in calls.metrics) == 7
  last = calls.states[-1].images.reshape(images.shape)
  np.testing.assert_array_equal(last, images)


@pytest.mark.parametrize('host', [False, True])
def test_resume_equals_a_straight_run_to_the_bit(straight, host):
  images, calls = straight
  state = next(state for state in calls.states if int(state.step) == 3)
  if host:
    state = jax.tree.map(np.asarray, state)
  np.testing.assert_array_equal(run(state=state), images)


def test_log_every_changes_no_result(straight):
  images, _ = straight
  np.testing.assert_array_equal(run(changed(log_every=1)), images)


def test_a_run_is_traced_once():
  traced = []

  def init(key):
    traced.append(key)
    return LINEAR.init(key)

  calls = Calls()
  network = dataclasses.replace(LINEAR, init=init)
  run(changed(steps=12, log_every=5), network=network, callback=calls)
  lengths = {len(metrics.losses) for metrics in calls.metrics}
  assert len(lengths) > 1
  assert len(traced) == 2  # By the estimate of memory, and for the program.


def test_a_key_decides_the_run(straight):
  images, _ = straight
  assert not np.array_equal(run(key=jax.random.key(1)), images)


def test_divergence_names_step_and_learning_rate():
  message = r'step \d .*learning_rate 1e\+30'
  with pytest.raises(Diverged, match=message) as error:
    run(changed(learning_rate=1e30))
  assert 0 < error.value.step <= 7
  state = error.value.state
  assert int(state.step) <= error.value.step
  for leaf in jax.tree.leaves(state):
    assert np.isfinite(leaf).all()


BATCH_NORM = dm_jax.make_network(
  'convnet', image_shape=(8, 8, 1), classes=2, width=4, depth=1, norm='batch'
)


def test_a_mixing_network_without_weights_never_sees_padding():
  network = dataclasses.replace(BATCH_NORM, takes_padding=False)
  config = changed(steps=2, augment='none')
  # On all devices: such a network uses one of them.
  results = [
    run(dataclasses.replace(config, batch_real=batch), network, None)
    for batch in (5, 100)
  ]
  np.testing.assert_array_equal(results[0], results[1])
  assert np.isfinite(results[0]).all()


def test_batch_norm_takes_unequal_classes_whole():
  """All 5 and 6 real images, in one batch without any padding."""
  config = changed(steps=1, batch_real=100, augment='none')
  calls = Calls()
  variables = BATCH_NORM.init(jax.random.key(3))
  run(
    config,
    BATCH_NORM,
    callback=calls,
    embedder=jax.tree_util.Partial(lambda variables, key: variables, variables),
  )
  real = normalise(IMAGES, DATA.mean, DATA.std)
  start = init_state(DATA, config, KEY).images
  real = np.asarray(embed(BATCH_NORM, variables, real))
  synthetic = embed(BATCH_NORM, variables, start.reshape(-1, 8, 8, 1))
  synthetic = np.asarray(synthetic).reshape(2, 2, -1)
  means = [real[label == LABELS].mean(0) for label in range(2)]
  expected = sum(
    ((mean - synthetic[label].mean(0)) ** 2).sum()
    for label, mean in enumerate(means)
  )
  np.testing.assert_allclose(calls.metrics[0].losses, [expected], rtol=1e-4)


CLASSIFYING = changed(cross_entropy=2.5, steps=1)


@pytest.mark.parametrize('network', [None, CONVNET])
def test_random_networks_have_no_cross_entropy(network):
  needs = 'cross_entropy 2.5 needs trained networks: give'
  with pytest.raises(InputError, match=f'{needs} a recipe, e.g. .*, or a net'):
    dm_jax.condense(IMAGES, LABELS, CLASSIFYING, key=KEY, network=network)
  with pytest.raises(
    InputError, match=f'{needs} an embedder of such, or a net'
  ):
    condense_classes(DATA, CLASSIFYING, key=KEY, network=network)


def test_trained_networks_have_a_cross_entropy():
  variables = CONVNET.init(KEY)
  own = dataclasses.replace(CONVNET, init=lambda key: variables)
  by_init = run(CLASSIFYING, own)
  by_embedder = run(
    CLASSIFYING, CONVNET, embedder=jax.tree_util.Partial(lambda key: variables)
  )
  np.testing.assert_array_equal(by_init, by_embedder)
  of_arrays = dm_jax.condense(
    IMAGES, LABELS, CLASSIFYING, key=KEY, network=own
  ).images
  np.testing.assert_allclose(of_arrays, by_init, atol=1e-5)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'batch_norm_classes': 1}, r'must divide the 2 classes .* one of \[2\]'),
    ({'batch_norm_classes': 3}, r'must divide the 2 classes'),
  ],
)
def test_a_batch_norm_over_other_classes_is_refused(changes, message):
  with pytest.raises(InputError, match=message):
    run(changed(**changes), BATCH_NORM)


def test_batch_norm_of_ones_own_takes_all_classes_as_one_batch():
  network = dataclasses.replace(BATCH_NORM, takes_padding=False)
  with pytest.raises(InputError, match='needs one of the built-in networks'):
    run(changed(batch_norm_classes=2), network)


def test_a_batch_norm_over_one_image_is_refused():
  data = ClassData.from_arrays(IMAGES, np.zeros(11, int))
  with pytest.raises(InputError, match='needs more than one image in a batch'):
    condense_classes(
      data, changed(images_per_class=1), key=KEY, network=BATCH_NORM
    )


@pytest.mark.parametrize(
  ('name', 'rate', 'smoothing'),
  [('resnet18', 1.0, 2.0), ('resnet18_ap', 0.04, 2.0), ('convnet', 1.0, 0.0)],
)
def test_what_is_left_open_is_what_was_tested_with_the_network(
  name, rate, smoothing
):
  named = dataclasses.replace(LINEAR, name=name)
  expected = run(changed(learning_rate=rate, smoothing=smoothing))
  np.testing.assert_array_equal(run(CONFIG, named), expected)
  given = changed(learning_rate=0.5, smoothing=1.0)
  np.testing.assert_array_equal(run(given, named), run(given))


def test_smoothing_smooths_what_moves_the_images():
  """One step of plain descent moves the images by the smoothed gradient."""
  config = changed(steps=1, momentum=0.0, learning_rate=0.01)
  start = np.asarray(init_state(DATA, config, KEY).images)
  plain, blurred = (
    run(dataclasses.replace(config, smoothing=each)).reshape(start.shape)
    for each in (0.0, 1.5)
  )
  expected = ndimage.gaussian_filter(
    plain - start, (0, 0, 1.5, 1.5, 0), mode='reflect', truncate=8
  )
  np.testing.assert_allclose(blurred - start, expected, atol=1e-6)


def test_equal_settings_share_what_is_compiled():
  traces = []

  def embed(weights, images):
    traces.append(images.shape)
    return images.reshape(len(images), -1) @ weights

  network = Network.from_functions(LINEAR.init, embed, no_logits)
  run(CONFIG, network)
  before = len(traces)
  assert before
  run(changed(steps=3, log_every=2), network, key=jax.random.key(1))
  assert len(traces) == before


def test_nested_sets_are_each_compared():
  """One step of plain descent is the sum of those for each size alone."""
  nested = changed(
    images_per_class=(1, 2), steps=1, momentum=0.0, learning_rate=0.01
  )
  start = np.asarray(init_state(DATA, nested, KEY).images)

  def moved(**changes):
    config = dataclasses.replace(nested, **changes)
    state = init_state(DATA, config, KEY)
    images = jnp.asarray(start[:, : config.largest])
    state = dataclasses.replace(state, images=images)
    images = run(config, state=state).reshape(2, -1, 8, 8, 1)
    return images - start[:, : images.shape[1]]

  both, one, two = (
    moved(),
    moved(images_per_class=1),
    moved(images_per_class=2),
  )
  np.testing.assert_allclose(both[:, 1:], two[:, 1:], rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(
    both[:, :1], one + two[:, :1], rtol=1e-4, atol=1e-6
  )
  assert (one != 0).any()


# What it takes and gives.


def condense(
  images=IMAGES, labels=LABELS, config=CONFIG, key=KEY, **options: Any
):
  options = {'network': LINEAR, **options}
  return dm_jax.condense(images, labels, config, key=key, **options)


@pytest.fixture(scope='module')
def condensed():
  return condense()


def test_the_result_is_a_labelled_set_with_its_provenance(condensed):
  assert condensed.images.shape == (4, 8, 8, 1)
  assert condensed.images.dtype == jnp.float32
  np.testing.assert_array_equal(condensed.labels, [0, 0, 1, 1])
  assert condensed.mean == DATA.mean
  assert condensed.provenance['config']['condense']['steps'] == 7
  assert condensed.provenance['versions']['jax'] == jax.__version__


def test_the_result_is_a_pytree(condensed):
  doubled = jax.jit(lambda s: jax.tree.map(lambda x: x * 2, s))(condensed)
  assert isinstance(doubled, dm_jax.SyntheticSet)
  np.testing.assert_array_equal(doubled.images, condensed.images * 2)
  assert doubled.class_names == condensed.class_names


def place(images, where):
  if where == 'devices':
    mesh = jax.sharding.Mesh(jax.devices()[:2], 'x')
    spec = jax.sharding.PartitionSpec(None, 'x')
    return jax.device_put(images, jax.sharding.NamedSharding(mesh, spec))
  return jax.device_put(images, where)


@pytest.mark.parametrize('where', [None, jax.devices()[3], 'devices'], ids=str)
def test_images_may_lie_on_devices_and_stay_as_they_are(condensed, where):
  images, key = place(IMAGES, where), jnp.copy(KEY)
  synthetic = condense(images, jnp.asarray(LABELS), key=key)
  np.testing.assert_array_equal(synthetic.images, condensed.images)
  np.testing.assert_array_equal(images, IMAGES)
  assert (jax.random.key_data(key) == jax.random.key_data(KEY)).all()


def test_a_state_on_a_device_is_taken_and_not_changed(straight, condensed):
  _, calls = straight
  state = next(state for state in calls.states if int(state.step) == 3)
  before = jax.tree.map(np.array, state)
  synthetic = condense(state=state)
  np.testing.assert_allclose(synthetic.images, condensed.images, atol=1e-5)
  jax.tree.map(np.testing.assert_array_equal, state, before)


def test_64_bits_do_not_change_the_run():
  config = changed(augment='flip_crop', steps=3)
  expected = run(config, network=CONVNET)
  # The context manager moved in jax 0.8.
  module = 'jax' if hasattr(jax, 'enable_x64') else 'jax.experimental'
  with importlib.import_module(module).enable_x64(True):
    images = run(config, network=CONVNET)
  assert images.dtype == np.float32
  np.testing.assert_allclose(images, expected, atol=1e-4)


def test_an_old_style_key_is_taken(condensed):
  synthetic = condense(key=jax.random.PRNGKey(0))
  np.testing.assert_array_equal(synthetic.images, condensed.images)


def wrong_state():
  return CondenseState(jnp.int32(0), jnp.zeros((2, 3, 8, 8, 1)), (), ())


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'config': changed(images_per_class=6)}, "class '0': use at most 5"),
    ({'config': changed(discrepancy='maen')}, 'did you mean mean'),
    ({'config': changed(augment='flop')}, 'did you mean flip'),
    ({'state': wrong_state()}, r'\(2, 3, 8, 8, 1\).* state=None'),
    ({'state': IMAGES}, r'state must be .*: pass one that a callback got'),
    ({'labels': LABELS[:-1]}, '10 for 11 images'),
    ({'images': IMAGES[..., 0]}, r'\[N, H, W, D\]'),
    ({'labels': LABELS * 2}, 'class 1 of 3 has no images'),
  ],
)
def test_what_cannot_be_condensed_is_refused(options, message):
  with pytest.raises(InputError, match=message):
    condense(**options)


def state_of(calls, step):
  return next(state for state in calls.states if int(state.step) == step)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'key': jax.random.key(1)}, r'\(key: \[0, 0\] -> \[0, 1\]\)'),
    ({'key': 1}, r'key: \[0, 0\] -> \[0, 1\]'),
    ({'config': changed(momentum=0.9)}, r'\(momentum: 0\.5 -> 0\.9\)'),
    ({'config': changed(augment='none')}, "augment: 'flip' -> 'none'"),
    ({'config': changed(learning_rate=0.1)}, 'learning_rate: None -> 0.1'),
    ({'images': IMAGES // 2}, 'mean of the images'),
    ({'labels': 1 - LABELS}, 'classes and their first images'),
    ({'network': CONVNET}, r'own of 320 .* -> .convnet of'),
  ],
)
def test_a_state_of_another_run_is_refused(straight, options, message):
  _, calls = straight
  with pytest.raises(InputError, match=message) as error:
    condense(state=state_of(calls, 3), **options)
  assert str(error.value).startswith('the state is of another run (')
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('number', [0, np.int32(0)])
def test_a_run_goes_on_by_the_seed_of_its_key(straight, condensed, number):
  state = state_of(straight[1], 3)
  # Neither the number of steps nor what changes no result binds it.
  again = condense(config=changed(log_every=5), state=state, key=number)
  np.testing.assert_allclose(again.images, condensed.images, atol=1e-5)
  assert int(condense(config=changed(steps=3), state=state).classes) == 2


def test_a_state_beyond_the_steps_is_refused(straight):
  with pytest.raises(InputError, match='at step 3 and condense.steps is 2'):
    condense(config=changed(steps=2), state=state_of(straight[1], 3))


def test_a_state_tells_its_run_through_a_file_and_none_of_a_transformation(
  straight,
):
  state = state_of(straight[1], 3)
  kept = pickle.loads(pickle.dumps(state))
  with pytest.raises(InputError, match='momentum'):
    condense(config=changed(momentum=0.9), state=kept)
  unknown = dataclasses.replace(state, origin=None)
  images = condense(config=changed(momentum=0.9), state=unknown).images
  assert np.isfinite(images).all()
  assert jax.jit(lambda state: state)(state).origin is None


def test_a_state_is_printed_in_a_few_lines(straight):
  text = repr(state_of(straight[1], 3))
  assert text.startswith('CondenseState(step=3, images=float32[2, 2, 8, 8, 1]')
  assert len(text) < 400


def test_classes_of_equal_images_are_warned_of():
  images = IMAGES.copy()
  images[LABELS == 1] = 5
  line = "all images of class '1' are equal: look at how"
  config = dataclasses.replace(CONFIG, steps=0)
  with pytest.warns(UserWarning, match=line) as told:
    dm_jax.condense(images, LABELS, config, key=KEY, network=LINEAR)
  assert told[0].filename == __file__  # The caller's line.
  with pytest.raises(InputError, match='all 11 training images are equal'):
    dm_jax.condense(0 * images, LABELS, config, key=KEY, network=LINEAR)


def test_noise_may_have_more_images_than_a_class():
  config = changed(init='noise', images_per_class=6, steps=0)
  assert condense(config=config).images.shape == (12, 8, 8, 1)


@pytest.mark.parametrize(('side', 'depth'), [(32, 3), (63, 3), (64, 4)])
def test_the_default_network_is_the_papers(side, depth):
  data = ClassData.from_arrays(np.zeros((2, side, side, 3), np.uint8), [0, 1])
  params = jax.eval_shape(
    default_network(data.image_shape, data.classes).init, KEY
  )['params']
  assert f'Convolution_{depth - 1}' in params
  assert f'Convolution_{depth}' not in params
  assert params['Convolution_0']['kernel'].shape == (3, 3, 3, 128)
  assert 'InstanceNorm_0' in params['Norm_0']
