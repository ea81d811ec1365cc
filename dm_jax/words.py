"""Durations and sizes as people say them."""


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
