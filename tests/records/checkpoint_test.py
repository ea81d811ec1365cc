import errno
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from dm_jax.condensing.condense import CondenseState
from dm_jax.errors import InputError
from dm_jax.records.checkpoint import Checkpoints

STEPS = (5, 10, 15)


def make_state(step):
  """Large enough that the pixels get a file of their own."""
  images = jax.random.normal(jax.random.key(step), (10, 2, 8, 8, 1))
  optimizer = jax.vmap(optax.sgd(1.0, momentum=0.5).init)(images + 1)
  return CondenseState(jnp.int32(step), images, optimizer, terms=())


def begin():
  return make_state(0)


def assert_equal(state, expected):
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  for ours, theirs in zip(
    jax.tree.leaves(state), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype


class Folder:
  """Checkpoints in a folder, opened anew for each use, and what they say."""

  def __init__(self, root):
    self.root = pathlib.Path(root)
    self.path = self.root / 'checkpoints'
    self.lines = []

  def open(self, kept=3):
    return Checkpoints(self.path, kept, self.lines.append)

  def save(self, *steps, kept=3):
    checkpoints = self.open(kept)
    for step in steps:
      checkpoints.save(step, make_state(step))
    checkpoints.close()

  def restore(self):
    checkpoints = self.open()
    state = checkpoints.restore(begin)
    checkpoints.close()
    return state

  def names(self):
    return sorted(path.name for path in self.path.iterdir())


@pytest.fixture
def folder(tmp_path):
  return Folder(tmp_path)


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """A folder with the checkpoints of STEPS, to be copied."""
  folder = Folder(tmp_path_factory.mktemp('saved'))
  folder.save(*STEPS)
  return folder


@pytest.fixture
def copy(saved, tmp_path):
  shutil.copytree(saved.path, tmp_path / 'checkpoints')
  return Folder(tmp_path)


def files_of(folder, step):
  found = (folder.path / str(step)).rglob('*')
  return sorted(path for path in found if path.is_file())


def test_the_newest_state_comes_back_bit_by_bit(copy):
  assert_equal(copy.restore(), make_state(15))
  assert copy.lines == []


def test_an_empty_folder_holds_no_state(folder):
  assert folder.restore() is None
  assert folder.lines == []


def test_only_the_newest_are_kept(folder):
  folder.save(1, 2, 3, 4, kept=2)
  assert folder.names() == ['3', '4']
  folder.save(5, kept=2)
  assert folder.names() == ['4', '5']


def test_saving_a_step_again_changes_nothing(copy):
  before = [path.read_bytes() for path in files_of(copy, 15)]
  copy.save(15)
  assert [path.read_bytes() for path in files_of(copy, 15)] == before


def test_a_half_written_checkpoint_is_reported_and_the_one_before_used(copy):
  # A save that was cut off is a folder of this name.
  half = copy.path / '20.orbax-checkpoint-tmp'
  shutil.copytree(copy.path / '15', half)
  files = sorted(path for path in half.rglob('*') if path.is_file())
  for path in files[len(files) // 2 :]:
    path.unlink()
  assert_equal(copy.restore(), make_state(15))
  assert copy.lines == [f'a half-written checkpoint was left out: {half}']
  assert copy.names() == ['10', '15', '5']
  copy.save(20)
  assert_equal(copy.restore(), make_state(20))


def flip_all(path):
  path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))


def flip_one(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def cut(path):
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])


DAMAGES = (flip_all, flip_one, cut, pathlib.Path.unlink)


def holds_state(path):
  """Whether a checkpoint is lost without this file; the others are notes."""
  if path.parent.name == 'd':
    # Each value is written once; the index of the process was merged into
    # that of the checkpoint.
    largest = max(path.parent.iterdir(), key=lambda p: p.stat().st_size)
    return path == largest
  return path.name in ('metadata', 'manifest.ocdbt') and (
    'ocdbt.process_0' not in path.parts
  )


@pytest.mark.parametrize('damage', DAMAGES)
def test_damage_to_any_file_gives_the_same_state_or_the_one_before(
  saved, tmp_path, damage
):
  for i, original in enumerate(files_of(saved, 15)):
    copy = Folder(tmp_path / str(i))
    shutil.copytree(saved.path, copy.path)
    path = copy.path / original.relative_to(saved.path)
    lost = holds_state(path)
    damage(path)
    state = copy.restore()
    assert state is not None
    name = str(path.relative_to(copy.path))
    if int(state.step) == 15:
      assert not lost, name
      assert_equal(state, make_state(15))
      assert copy.lines == [], name
      continue
    assert_equal(state, make_state(10))
    (line,) = copy.lines
    assert line.startswith('the checkpoint of step 15 is damaged ('), name
    assert len(line) < 600
    assert '\n' not in line
    moved = copy.root / 'damaged_checkpoints' / '15'
    assert str(moved) in line
    assert moved.is_dir()
    assert copy.names() == ['10', '5']
    # The step comes again when the run goes on.
    copy.save(15)
    assert_equal(copy.restore(), make_state(15))


def test_pixels_that_decode_but_are_not_the_saved_ones_are_damage(copy):
  shutil.rmtree(copy.path / '15' / 'state')
  shutil.copytree(copy.path / '10' / 'state', copy.path / '15' / 'state')
  assert_equal(copy.restore(), make_state(10))
  (line,) = copy.lines
  assert 'its contents do not match their digest' in line


def test_a_changed_digest_is_damage(copy):
  (path,) = (copy.path / '15' / 'digest').glob('metadata')
  path.write_text(json.dumps({'sha256': '0' * 64}))
  assert_equal(copy.restore(), make_state(10))
  assert 'do not match their digest' in copy.lines[0]


