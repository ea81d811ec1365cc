"""How many networks are trained between two saves."""

import math

_MOST = 5  # Networks that a device trains between two saves, one by one.


def group_size(networks: int, devices: int, together: int = 1) -> int:
  """Returns how many networks to train between two saves.

  Args:
    networks: those not yet trained.
    devices: that they are spread over.
    together: networks that a device trains at once.

  Returns:
    Of the sizes that give no device more than five networks, or than it trains
    at once, the one that is done soonest. Of several such a divisor, as a last
    group of another size is compiled anew, and the smallest, as a stop loses
    what a group has begun.
  """

  def turns(size: int) -> int:
    """How often the busiest device trains, one time after the other."""
    whole, rest = divmod(networks, size)
    return sum(
      count * math.ceil(math.ceil(group / devices) / together)
      for count, group in ((whole, size), (1, rest))
    )

  most = max(_MOST, together) * devices
  sizes = range(1, min(networks, most) + 1)
  return min(sizes, key=lambda s: (turns(s), networks % s > 0, s))
