"""The notebooks run from top to bottom, and are kept without outputs."""

import os
import re
import sysconfig
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest

from dm_jax.synthetic_set import SyntheticSet

NAMES = ('colab_tpu', 'your_own_images')


def read(root, name) -> Any:
  return nbformat.read(root / 'notebooks' / f'{name}.ipynb', as_version=4)


@pytest.fixture
def run(root, hurried, tmp_path):
  """A function that runs a notebook in an empty folder, and returns it."""

  def run(name):
    book = read(root, name)
    client = nbclient.NotebookClient(
      book, timeout=300, resources={'metadata': {'path': str(tmp_path)}}
    )
    changes = {
      # Two hundredths of the work, on digits: nothing is downloaded.
      'DM_JAX_NOTEBOOK_BUDGET': '0.005',
      'DM_JAX_NOTEBOOK_DATA': 'digits',
      'PYTHONPATH': str(root),
      'PATH': f'{sysconfig.get_path("scripts")}:{os.environ["PATH"]}',
    }
    client.execute(env=hurried | changes)
    return book

  return run


def outputs(book, mime):
  """Returns what the cells show of one kind, in their order."""
  return [
    output.data[mime]
    for cell in book.cells
    if cell.cell_type == 'code'
    for output in cell.outputs
    if mime in output.get('data', {})
  ]


def printed(book):
  return ''.join(
    output.text
    for cell in book.cells
    if cell.cell_type == 'code'
    for output in cell.outputs
    if output.output_type == 'stream'
  )


@pytest.mark.parametrize('name', NAMES)
def test_a_notebook_is_kept_without_outputs_and_every_cell_is_explained(
  root, name
):
  book = read(root, name)
  nbformat.validate(book)
  before = None
  for cell in book.cells:
    if cell.cell_type == 'code':
      assert cell.outputs == []
      assert cell.execution_count is None
      assert before == 'markdown', cell.source
    before = cell.cell_type
  assert sorted(p.stem for p in (root / 'notebooks').iterdir()) == sorted(NAMES)


def test_the_colab_notebook_runs(run, tmp_path):
  book = run('colab_tpu')
  text = printed(book)
  accuracies = re.findall(r'(condensed|random real) +\d+\.\d ± \d+\.\d %', text)
  assert accuracies[:2] == ['condensed', 'random real']
  rows = re.findall(r'^ +(\d+\.\d)  \d+\.\d ± \d+\.\d$', text, re.MULTILINE)
  assert len(rows) == 3  # Random real images, and two rounds.
  assert rows[0] == '0.0'
  assert len(outputs(book, 'text/html')) == 4  # Sets that show themselves.
  assert len(outputs(book, 'image/png')) == 2  # The plot, the command's images.
  assert 'report: ' in text, 'the command came to its end'
  assert (tmp_path / 'runs/digits/report.html').exists()
  assert f'saved to {tmp_path / "synthetic.npz"}' in text
  made = SyntheticSet.load(tmp_path / 'synthetic.npz')
  assert made.images.shape == (100, 8, 8, 1)


def test_the_notebook_of_ones_own_images_runs(run, tmp_path):
  book = run('your_own_images')
  text = printed(book)
  folders = sorted(path.name for path in (tmp_path / 'my_images').glob('*/*'))
  assert folders == sorted([f'digit {c}' for c in range(10)] * 2)
  assert 'digit 0: ' in text
  assert re.search(r'condensed +\d+\.\d ± \d+\.\d %', text)
  assert len(outputs(book, 'text/html')) == 1
  made = SyntheticSet.load(tmp_path / 'synthetic.npz')
  with np.load(tmp_path / 'condensed.npz') as file:
    np.testing.assert_array_equal(file['images'], made.images)
    assert file['labels'].dtype == np.int64
    assert file['labels'].tolist() == [c for c in range(10) for _ in range(10)]
    assert file['mean'].dtype == np.float32
  assert re.search(r'PyTorch is not installed|torch\.float32 \(100, 1, 8', text)
  assert re.search(r'TensorFlow is not installed|TensorSpec', text)
