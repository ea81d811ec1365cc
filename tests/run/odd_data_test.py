"""Data that no picture shows, in a folder whose name is not UTF-8."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from dm_jax.run import run
from dm_jax.synthetic_set import SyntheticSet

SAID = 'images of 2 channels are not drawn: pictures have 1 or 3'


@pytest.fixture(scope='module')
def odd(tmp_path_factory, make_config, save_arrays):
  """A function that does one run, or what is left of it: its workdir, lines."""
  root = tmp_path_factory.mktemp('odd')
  data = root / os.fsdecode(b'caf\xe9') / os.fsdecode(b'\xff.npz')
  data.parent.mkdir()
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (12, 8, 8, 2), np.uint8)
  save_arrays(data, train_images=images, test_images=images[:6])
  config = make_config(
    **{'data.dir': str(data), 'condense.steps': 1, 'output.pictures': 0}
  )

  def do():
    lines = []
    run.run(
      config,
      mode='run',
      folder=root / 'workdir',
      command=f'python launch.py --config.data.dir={data}',
      say=lines.append,
    )
    return root / 'workdir', lines

  return do


def test_a_run_ends_without_pictures_and_can_be_repeated(odd):
  for _ in range(2):
    folder, lines = odd()
    assert SAID in lines
    assert not [*folder.rglob('*.png')]
    for name in ('synthetic.npz', 'baselines/random.npz'):
      made = SyntheticSet.load(folder / name)
      assert made.image_shape == (8, 8, 2)
    assert '<img' not in (folder / 'report.html').read_text(encoding='utf-8')


def test_names_that_are_not_utf8_are_kept(odd):
  folder, _ = odd()
  config = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
  assert os.fsencode(config['data']['dir']).endswith(b'/caf\xe9/\xff.npz')
  results = json.loads((folder / 'results.json').read_text(encoding='utf-8'))
  assert os.fsencode(results['command']).endswith(b'/caf\xe9/\xff.npz')
  assert results['data']['place'] == '\N{REPLACEMENT CHARACTER}'
  page = (folder / 'report.html').read_text(encoding='utf-8')
  assert r'caf\udce9/\udcff.npz' in page


TABLE = r"""
import sys
from dm_jax.report import compare
from dm_jax.run import command
sys.stdout.reconfigure(encoding='ascii', errors='strict')
compare.show = lambda *_: print('caf\u00e9 \udce9')
command.execute(
  {}, '', mode='table', workdir='', workdirs=[], synthetic=None,
  layout='', to='', cluster=('', 0, -1), distributed=False
)
"""


def test_a_terminal_that_lacks_a_letter_stops_nothing(root):
  """The last lines of a run are printed when all else is done."""
  printed = subprocess.check_output(
    [sys.executable, '-c', TABLE], cwd=root, text=True, timeout=200
  )
  assert printed == 'caf\\xe9 \\udce9\n'
