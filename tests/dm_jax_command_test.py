"""What is installed as the command `dm_jax`."""

import subprocess
import sys

_INTERRUPTED = """
import signal, sys, types
class Loading(types.ModuleType):
  def __getattr__(self, name):
    signal.raise_signal(signal.SIGINT)
sys.modules['dm_jax.run'] = Loading('dm_jax.run')
import dm_jax_command
dm_jax_command.main()
"""


def test_ctrl_c_is_one_line_while_the_package_loads(root):
  stopped = subprocess.run(
    [sys.executable, '-c', _INTERRUPTED],
    cwd=root,
    capture_output=True,
    text=True,
  )
  assert stopped.returncode == 128 + 2  # As a shell counts SIGINT.
  assert stopped.stdout == ''
  assert stopped.stderr == 'stopped before anything was done\n'


_LOST = """
import importlib, signal, sys, weakref
run = importlib.import_module('dm_jax.run.run')
prepare = run.prepare
def interrupted(*arguments):
  dying = set()
  kept = weakref.ref(dying, lambda _: signal.raise_signal(signal.SIGINT))
  del dying  # What a callback raises goes no further.
  return prepare(*arguments)
run.prepare = interrupted
import dm_jax_command
dm_jax_command.main()
"""


def test_ctrl_c_that_a_callback_swallows_stops_the_run_as_it_begins(
  root, environment, tmp_path
):
  arguments = ('--config=configs/smoke.py', f'--workdir={tmp_path}/run')
  stopped = subprocess.run(
    [sys.executable, '-c', _LOST, *arguments],
    cwd=root,
    env=environment,
    capture_output=True,
    text=True,
  )
  assert 'Exception ignored' in stopped.stderr
  last = stopped.stderr.splitlines()[-1]
  assert last == 'stopped (reading the data); the same command goes on'
  assert stopped.returncode == 128 + 2
  assert not (tmp_path / 'run' / 'results.json').exists()
