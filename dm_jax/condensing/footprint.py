"""How much memory condensing needs, from shapes alone."""

from collections.abc import Iterator
import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
from jax.interpreters import partial_eval
import jax.numpy as jnp
import optax

from dm_jax.data.class_data import ClassData
from dm_jax.matching.objective import Objective, classes_embedded_together
from dm_jax.networks.outputs import output_shapes
from dm_jax.types import Batch, ImageShape, Network

_FLOAT = 4  # Bytes.


@dataclasses.dataclass(frozen=True)
class Needs:
  """Bytes that condensing takes.

  Attributes:
    fixed: whatever the classes.
    per_class: computed at a time.
    state: of a class, on the device all the time.
    images: of a class's real images.
  """

  fixed: int
  per_class: int
  state: int
  images: int


def count_needs(
  objective: Objective,
  optimizer: optax.GradientTransformation,
  data: ClassData,
  networks: int = 0,
  targets: int = 0,
) -> Needs:
  """Counts what condensing takes; nothing is computed.

  Args:
    objective: the loss, and how many images pass at a time.
    optimizer: of the pixels of one class.
    data: the real images.
    networks: that the embedder keeps.
    targets: of each class that were computed ahead.
  """
  network, batch = objective.network, objective.batch_real
  each = activations(network, data.image_shape, objective.precision)
  pixels = math.prod(data.image_shape) * _FLOAT
  stored = max(objective.sizes)
  training = objective.trained_on(stored)
  micro = objective.micro_batch
  # Of the arrays on the way, a gradient keeps less than half.
  kept = each.all // 2
  if 'logits' in objective.terms.read_of_synthetic:
    kept *= 2  # They may come from a second network.
  passing = micro * 3 * each.largest
  real = batch * (each.features + 2 * pixels)
  per_class = training * (2 * pixels + each.features)
  kept_of_real = _kept_bytes(objective, data.image_shape)
  per_class += kept_of_real
  if network.mixes_images:  # One batch of real images, one of the others.
    per_class += training * kept + batch * 3 * each.largest + real
  else:  # As many whole classes as come near a micro-batch.
    at_once = objective.differentiated or micro
    passing += min(max(at_once, training), objective.most_kept) * kept
    passing += classes_embedded_together(objective, data.classes) * real
  image = jax.ShapeDtypeStruct((stored, *data.image_shape), jnp.float32)
  moved = stored * pixels + _tree_bytes(jax.eval_shape(optimizer.init, image))
  return Needs(
    fixed=(2 + networks) * each.network + passing,
    per_class=per_class,
    # Pixels and optimiser before and after the step; the gradient and a copy.
    state=2 * moved + 2 * stored * pixels + targets * kept_of_real,
    # Who has targets reads no image.
    images=0 if targets else data.images.nbytes // data.classes,
  )


class Activations(NamedTuple):
  """Bytes that embedding one image takes.

  Attributes:
    all: of every array on the way, which a gradient may need.
    largest: of the largest one.
    features: of the result.
    network: of one network's variables.
  """

  all: int
  largest: int
  features: int
  network: int


@functools.lru_cache(maxsize=32)
def activations(
  network: Network, image_shape: ImageShape, precision: str = 'float32'
) -> Activations:
  """Counts what embedding one image takes; nothing is computed.

  Args:
    network: what embeds.
    image_shape: H, W, D.
    precision: of the arrays on the way, float32 or bfloat16.
  """
  variables = jax.eval_shape(network.init, jax.random.key(0))
  image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)

  def embed(variables, image):
    return network.apply(variables, image, Batch(train=True)).features

  traced = jax.make_jaxpr(embed)(variables, image).jaxpr
  # What the features do not need, as the logits, is never computed.
  needed, _ = partial_eval.dce_jaxpr(traced, [True] * len(traced.outvars))
  sizes = [_bytes(v) for v in _results(needed)]
  share = 1 if precision == 'float32' else 2
  return Activations(
    all=sum(sizes) // share,
    largest=max(sizes, default=0) // share,
    features=sum(map(_bytes, traced.outvars)),
    network=sum(map(_bytes, traced.invars)) - _bytes(image),
  )


def measured_bytes(compiled: jax.stages.Compiled) -> int | None:
  """Returns what a compiled program takes; None if the backend does not say.

  Exact where `count_needs` estimates, but only after the program is compiled.

  Args:
    compiled: for one device.

  Returns:
    Bytes of arguments, results and what is on the way; a result that takes an
    argument's place counts once.
  """
  found = compiled.memory_analysis()
  if found is None:
    return None
  held = found.argument_size_in_bytes + found.output_size_in_bytes
  return held - found.alias_size_in_bytes + found.temp_size_in_bytes


def _results(jaxpr: Any) -> Iterator[Any]:
  """Yields what every operation gives; of branches those of the longest."""
  for equation in jaxpr.eqns:
    inner = [i for p in equation.params.values() for i in _programs(p)]
    if not inner:
      yield from equation.outvars
      continue
    branches = [[*_results(program)] for program in inner]
    longest = max(branches, key=lambda b: sum(map(_bytes, b)))
    # A gradient keeps what every turn of a loop gave.
    yield from longest * equation.params.get('length', 1)


def _programs(value: Any) -> list[Any]:
  """Returns the programs in a parameter of an operation."""
  if isinstance(value, tuple | list):
    return [program for item in value for program in _programs(item)]
  value = getattr(value, 'jaxpr', value)
  return [value] if hasattr(value, 'eqns') else []


def _kept_bytes(objective: Objective, image_shape: ImageShape) -> int:
  """Bytes that the loss keeps of a class's real images, for the whole step."""
  one = output_shapes(objective.network, image_shape)
  outputs, weights = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      (objective.batch_real, *leaf.shape), leaf.dtype
    ),
    (one, jax.ShapeDtypeStruct((), jnp.float32)),
  )
  return _tree_bytes(jax.eval_shape(objective.terms.keep, outputs, weights))


def _tree_bytes(tree: Any) -> int:
  return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def _bytes(variable: Any) -> int:
  aval = getattr(variable, 'aval', variable)
  return math.prod(aval.shape) * aval.dtype.itemsize
