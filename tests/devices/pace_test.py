import pytest

from dm_jax.devices.pace import Pace


@pytest.mark.parametrize(
  ('count', 'seconds', 'most', 'at_least', 'expected'),
  [
    (1, 0.25, 100, 0, 8),  # 2 seconds of 0.25 each.
    (10, 5.0, 100, 0, 4),
    (3, 2.0, 100, 0, 3),
    (1, 0.3, 100, 0, 6),  # Not 7, which would take longer.
    (1, 0.25, 5, 0, 5),
    (1, 50.0, 100, 0, 1),  # One at least.
    (1, 0.25, 0, 0, 1),
    (1, 0.0, 100, 0, 100),  # The clock did not move.
    (4, -1.0, 100, 0, 100),  # More was waited than passed, by rounding.
    (1, 0.25, 100, 1.0, 8),
    (1, 0.25, 100, 6.0, 24),
  ],
)
def test_calls_are_as_long_as_the_aim_allows(
  count, seconds, most, at_least, expected
):
  pace = Pace(aim=2.0)
  ahead = pace.next_count(count, seconds, most=most, at_least=at_least)
  assert ahead == expected


def test_the_clock_is_any_that_is_given():
  assert Pace(clock=iter([1.0, 3.5]).__next__).clock() == 1.0
