"""Kernels and bytes of a program on a GPU, counted before it is compiled.

The program is traced as for a GPU (`lax.platform_dependent` takes the branch
for other platforms than a CPU) and counted equation by equation, loops as often
as they turn. XLA fuses elementwise operations into what reads them; what it
computes by a kernel of its own is listed in `_ALONE` and `_REDUCED`. So:

  - what such an operation gives lies in memory, and is one kernel,
  - what is computed elementwise costs nothing where a reduction or another
    elementwise operation reads it; where an operation of `_ALONE`, a loop or
    the caller reads it, it is one kernel, with all else that is read there,
  - a kernel reads every array in memory that it depends on, once, and writes
    its result.

XLA's own counts differ: it copies to change layouts, splits a sort or a large
reduction into several kernels, merges some small ones, and a switch waits for
the host. They are those of no measured program, but they tell arrangements
apart, as all are counted alike.
"""

from collections.abc import Sequence
import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import jax
from jax.interpreters import partial_eval

from dm_jax.errors import InputError

# Their operands and results lie in memory.
_ALONE = {
  'conv_general_dilated',
  'cumsum',
  'dot_general',
  'random_bits',
  'random_fold_in',
  'random_split',
  'sort',
  'top_k',
}
# Elementwise operations before them are computed in the same kernel.
_REDUCED = {
  'argmax',
  'argmin',
  'reduce_and',
  'reduce_max',
  'reduce_min',
  'reduce_or',
  'reduce_sum',
  'reduce_window_max',
  'reduce_window_sum',
  'select_and_gather_add',
}
# They read only as much as they give.
_PICKED = {'dynamic_slice', 'gather', 'slice'}
_INNER = ('jaxpr', 'call_jaxpr', 'fun_jaxpr')


def _is_alone(name: str) -> bool:
  return name in _ALONE or name.startswith('scatter')


class Kernel(NamedTuple):
  """What a kernel does at the least.

  Attributes:
    bytes: that it reads and writes.
    flops: of matrix products and convolutions.
  """

  bytes: float
  flops: float = 0.0


@dataclasses.dataclass(frozen=True)
class Device:
  """What a device does at the most.

  Attributes:
    launch: seconds that the smallest kernel takes.
    bandwidth: bytes a second.
    rates: FLOP/s of matrix products by their precision.
  """

  launch: float
  bandwidth: float
  rates: dict[str, float]


H100 = Device(
  launch=5e-6,
  bandwidth=3.35e12,
  rates={'float32': 67e12, 'tf32': 495e12, 'bfloat16': 989e12},
)


@dataclasses.dataclass
class Count:
  """The kernels of a program, and how often each is computed."""

  kernels: list[tuple[Kernel, float]] = dataclasses.field(default_factory=list)

  @property
  def number(self) -> float:
    return sum(times for _, times in self.kernels)

  @property
  def bytes(self) -> float:
    return sum(kernel.bytes * times for kernel, times in self.kernels)

  @property
  def flops(self) -> float:
    return sum(kernel.flops * times for kernel, times in self.kernels)

  def bound(self, device: Device, precision: str) -> float:
    """Returns the least seconds: kernels run one after the other.

    Each takes as long as the slowest of its launch, its bytes and its products.
    """
    rate = device.rates[precision]
    return sum(
      times
      * max(device.launch, kernel.bytes / device.bandwidth, kernel.flops / rate)
      for kernel, times in self.kernels
    )


def count_kernels(function: Any, *args: Any) -> Count:
  """Counts the kernels of a function of arrays.

  Args:
    function: is traced, not computed.
    args: arrays or shapes.

  Raises:
    InputError: it has a loop of which nobody knows how often it turns.
  """
  traced = jax.make_jaxpr(function)(*args)
  program, _ = partial_eval.dce_jaxpr(
    traced.jaxpr, [True] * len(traced.jaxpr.outvars), instantiate=True
  )
  walk = _Walk()
  inputs = [_in_memory(variable) for variable in program.invars]
  consts = [_in_memory(variable) for variable in program.constvars]
  walk.materialise(walk.run(program, consts, inputs, 1.0), 1.0)
  return walk.count


class _Value(NamedTuple):
  """An array, which lies in memory or is made where it is read.

  Attributes:
    reads: bytes of the arrays in memory that it is made of, by their number.
    lies: whether it is one of these.
    bytes: of itself.
  """

  reads: dict[int, int]
  lies: bool
  bytes: int


_numbers = itertools.count()


def _in_memory(variable: Any) -> _Value:
  size = _bytes(variable)
  return _Value({next(_numbers): size}, True, size)


def _bytes(variable: Any) -> int:
  aval = variable.aval
  itemsize = getattr(aval.dtype, 'itemsize', 8)  # Keys have none.
  return math.prod(aval.shape) * itemsize


def _joined(values: Sequence[_Value]) -> dict[int, int]:
  return {k: size for value in values for k, size in value.reads.items()}


