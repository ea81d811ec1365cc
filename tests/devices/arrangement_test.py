import pytest

from dm_jax.config.sections import EvalConfig
from dm_jax.devices.arrangement import ARRANGEMENTS, PLAIN, get_arrangement
from dm_jax.training.evaluate import networks_together


def test_every_platform_of_jax_has_an_entry():
  assert set(ARRANGEMENTS) == {'cpu', 'gpu', 'tpu'}


@pytest.mark.parametrize('platform', ['metal', 'rocket', ''])
def test_an_unknown_platform_takes_one_class_and_network_at_a_time(platform):
  found = get_arrangement(platform)
  assert found is PLAIN
  assert (found.classes, found.networks) == (1, 1)
  # Whole batches: no bound on activations, no parts.
  assert (found.activations, found.part) == (0, 0)


def test_a_cpu_computes_what_its_caches_hold():
  """The values that were measured before there was a table."""
  found = get_arrangement('cpu')
  assert (found.activations, found.real_images) == (4 * 1024**2, (4, 64))
  assert (found.classes, found.synthetic_images) == (1, 0)
  assert (found.networks, found.part, found.kept_images) == (1, 20, 2048)


@pytest.mark.parametrize(
  ('images', 'batch_size', 'together'),
  [(10, 256, 10), (50, 256, 2), (500, 25, 4), (100, 256, 1), (500, 256, 1)],
)
def test_networks_of_a_gpu_share_its_training_images(
  images, batch_size, together
):
  # At most 10 networks, and 100 images of all batches.
  config = EvalConfig(batch_size=batch_size)
  assert networks_together(config, images, 'gpu') == together
  assert networks_together(config, images, 'cpu') == 1
  assert networks_together(config, images, 'metal') == 1


@pytest.mark.parametrize('platform', ['cpu', 'gpu', 'tpu', 'metal'])
def test_networks_at_once_wins_over_the_table(platform):
  for count in (1, 3):
    config = EvalConfig(networks_at_once=count)
    assert networks_together(config, 500, platform) == count
