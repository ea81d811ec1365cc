"""What is installed as the command `dm_jax`."""

import sys
import types

import pytest

import dm_jax_command


def test_ctrl_c_is_one_line_while_the_package_loads(monkeypatch, capsys):
  class Interrupted(types.ModuleType):
    def __getattr__(self, name):
      raise KeyboardInterrupt

  monkeypatch.setitem(sys.modules, 'dm_jax.run', Interrupted('dm_jax.run'))
  with pytest.raises(SystemExit) as stop:
    dm_jax_command.main()
  assert stop.value.code == 128 + 2  # As a shell counts SIGINT.
  assert capsys.readouterr().err == 'stopped; the same command goes on\n'
