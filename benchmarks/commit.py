"""The commit that a measurement is of."""

from pathlib import Path
import subprocess

_ROOT = Path(__file__).resolve().parents[1]


def commit() -> str | None:
  """Returns the checkout's commit, with -dirty where tracked files differ.

  None outside of a checkout, or where git is missing.
  """
  found = _git('rev-parse', 'HEAD')
  if not found:
    return None
  changed = _git('status', '--porcelain', '--untracked-files=no')
  return f'{found}-dirty' if changed else found


def _git(*arguments: str) -> str:
  """Returns what git says; '' where it fails."""
  try:
    ended = subprocess.run(
      ['git', '-C', str(_ROOT), *arguments],
      capture_output=True,
      check=False,
      text=True,
    )
  except OSError:
    return ''
  return '' if ended.returncode else ended.stdout.strip()
