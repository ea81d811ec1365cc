"""How much a device computes together, by platform: speed and memory alone.

The one table of it. Loops over small pieces suit a CPU, whose caches hold them;
on a GPU each turn of a loop is a string of small kernels. No entry changes a
draw, so results differ by the order of sums at the most. What a caller sets
wins over the table.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Arrangement:
  """What passes through a device together; the most of each.

  Attributes:
    classes: whose real images are drawn, augmented and embedded together. From
      2 up their augmentations are selected among all operations, not branches.
    activations: bytes that the largest activation of the real images that are
      embedded at a time may take, but no more than a 16th of the free memory; 0
      embeds one class's batch at a time.
    real_images: embedded at a time, at least and at most, where `activations`
      says how many.
    synthetic_images: differentiated together, in whole classes and at least
      one; 0 is as many as real images are embedded at a time.
    kept_images: synthetic images whose activations are kept for the gradient;
      those of more are computed again.
    networks: that an evaluation trains together, mapped by `vmap`; 1 trains one
      after the other.
    training_images: of the batches of all networks that are trained together;
      0 is no bound.
    part: images of a training batch that are differentiated at a time; 0 is the
      whole batch.
  """

  classes: int = 1
  activations: int = 0
  real_images: tuple[int, int] = (1, 1)
  synthetic_images: int = 0
  kept_images: int = 2048
  networks: int = 1
  training_images: int = 0
  part: int = 0


# Where nothing was measured nor counted: whole batches, one class and one
# network after the other.
PLAIN = Arrangement()

# By `jax.Device.platform`. In benchmarks/README.md: the CPU's entries were
# measured ("Where the time goes"), the GPU's counted for an H100 ("Kernels of a
# GPU"). benchmarks/arrangements.py measures them on any device.
ARRANGEMENTS = {
  'cpu': Arrangement(activations=2**22, real_images=(4, 64), part=20),
  'gpu': Arrangement(
    classes=10,
    activations=2**31,
    real_images=(32, 2560),
    synthetic_images=512,
    networks=10,
    training_images=100,
  ),
  'tpu': PLAIN,
}


def get_arrangement(platform: str) -> Arrangement:
  """Returns what the table says of a platform, `PLAIN` of an unknown one.

  Args:
    platform: as `jax.Device.platform` says it.
  """
  return ARRANGEMENTS.get(platform, PLAIN)
