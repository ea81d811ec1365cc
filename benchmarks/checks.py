"""Checks on a device what tests check on a CPU.

  python benchmarks/checks.py --what=golden --record=golden.json

  golden     the golden files, at full float32,
  twice      two runs, with deterministic operations, give the same images,
  resume     a run that is killed goes on to the same images,
  precision  accuracies with bfloat16 beside float32.

Runs are of scikit-learn's digits, each in a process of its own; this one leaves
the device to them. The record says whether the check passed; of bfloat16 it has
the accuracies, which the reader judges.
"""

from collections.abc import Callable
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Any
import xml.etree.ElementTree as ElementTree

from absl import flags
import numpy as np

from benchmarks.start import start
from dm_jax.files import full_path, write_json
from dm_jax.records.results import read_results

_WHAT = flags.DEFINE_enum(
  'what', 'golden', ('golden', 'twice', 'resume', 'precision'), 'The check.'
)
_RECORD = flags.DEFINE_string('record', '', 'JSON file to write.')
_STEPS = flags.DEFINE_integer('steps', 2000, 'Of condensing.')

ROOT = Path(__file__).resolve().parents[1]
_DETERMINISTIC = '--xla_gpu_deterministic_ops=true'
_FULL = {'JAX_DEFAULT_MATMUL_PRECISION': 'float32'}


def start_run(folder: Path, *arguments: str) -> subprocess.Popen:
  """Starts a run on digits, with deterministic operations."""
  given = os.environ.get('XLA_FLAGS', '')
  return subprocess.Popen(
    [
      *(sys.executable, 'launch.py', '--config=configs/digits.py:ipc=10'),
      f'--workdir={folder}',
      f'--config.condense.steps={_STEPS.value}',
      '--config.output.pictures=0',
      *arguments,
    ],
    cwd=ROOT,
    env={**os.environ, 'XLA_FLAGS': f'{given} {_DETERMINISTIC}'.strip()},
    stdout=sys.stderr,
  )


def condense(folder: Path) -> np.ndarray:
  """Returns the images of a finished run."""
  finish(start_run(folder, '--mode=condense'))
  return images_of(folder)


def finish(process: subprocess.Popen) -> None:
  code = process.wait()
  if code:
    sys.exit(f'error: a run ended with {code}')


def images_of(folder: Path) -> np.ndarray:
  with np.load(folder / 'synthetic.npz') as file:
    return file['images']


def same(one: np.ndarray, other: np.ndarray) -> dict[str, Any]:
  """Returns whether images are equal to the bit, and how far they are off."""
  return {
    'passed': one.tobytes() == other.tobytes(),
    'largest_difference': float(np.abs(one - other).max()),
  }


def check_golden(folder: Path) -> dict[str, Any]:
  """Runs the golden tests without the settings that keep tests on a CPU."""
  report = folder / 'golden.xml'
  subprocess.run(
    [
      *(sys.executable, '-m', 'pytest', '--noconftest', '-q'),
      *('-o', 'addopts=--import-mode=importlib', f'--junitxml={report}'),
      # Several devices are another matter.
      *('-k', 'not (one_batch and (2 or 3))'),
      'tests/matching/golden_test.py',
    ],
    cwd=ROOT,
    env={**os.environ, **_FULL},
    stdout=sys.stderr,
    check=False,
  )
  suite = next(ElementTree.parse(report).getroot().iter('testsuite'))
  counts = {
    name: int(suite.get(name, 0)) for name in ('tests', 'failures', 'errors')
  }
  passed = counts['tests'] and not counts['failures'] + counts['errors']
  return {'passed': bool(passed), **counts}


def check_twice(folder: Path) -> dict[str, Any]:
  return same(condense(folder / 'one'), condense(folder / 'other'))


def has_checkpoint(folder: Path) -> bool:
  """Says whether one is whole: others have longer names than their step."""
  return any(p.name.isdecimal() for p in folder.glob('checkpoints/*'))


def check_resume(folder: Path) -> dict[str, Any]:
  straight, killed = condense(folder / 'straight'), folder / 'killed'
  process = start_run(
    killed, '--mode=condense', '--config.output.checkpoint_seconds=0'
  )
  while process.poll() is None and not has_checkpoint(killed):
    time.sleep(0.01)
  process.kill()
  process.wait()
  resumed = condense(killed)
  steps = read_results(killed).resumed_from
  found = same(straight, resumed)
  # One that was not killed in time shows nothing.
  return {**found, 'passed': found['passed'] and bool(steps), 'from': steps}


def check_precision(folder: Path) -> dict[str, Any]:
  found = {}
  for precision in ('float32', 'bfloat16'):
    workdir = folder / precision
    finish(
      start_run(
        workdir,
        f'--config.condense.precision={precision}',
        '--config.evaluate.baselines=none',
      )
    )
    (evaluation,) = read_results(workdir).evaluations
    found[precision] = list(evaluation.flat)
  return {'accuracies': found}


_CHECKS: dict[str, Callable[[Path], dict[str, Any]]] = {
  'golden': check_golden,
  'twice': check_twice,
  'resume': check_resume,
  'precision': check_precision,
}


def describe_device() -> dict[str, Any]:
  """Returns device and versions, as a process of their own says them."""
  program = (
    'import json\n'
    'from dm_jax.run.facts import describe_machine\n'
    'from dm_jax.synthetic_set import package_versions\n'
    'print(json.dumps({"device": describe_machine()["device"],'
    ' "versions": package_versions()}))'
  )
  done = subprocess.run(
    [sys.executable, '-c', program],
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout)


def main(_: list[str]) -> None:
  with tempfile.TemporaryDirectory() as folder:
    found = _CHECKS[_WHAT.value](Path(folder))
  record = {**found, 'what': _WHAT.value, **describe_device()}
  print(record)
  if _RECORD.value:
    write_json(full_path(_RECORD.value, '--record'), record)


if __name__ == '__main__':
  start(main)