def test_a_state_of_another_structure_is_refused_and_stays(copy):
  checkpoints = copy.open()
  checkpoints.save(20, {'step': jnp.int32(20), 'pixels': jnp.ones(3)})
  with pytest.raises(InputError, match='step 20 was written by another vers'):
    checkpoints.restore(begin)
  checkpoints.close()
  assert copy.names() == ['10', '15', '20']
  assert copy.lines == []


def save_unnamed(path, step, leaves):
  """A checkpoint as earlier versions wrote it: arrays by number alone."""
  file = io.BytesIO()
  np.savez(file, *leaves)
  packed = np.frombuffer(file.getvalue(), np.uint8)
  digest = hashlib.sha256(packed.tobytes()).hexdigest()
  names = ('state', 'digest')
  with ocp.CheckpointManager(path.absolute(), item_names=names) as manager:
    items = ocp.args.Composite(
      state=ocp.args.StandardSave({'packed': packed}),
      digest=ocp.args.JsonSave({'sha256': digest}),
    )
    manager.save(step, args=items)
    manager.wait_until_finished()


def test_a_checkpoint_of_an_earlier_version_is_read(copy):
  save_unnamed(copy.path, 20, jax.tree.leaves(make_state(20)))
  assert_equal(copy.restore(), make_state(20))
  assert copy.lines == []


def test_other_arrays_of_an_earlier_version_are_refused_and_stay(copy):
  save_unnamed(copy.path, 20, jax.tree.leaves(make_state(20))[:2])
  checkpoints = copy.open()
  with pytest.raises(InputError, match='step 20 was written by another vers'):
    checkpoints.restore(begin)
  checkpoints.close()
  assert '20' in copy.names()


def test_an_empty_folder_in_place_of_a_checkpoint_is_damage(copy):
  shutil.rmtree(copy.path / '15')
  (copy.path / '15').mkdir()
  assert_equal(copy.restore(), make_state(10))
  assert len(copy.lines) == 1


OPENING = 'Error opening "zarr" driver: Error reading "packed/.zarray"'


def no_array(text):
  """Raises as Orbax may where TensorStore cannot read an array."""
  try:
    raise ValueError(text)
  except ValueError as error:
    raise RuntimeError('a checkpoint could not be read') from error


@pytest.mark.parametrize(
  'text',
  [
    f'PERMISSION_DENIED: {OPENING}',
    f'RESOURCE_EXHAUSTED: {OPENING}',
    f'UNAVAILABLE: {OPENING}',
    f'UNKNOWN: {OPENING} [OS error {errno.EMFILE}: EMFILE Too many open files]',
    f"UNKNOWN: {OPENING} [os_error_code='{errno.ESTALE}']",
  ],
)
def test_what_cannot_be_read_now_is_left_as_it_is(copy, monkeypatch, text):
  monkeypatch.setattr(Checkpoints, '_restore', lambda *_: no_array(text))
  message = 'step 15 cannot be read now: .*; nothing was changed'
  with pytest.raises(InputError, match=message):
    copy.restore()
  assert copy.lines == []
  assert copy.names() == ['10', '15', '5']


def test_a_file_that_is_not_there_is_damage(copy, monkeypatch):
  text = f"NOT_FOUND: {OPENING} [os_error_code='{errno.ENOENT}']"
  monkeypatch.setattr(Checkpoints, '_restore', lambda *_: no_array(text))
  assert copy.restore() is None
  assert len(copy.lines) == 3


def test_where_all_are_damaged_there_is_no_state(copy):
  for step in STEPS:
    for path in files_of(copy, step):
      cut(path)
  assert copy.restore() is None
  assert len(copy.lines) == 3
  assert copy.names() == []
  moved = copy.root / 'damaged_checkpoints'
  assert sorted(path.name for path in moved.iterdir()) == ['10', '15', '5']
  copy.save(5)
  assert_equal(copy.restore(), make_state(5))


FULL_DISK = """
import pathlib, resource, sys
import numpy as np
from dm_jax.errors import InputError
from dm_jax.records.checkpoint import Checkpoints

def make_state(step):
  return np.random.default_rng(step).random((100, 1000), np.float32)

checkpoints = Checkpoints(pathlib.Path(sys.argv[1]), 3, print)
checkpoints.save(1, make_state(1))
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, most))
try:
  checkpoints.save(2, make_state(2))
except InputError as error:
  print('InputError:', error)
checkpoints.close()
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
checkpoints = Checkpoints(pathlib.Path(sys.argv[1]), 3, print)
state = checkpoints.restore(lambda: make_state(0))
print('same:', bool((state == make_state(1)).all()))
checkpoints.save(2, make_state(2))
state = checkpoints.restore(lambda: make_state(0))
print('same:', bool((state == make_state(2)).all()))
"""


def test_where_a_checkpoint_does_not_fit_the_last_good_one_stays(
  root, tmp_path
):
  path = tmp_path / 'checkpoints'
  result = subprocess.run(
    [sys.executable, '-c', FULL_DISK, str(path)],
    check=True,
    timeout=60,
    cwd=root,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    stdout=subprocess.PIPE,
    text=True,
  )
  lines = result.stdout.splitlines()
  assert lines[0].startswith(
    f'InputError: the checkpoint of step 2 cannot be written to {path}: '
  )
  assert lines[0].endswith(
    'the last good one stays: make room and start the same command again'
  )
  # What was left of it is reported when the folder is opened again.
  assert lines[-2:] == ['same: True', 'same: True']
  assert len(lines) <= 4
