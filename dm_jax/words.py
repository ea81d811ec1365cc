"""Names, numbers, durations, sizes and values as a person reads them."""

from collections.abc import Iterable, Mapping
import dataclasses
import itertools
from typing import Any

METHOD_NAMES = {
  'dm': 'DM',
  'released': 'released',
  'random': 'random real',
  'random_full': 'random real, whole',
  'random_jpeg': 'random JPEG',
  'herding': 'herding',
  'k_center': 'k-center',
  'forgetting': 'forgetting',
  'early_stopping': 'early stopping',
  'whole': 'whole set',
}
_NETWORK_NAMES = {
  'convnet': 'ConvNet',
  'mlp': 'MLP',
  'lenet': 'LeNet',
  'alexnet': 'AlexNet',
  'vgg11': 'VGG-11',
  'resnet18': 'ResNet-18',
  'resnet18_ap': 'ResNet-18 (average pooling)',
}


def method_name(method: str) -> str:
  """Returns a method's name for tables; an unknown one as it is."""
  return METHOD_NAMES.get(method, method)


def method_order(methods: Iterable[str], own: str | None) -> list[str]:
  """Returns methods as tables and figures show them.

  Args:
    methods: in any order, as a file's is another than a running program's.
    own: the run's method, which comes first.
  """
  known = list(METHOD_NAMES)

  def place(method: str) -> tuple[bool, int, str]:
    rank = known.index(method) if method in known else len(known)
    return method != own, rank, method

  return sorted(methods, key=place)


def network_name(label: str) -> str:
  """Returns 'VGG-11, batch norm' for vgg11:norm=batch.

  Args:
    label: a network's name, which changes may follow. What is not known is
      returned as it is.
  """
  name, *changes = label.split(':')
  return ', '.join([_NETWORK_NAMES.get(name, name), *map(_change, changes)])


def network_under(label: str, protocol: str) -> str:
  """Returns a network's name and the protocol that it is trained under."""
  return f'{network_name(label)}, {protocol} protocol'


def _change(change: str) -> str:
  field, _, value = change.partition('=')
  if field in ('norm', 'pooling', 'activation') and value:
    return f'{"no" if value == "none" else value} {field}'
  return f'{field} {value}' if value else change


def percent(fraction: float) -> str:
  """Returns 92.3 for 0.923."""
  return f'{100 * fraction:.1f}'


def plus_minus(mean: float, deviation: float | None) -> str:
  """Returns 92.3 ± 0.4 for 0.923 and 0.004, without ± for None."""
  spread = '' if deviation is None else f' ± {percent(deviation)}'
  return percent(mean) + spread


def plural(count: int, thing: str) -> str:
  """Returns e.g. 1 network or 1,200 networks."""
  return f'{count:,} {thing}' if count == 1 else f'{count:,} {thing}s'


def settings_told(settings: Mapping[str, Any]) -> str:
  """Returns e.g. condense.factor 2; embedder.name trajectory."""
  return '; '.join(f'{name} {value}' for name, value in settings.items())


_SHOWN, _LETTERS = 3, 60


def short_repr(value: Any) -> str:
  """Returns what `repr` would, on a line or two: no array is printed whole.

  Args:
    value: dataclasses and containers are told by their parts, arrays by type
      and shape, and what is long by its beginning and length.
  """
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    parts = _short_parts(
      (field.name, getattr(value, field.name))
      for field in dataclasses.fields(value)
    )
    return f'{type(value).__name__}({", ".join(parts)})'
  if hasattr(value, 'shape') and hasattr(value, 'dtype'):
    return _short_array(value)
  if isinstance(value, Mapping):
    parts = _short_parts(value.items(), _SHOWN)
    return f'{{{_counted(parts, len(value))}}}'
  if isinstance(value, (tuple, list)):
    parts = [short_repr(part) for part in value[:_SHOWN]]
    return f'({_counted(parts, len(value))}{"," * (len(value) == 1)})'
  if isinstance(value, float):
    return f'{value:.4g}'
  text = repr(value)
  return text if len(text) <= _LETTERS else f'{text[:_LETTERS]}…'


def _short_array(array: Any) -> str:
  try:
    if array.shape == ():
      return short_repr(array.item())
  except (TypeError, NotImplementedError):  # A tracer, or a key.
    pass
  return f'{array.dtype}{list(array.shape)}'


def _short_parts(
  named: Iterable[tuple[str, Any]], most: int | None = None
) -> list[str]:
  shown = itertools.islice(named, most)
  return [f'{name}={short_repr(part)}' for name, part in shown]


def _counted(parts: list[str], count: int) -> str:
  rest = [f'… {count:,} in all'] if count > len(parts) else []
  return ', '.join([*parts, *rest])


def format_seconds(seconds: float) -> str:
  """Returns a duration as people say it: 62 ms, 4.2 s, 3 min 20 s, 2 h 5 min.

  Args:
    seconds: at least 0.
  """
  if seconds < 0.1:
    return f'{1000 * seconds:.3g} ms'
  if seconds < 9.95:
    return f'{seconds:.1f} s'
  whole = round(seconds)
  if whole < 60:
    return f'{whole} s'
  if whole < 3600:
    return f'{whole // 60} min {whole % 60} s'
  minutes = round(whole / 60)
  return f'{minutes // 60} h {minutes % 60} min'


def format_bytes(count: float) -> str:
  """Returns e.g. 6.4 kB, a kB being 1,000 bytes."""
  units = iter(('bytes', 'kB', 'MB'))
  for unit in units:
    if count < 999.5:
      return f'{count:.3g} {unit}'
    count /= 1000
  return f'{count:,.3g} GB' if count < 999.5 else f'{count:,.0f} GB'
