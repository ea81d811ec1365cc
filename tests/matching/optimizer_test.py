import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax import CondenseConfig, Network
from dm_jax.config import sections
from dm_jax.errors import InputError
from dm_jax.images.smooth import smooth
from dm_jax.matching.optimizer import (
  OPTIMIZERS,
  PixelOptimizer,
  is_tested,
  resolve_optimizer,
)

IMAGES = jnp.zeros((2, 6, 5, 1))
GRADIENT = jnp.arange(60.0).reshape(2, 6, 5, 1) - 29.5


def unused(*args):
  raise AssertionError('optimisers apply no network')


def named(name):
  return Network(init=unused, apply=unused, name=name)


def moved(optimizer, steps=1):
  """What the steps add to images whose gradient is always the same."""
  tx = optimizer.make()
  state, total = tx.init(IMAGES), jnp.zeros_like(IMAGES)
  for _ in range(steps):
    updates, state = tx.update(GRADIENT, state, IMAGES)
    total += updates
  return total


def test_sgd_by_hand():
  # Velocities g and 1.5 g.
  two = moved(PixelOptimizer('sgd', 0.1, 0.5), steps=2)
  np.testing.assert_allclose(two, -0.1 * 2.5 * GRADIENT, rtol=1e-6)


def test_adam_moves_each_pixel_by_the_rate():
  # Of a constant gradient both moments are that of one step.
  two = moved(PixelOptimizer('adam', 0.1, 0.5), steps=2)
  np.testing.assert_allclose(two, -0.2 * jnp.sign(GRADIENT), rtol=1e-4)


def test_a_smoothed_gradient_moves_the_pixels():
  found = moved(PixelOptimizer('sgd', 1.0, 0.5, smoothing=1.5))
  np.testing.assert_allclose(found, -smooth(GRADIENT, 1.5), rtol=1e-5)


@pytest.mark.parametrize(
  ('optimizer', 'network', 'rate', 'smoothing', 'tested'),
  [
    ('sgd', 'convnet', 1.0, 0.0, True),
    ('sgd', 'resnet18', 1.0, 2.0, True),
    ('sgd', 'resnet18_ap', 0.04, 2.0, True),
    ('sgd', '', 1.0, 0.0, True),
    ('adam', 'convnet', 0.01, 0.0, True),
    ('adam', 'resnet18', 0.01, 0.0, False),
  ],
)
def test_what_is_left_open_is_resolved_by_network_and_optimiser(
  optimizer, network, rate, smoothing, tested
):
  config = CondenseConfig(optimizer=optimizer)
  resolved = resolve_optimizer(config, named(network))
  assert resolved == PixelOptimizer(optimizer, rate, 0.5, smoothing)
  assert is_tested(network, optimizer) is tested


def test_what_is_given_stays():
  config = CondenseConfig(learning_rate=3.0, smoothing=0.5, momentum=0.0)
  resolved = resolve_optimizer(config, named('resnet18'))
  assert resolved == PixelOptimizer('sgd', 3.0, 0.0, 0.5)


def test_every_optimiser_of_the_config_is_there():
  assert tuple(OPTIMIZERS) == sections.OPTIMIZERS


def test_an_unknown_optimiser_brings_near_ones():
  with pytest.raises(InputError, match='did you mean adam'):
    CondenseConfig(optimizer='adm')


def tiled(sizes, momentum=0.0):
  config = CondenseConfig(
    images_per_class=sizes, storage='tiles', factor=2, momentum=momentum
  )
  return resolve_optimizer(config, named('convnet'))


def test_the_rate_of_tiles_grows_with_the_images_of_a_class():
  # benchmarks/records/settings_cifar10_width_32.json
  rates = [tiled(size).learning_rate for size in (1, 10, 50)]
  assert rates == [2.0, 5.0, 25.0]
  # In the end, momentum makes steps twice as long.
  assert tiled(10, momentum=0.5).learning_rate == 2.5
  # Pixels of MNIST, whose deviation is half as large again, move as far.
  scaled = resolve_optimizer(
    CondenseConfig(storage='tiles', factor=2, momentum=0.0),
    named('convnet'),
    std=(1.5 * 0.2009,),
  )
  assert scaled.learning_rate == pytest.approx(5 / 1.5**2, rel=1e-3)
  assert is_tested('convnet', 'sgd', 'tiles')
  assert not is_tested('resnet18', 'sgd', 'tiles')


def test_an_image_of_a_smaller_nested_set_moves_as_in_that_set_alone():
  moves = tiled((1, 10, 50)).make()
  gradient = jnp.ones((50, 2, 2, 1))
  updates, _ = moves.update(gradient, moves.init(gradient), gradient)
  moved = -np.asarray(updates)[:, 0, 0, 0]
  np.testing.assert_allclose(moved[[0, 1, 9, 10, 49]], [2, 5, 5, 25, 25])
  # The paper's rate is one for all.
  paper = resolve_optimizer(
    CondenseConfig(images_per_class=(1, 10)), named('convnet')
  )
  assert paper.shares == ()
