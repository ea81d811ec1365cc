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