class _Walk:
  """Goes through a program and notes its kernels."""

  def __init__(self):
    self.count = Count()

  def kernel(self, reads: dict[int, int], writes: float, times, flops=0.0):
    moved = sum(reads.values()) + writes
    self.count.kernels.append((Kernel(moved, flops), times))

  def materialise(self, values: Sequence[_Value], times: float) -> list[_Value]:
    """Puts values into memory, those that do not lie there by one kernel."""
    made = [value for value in values if not value.lies and value.reads]
    if made:
      self.kernel(_joined(made), sum(value.bytes for value in made), times)
    return [
      value
      if value.lies
      else _Value({next(_numbers): value.bytes}, True, value.bytes)
      for value in values
    ]

  def run(self, program, consts, inputs, times: float) -> list[_Value]:
    """Returns what a program gives for these inputs, computed so often."""
    known = dict(zip(program.constvars, consts, strict=True))
    known |= dict(zip(program.invars, inputs, strict=True))

    def read(atom) -> _Value:
      if hasattr(atom, 'val'):  # A literal.
        return _Value({}, False, 0)
      return known[atom]

    for equation in program.eqns:
      operands = [read(atom) for atom in equation.invars]
      name = equation.primitive.name
      if _is_alone(name) or name in ('scan', 'cond'):
        operands = self.materialise(operands, times)
        for atom, value in zip(equation.invars, operands, strict=True):
          if not hasattr(atom, 'val'):
            known[atom] = value  # Whoever reads it next finds it in memory.
      found = self._equation(equation, operands, times)
      known |= dict(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in program.outvars]

  def _equation(self, equation, operands, times: float) -> list[_Value]:
    name = equation.primitive.name
    if name == 'scan':
      return self._scan(equation, operands, times)
    if name == 'cond':
      return self._switch(equation, operands, times)
    if name == 'while':
      raise InputError('a loop that turns nobody knows how often: use a scan')
    for key in _INNER:
      if key in equation.params:
        inner = equation.params[key]
        return self._inner(getattr(inner, 'jaxpr', inner), operands, times)
    outputs = equation.outvars
    if _is_alone(name) or name in _REDUCED:
      written = sum(map(_bytes, outputs))
      self.kernel(_joined(operands), written, times, _flops(equation))
      return [_in_memory(variable) for variable in outputs]
    reads = _joined(operands)
    if name in _PICKED and operands[0].lies:
      picked = {next(_numbers): sum(map(_bytes, outputs))}
      reads = picked | _joined(operands[1:])
    return [_Value(reads, False, _bytes(variable)) for variable in outputs]

  def _inner(self, program, operands, times: float) -> list[_Value]:
    """Runs a program inside another; its constants lie in memory."""
    consts = [_in_memory(variable) for variable in program.constvars]
    return self.run(program, consts, operands, times)

  def _scan(self, equation, operands, times: float) -> list[_Value]:
    params = equation.params
    fixed = params['num_consts']
    carried = fixed + params['num_carry']
    turns = times * params['length']
    program = params['jaxpr'].jaxpr
    # A row of what is mapped over is a part of an array in memory.
    rows = [_in_memory(variable) for variable in program.invars[carried:]]
    inputs = [*operands[:carried], *rows]
    found = self._inner(program, inputs, turns)
    # Each turn writes what it carries on and its row of the results.
    rows = [value._replace(lies=False) for value in found[carried - fixed :]]
    counter = _Value({next(_numbers): 4}, False, 4)
    self.materialise([*found[: carried - fixed], *rows, counter], turns)
    return [_in_memory(variable) for variable in equation.outvars]

  def _switch(self, equation, operands, times: float) -> list[_Value]:
    """Takes the branch for a GPU, or all branches equally often."""
    branches = equation.params['branches']
    platforms = equation.params.get('branches_platforms')
    if platforms is not None:
      branch = next(
        branch
        for branch, each in zip(branches, platforms, strict=True)
        if each is None or {'gpu', 'cuda'} & {*each}
      )
      return self._inner(branch.jaxpr, operands[1:], times)
    for branch in branches:
      share = times / len(branches)
      found = self._inner(branch.jaxpr, operands[1:], share)
      self.materialise(found, share)
    return [_in_memory(variable) for variable in equation.outvars]


def _flops(equation) -> float:
  """Multiplications and additions of a product or convolution; else 0."""
  name, params = equation.primitive.name, equation.params
  if name == 'dot_general':
    (contracted, _), _ = params['dimension_numbers']
    shape = equation.invars[0].aval.shape
    depth = math.prod(shape[axis] for axis in contracted)
  elif name == 'conv_general_dilated':
    kernel = equation.invars[1].aval.shape
    features = kernel[params['dimension_numbers'].rhs_spec[0]]
    depth = math.prod(kernel) / features
  else:
    return 0.0
  return 2.0 * math.prod(equation.outvars[0].aval.shape) * depth
