import math

import pytest

from dm_jax.run.groups import group_size


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
