"""Commands and settings of a record, without what belongs to one machine."""

from pathlib import Path
import shlex
from typing import Any

# Settings that name a place.
_PATHS = ('data.dir', 'data.cache', 'embedder.dir')
_FLAGS = (
  *('--workdir', '--record', '--folders'),
  *(f'--config.{path}' for path in _PATHS),
)


def portable_command(command: str) -> str:
  """Returns a command with the last part alone of every place in its flags.

  Args:
    command: as it was started.
  """
  parts = []
  for part in _joined(shlex.split(command)):
    flag, equals, value = part.partition('=')
    place = equals and flag in _FLAGS
    parts.append(f'{flag}={Path(value).name}' if place else part)
  return shlex.join(parts)


def _joined(parts: list[str]) -> list[str]:
  """Returns the same with each flag and its value as one part."""
  joined: list[str] = []
  for part in parts:
    follows = joined and joined[-1].startswith('--') and '=' not in joined[-1]
    if follows and not part.startswith('-'):
      joined[-1] += f'={part}'
    else:
      joined.append(part)
  return joined


def portable_settings(config: dict[str, Any]) -> dict[str, Any]:
  """Returns a run's config with the last part alone of every place.

  Args:
    config: as in config.json.
  """
  kept = {
    name: dict(value) if isinstance(value, dict) else value
    for name, value in config.items()
    if name not in ('inputs', 'output')
  }
  for path in _PATHS:
    section, _, field = path.partition('.')
    if kept.get(section, {}).get(field):
      kept[section][field] = Path(kept[section][field]).name
  return kept
