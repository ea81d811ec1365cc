import math

import pytest

from dm_jax.config.sections import EvalConfig
from dm_jax.run.groups import group_size, groups, watch
from dm_jax.run.interrupts import Interrupted, Request
from dm_jax.training.evaluate import EvalResult, NetworksDiverged

CONFIG = EvalConfig(networks=4, epochs=2)


@pytest.mark.parametrize(
  ('networks', 'devices', 'size'),
  [
    (20, 1, 1),
    (6, 1, 1),
    (7, 1, 1),
    (1, 8, 1),
    (5, 8, 5),
    (7, 8, 7),
    (20, 2, 2),
    # Five take two turns four times; three take six and one for the last two.
    (20, 3, 3),
    # What is left of twenty, on a machine with another device.
    (19, 2, 2),
    (20, 4, 4),
    # Four take five turns in all, twenty take three.
    (20, 8, 20),
    # Twenty take three turns five times; eight take one thirteen times.
    (100, 8, 8),
  ],
)
def test_a_group_fills_the_devices_and_is_no_larger(networks, devices, size):
  assert group_size(networks, devices) == size


@pytest.mark.parametrize(
  ('networks', 'devices', 'together', 'size'),
  [
    (20, 1, 10, 10),
    (20, 1, 20, 20),
    (20, 1, 4, 4),
    (6, 1, 10, 6),
    (20, 2, 10, 20),
    (7, 1, 8, 7),
    # Ten at once, then nine: one by one they would take 19 turns.
    (19, 1, 10, 10),
  ],
)
def test_a_group_is_as_large_as_a_device_trains_at_once(
  networks, devices, together, size
):
  assert group_size(networks, devices, together) == size


@pytest.mark.parametrize('devices', range(1, 10))
def test_no_device_waits_but_in_the_last_group(devices):
  for networks in range(1, 101):
    size = group_size(networks, devices)
    assert 1 <= size <= 5 * devices
    whole, rest = divmod(networks, size)
    turns = whole * math.ceil(size / devices) + math.ceil(rest / devices)
    assert turns == math.ceil(networks / devices)


@pytest.mark.parametrize(
  ('trained', 'expected'),
  [(0, [(0, 2), (2, 2)]), (1, [(1, 3)]), (3, [(3, 1)]), (4, [])],
)
def test_what_is_left_is_parted_into_groups(trained, expected):
  found = groups(CONFIG, trained, images=6, devices=3)
  assert [(first, group.networks) for first, group in found] == expected


def test_networks_that_diverge_are_told_of_at_the_first_and_at_the_end():
  def keep_four():
    with watch('train', CONFIG, Request()) as watched:
      for diverged in (0, 1, 1, 0):
        watched.keep(EvalResult((0.1,), finite=(not diverged,)))

  with pytest.warns(NetworksDiverged) as told:
    keep_four()
  assert [str(each.message).split(' diverged')[0] for each in told] == [
    'train: 1 of 2 networks',
    'train: 2 of 4 networks',
  ]


@pytest.mark.parametrize(('epoch', 'kept'), [(1, 3), (2, 4)])
def test_a_group_whose_epochs_are_done_is_kept_before_a_run_stops(epoch, kept):
  """Only its test is left then."""
  request = Request()

  def train_the_fourth():
    with watch('train', CONFIG, request, sets=2, trained=3) as watched:
      for done in (1, 2):
        request.number = 15 if done == epoch else request.number
        watched.callback(done, 2)
      watched.keep(EvalResult((0.1,)))

  with pytest.raises(Interrupted, match=f'train: {kept} of 8 networks are'):
    train_the_fourth()
