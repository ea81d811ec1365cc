"""The command line: its config file, its settings, and Ctrl-C at once."""

import os
import re
import subprocess
import sys

from absl import flags
from ml_collections import config_flags
import pytest

from dm_jax.configs import default
from dm_jax.errors import InputError
from dm_jax.run.command import check_arguments, find_config
from dm_jax.run.config import RunConfig


@pytest.fixture
def here(tmp_path, monkeypatch):
  """The folder of the process, with a config file; it is the home, too."""
  (tmp_path / 'mine.py').write_text('')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path))
  return tmp_path


@pytest.mark.parametrize(
  'arguments',
  [
    ['--config={}mine.py:ipc=1,5'],
    ['-config={}mine.py:ipc=1,5'],
    ['--config', '{}mine.py:ipc=1,5'],
  ],
)
@pytest.mark.parametrize('before', ['', '~/', '{here}/'])
def test_a_config_file_gets_its_whole_path(here, arguments, before):
  before = before.format(here=here)
  given = ['launch.py', *(a.format(before) for a in arguments)]
  found = find_config([*given, '--config.seed=1', '--workdir=x'])
  expected = ' '.join(arguments).format(f'{here}/')
  assert ' '.join(found[1:-2]) == expected
  assert found[-2:] == ['--config.seed=1', '--workdir=x']


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--config=configs/digits.py'], 'no file configs/digits.py in {here}: '),
    (['--config', 'digits.py:ipc=1'], 'no file digits.py in {here}: '),
    (['--config=~/x.py'], 'no file {here}/x.py: '),
    (['--config=/x/y.py'], 'no file /x/y.py: '),
    (['--config=..'], 'no file .. in {here}: '),
    (['--config='], 'give --config=FILE'),
  ],
)
def test_a_config_that_is_not_there_tells_where_it_was_looked_for(
  here, arguments, message
):
  expected = re.escape(message.format(here=here))
  with pytest.raises(InputError, match=expected) as error:
    find_config(['launch.py', *arguments])
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('flag', 'mode', 'modes'),
  [
    ('to', 'run', 'export'),
    ('factor', 'condense', 'evaluate or score or export'),
    ('synthetic', 'table', 'evaluate or score or export'),
    ('workdirs', 'evaluate', 'table'),
    ('workdir', 'export', 'run or condense or evaluate or score or table'),
  ],
)
def test_a_flag_of_another_mode_is_refused(flag, mode, modes):
  message = f'--{flag} goes with --mode={modes}, not {mode}'
  with pytest.raises(InputError, match=message):
    check_arguments(['launch.py'], mode, {'config', flag})
  check_arguments(['launch.py'], modes.split()[0], {'config', flag})


def parse(*arguments):
  """Returns the settings that a command line gives."""
  values = flags.FlagValues()
  argv = ['launch.py', *arguments]
  config = config_flags.DEFINE_config_dict(
    'config', default.get_config(), flag_values=values, sys_argv=argv
  )
  values(argv)
  return RunConfig.from_dict(config.value.to_dict())


@pytest.mark.parametrize(
  ('text', 'sizes'),
  [
    ('1,5', (1, 5)),
    ('1, 5', (1, 5)),
    ('[1,5]', (1, 5)),
    ('(1,5)', (1, 5)),
    ('(1, 10, 50)', (1, 10, 50)),
    ('7', (7,)),
    ('[7]', (7,)),
    ('7,', (7,)),
  ],
)
def test_several_images_per_class_are_given_by_flag(text, sizes):
  made = parse(f'--config.condense.images_per_class={text}')
  assert made.condense.sizes == sizes
  # 7 and [7] are one setting, also to a workdir.
  several = len(sizes) > 1
  assert made.condense.images_per_class == (sizes if several else sizes[0])


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('5,1', r'that ascend, got \(5, 1\)'),
    ('1,1', 'ascend'),
    ('0,1', 'at least 1'),
    ('1.5', r'got 1\.5'),
    ('ten', "got 'ten'"),
    ('', "got ''"),
  ],
)
def test_what_are_no_sizes_is_refused_in_one_line(text, message):
  with pytest.raises(InputError, match=message) as error:
    parse(f'--config.condense.images_per_class={text}')
  assert str(error.value).startswith('condense.images_per_class must be')
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('value', ['1,10', '[1,10]', '(1, 10)'])
def test_a_config_argument_may_have_brackets(value):
  config = default.get_config()
  assert default.set_cell(config, f'ipc={value}', (8, 8, 1)) == 10
  assert config.condense.images_per_class == (1, 10)


def test_a_config_file_may_set_one_size_or_several():
  config = default.get_config()
  for value in (5, (1, 5), [1, 5]):
    config.condense.images_per_class = value
    made = RunConfig.from_dict(config.to_dict()).condense
    assert made.sizes[-1] == 5


@pytest.mark.parametrize('name', ['data.dir', 'data.cache', 'embedder.dir'])
def test_paths_among_the_settings_are_whole(here, name):
  group, field = name.split('.')
  for text, expected in (('~/a b', here / 'a b'), ('a', here / 'a')):
    section = getattr(parse(f'--config.{name}={text}'), group)
    assert getattr(section, field) == str(expected)
  with pytest.raises(InputError, match=f'{name} is empty'):
    parse(f'--config.{name}=')


# In the place of a package that the command imports first of all.
PRESS_CTRL_C = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(60)
"""


def test_ctrl_c_while_packages_are_imported_ends_in_one_line(root, tmp_path):
  (tmp_path / 'absl.py').write_text(PRESS_CTRL_C)
  process = subprocess.run(
    [sys.executable, str(root / 'launch.py'), '--config=configs/digits.py'],
    check=False,
    timeout=50,
    env={**os.environ, 'PYTHONPATH': str(tmp_path)},
    capture_output=True,
    text=True,
  )
  assert process.returncode == 130
  assert process.stdout == ''
  assert process.stderr.splitlines() == ['stopped before anything was done']
