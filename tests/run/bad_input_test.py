"""Whatever a person may give that cannot be used, by the command's own path."""

import os
import pathlib
import re
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
from PIL import Image
import pytest

from dm_jax.errors import Diverged, InputError
from dm_jax.records.checkpoint import Checkpoints
from dm_jax.run import run
from dm_jax.run.recorder import Saved
from dm_jax.synthetic_set import SyntheticSet


@pytest.fixture
def data(tmp_path, save_arrays):
  """A file of twelve images in three classes."""
  path = tmp_path / 'data.npz'
  save_arrays(path)
  return path


@pytest.fixture
def refuse(tmp_path, make_config):
  """A function that starts a run and returns why it was refused."""

  def refuse(mode='run', synthetic=None, **changes):
    workdir = tmp_path / 'workdir'
    with pytest.raises(InputError) as error:
      run.run(
        make_config(**changes), mode=mode, folder=workdir, synthetic=synthetic
      )
    assert not workdir.exists()
    message = str(error.value)
    assert message
    assert '\n' not in message
    return message

  return refuse


@pytest.mark.parametrize(
  ('name', 'value', 'message'),
  [
    ('data.name', 'digit', "unknown data.name 'digit': did you mean digits"),
    ('data.name', 'cifar11', 'did you mean .*cifar10'),
    ('network.name', 'convnt', "network 'convnt': did you mean convnet?"),
    ('network.norm', 'instanse', "norm 'instanse': did you mean instance?"),
    ('network.activation', 'rely', "activation 'rely': did you mean relu"),
    ('network.pooling', 'average', 'did you mean avg|known are avg, max, none'),
    ('condense.augment', 'color_flop', "'flop': did you mean flip"),
    ('condense.augment', '', 'unknown augmentation'),
    ('condense.discrepancy', 'means', "'means': did you mean mean?"),
    ('condense.discrepancy', 'mean,mmd:0', "weight of mmd .* got '0'"),
    ('condense.discrepancy', 'mean,mean:2', 'has mean twice: leave one'),
    ('condense.init', 'reel', "init 'reel': did you mean real?"),
    ('evaluate.augment', 'crops', "'crops': did you mean crop?"),
    ('evaluate.network.norm', 'bach', "norm 'bach': did you mean batch?"),
    ('evaluate.network.name', 'convnt', "'convnt': did you mean convnet?"),
    ('condense.stepz', 5, "'condense.stepz': did you mean condense.steps"),
    ('condence.steps', 5, "'condence': did you mean condense"),
    ('condense.steps', '5', 'condense.steps must be of type int'),
    ('condense.steps', 2.5, 'condense.steps must be of type int'),
    ('condense.steps', -1, 'condense.steps must be at least 0'),
    ('condense.images_per_class', 0, 'images_per_class must be at least 1'),
    (
      'condense.images_per_class',
      5,
      "4 images of class '0': use at most 4",
    ),
    ('condense.batch_real', 0, 'batch_real must be at least 1'),
    ('condense.learning_rate', 0.0, 'learning_rate must be above 0'),
    ('condense.learning_rate', float('nan'), 'learning_rate must be above 0'),
    ('condense.momentum', 1.0, r'momentum must be in \[0, 1\)'),
    ('condense.smoothing', -0.5, r'smoothing must be in \[0, inf\)'),
    ('condense.smoothing', float('inf'), r'smoothing must be in \[0, inf\)'),
    ('condense.smoothing', float('nan'), r'smoothing must be in \[0, inf\)'),
    ('evaluate.networks', 0, 'evaluate.networks must be at least 1'),
    ('network.width', 0, 'network.width must be at least 1'),
    ('network.depth', 4, 'depth 4 is too deep for images of 8×8 .* at most 3'),
    ('evaluate.network.depth', 4, 'depth 4 is too deep for images of 8×8'),
    ('seed', -1, 'seed must be in'),
    ('network.name', 'vgg11', 'vgg11 .* from 32×32 pixels on, these are 8×8'),
    ('evaluate.pool', 'same,lenet', 'lenet .* from 16×16 pixels on'),
    ('evaluate.pool', 'same,resnet', "'resnet': did you mean resnet18"),
    ('evaluate.pool', 'mlp:norm=batch', 'mlp does not come with .* .batch.'),
    ('evaluate.baselines', 'herd', "'herd': did you mean herding"),
    ('method', 'herd', "unknown method 'herd': did you mean herding"),
    ('data.validation', 0.9, "leaves no image of class '0', which has 4"),
    ('output.checkpoints_kept', 0, 'checkpoints_kept must be at least 1'),
  ],
)
def test_a_setting_that_cannot_be_used_is_named(
  refuse, data, name, value, message
):
  changes = {'data.dir': str(data)} | {name: value}
  assert re.search(message, refuse(**changes))


def test_more_noise_than_images_leaves_no_baseline(refuse, data):
  message = refuse(
    **{
      'data.dir': str(data),
      'condense.init': 'noise',
      'condense.images_per_class': 5,
    }
  )
  assert "random cannot choose 5 images per class: class '0' has 4" in message
  assert 'leave random out of evaluate.baselines' in message


@pytest.mark.parametrize('method', ['random', 'herding', 'forgetting'])
def test_no_more_can_be_selected_than_a_class_holds(refuse, data, method):
  settings = {
    'data.dir': str(data),
    'condense.images_per_class': 5,
    'condense.init': 'noise',
  }
  message = f"the selection {method} cannot choose 5 .* class '0' has 4"
  assert re.search(message, refuse(method=method, **settings))
  baselines = {'evaluate.baselines': method}
  assert re.search(message, refuse(**settings, **baselines))


def test_batch_norm_needs_two_images_in_a_batch(refuse, data):
  """Of three images, a batch of two leaves one."""
  settings = {'data.dir': str(data), 'evaluate.pool': 'convnet:norm=batch'}
  message = refuse(**settings, **{'evaluate.batch_size': 2})
  assert re.search('of 3 images, evaluate.batch_size 2 leaves one', message)
  message = refuse(**settings, **{'evaluate.batch_size': 1})
  assert 'needs more than one image in a batch' in message
  # The whole set has twelve images; that is seen before anything is condensed.
  whole = {'evaluate.batch_size': 11, 'evaluate.baselines': 'whole'}
  message = refuse(**settings, **whole)
  assert re.search('of 12 images, evaluate.batch_size 11 leaves one', message)
  trained = {'evaluate.baselines': 'herding', 'pretrain.batch_size': 1}
  message = refuse(
    **{'data.dir': str(data), 'network.norm': 'batch'}, **trained
  )
  assert 'raise pretrain.batch_size, got 1' in message


def test_more_snapshots_than_steps_are_refused_before_training(refuse, data):
  message = refuse(
    **{
      'data.dir': str(data),
      'data.validation': 0.25,
      'embedder.name': 'pool',
      'pretrain.epochs': 2,
    }
  )
  assert 'embedder.snapshots 20 is more than the 2 steps' in message


def with_pixel(value):
  """Returns a function of uint8 images -> floats, one of which is `value`."""

  def spoil(images):
    pixels = images / 255
    pixels[3, 2, 1, 0] = value
    return pixels

  return spoil


def cut_row(images):
  return images[:, :7]


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'train_labels': np.arange(12) % 3 * 2}, 'class 1 of 5 has no images'),
    (
      {'class_names': np.array(['a', 'b', 'c', 'd'])},
      r'class 3 \(d\) of 4 has no images',
    ),
    ({'train_labels': np.arange(12.0) % 3}, 'train_labels .* must be integers'),
    ({'train_labels': np.arange(12) % 3 - 1}, 'must be at least 0, got -1'),
    ({'train_labels': np.arange(11) % 3}, 'got 11 for 12 images'),
    ({'train_labels': np.eye(12, 3, dtype=int)}, 'must be 1-D, .*argmax'),
    ({'test_labels': np.full(6, 3)}, 'test_labels must be below 3'),
    ({'test_labels': np.arange(5)}, 'test_labels .* got 5 for 6 images'),
    ({'train_images': with_pixel(np.nan)}, 'train_images .* hold NaN'),
    ({'train_images': with_pixel(np.inf)}, 'train_images .* infinite'),
    ({'test_images': with_pixel(-np.inf)}, 'test_images .* infinite'),
    ({'train_images': with_pixel(1.5)}, r'must be in \[0, 1\] .* to 1.5'),
    ({'train_images': with_pixel(-0.5)}, r'must be in \[0, 1\] .* -0.5 to'),
    (
      {'train_images': lambda images: images[:, :7]},
      r'test_images must be \(7, 8, 1\)',
    ),
    ({'train_images': np.zeros((0, 8, 8, 1), np.uint8)}, 'at least one image'),
    ({'train_images': None}, 'has no train_images: it has train_labels'),
    ({'test_labels': None}, 'has no test_labels: '),
    ({'train_images': np.array([{}], object)}, 'holds Python objects'),
    ({'class_names': np.array([None], object)}, 'holds Python objects'),
  ],
)
def test_arrays_that_cannot_be_used_are_named(
  refuse, data, arrays, changes, message
):
  for name, change in changes.items():
    arrays[name] = change(arrays[name]) if callable(change) else change
  np.savez(data, **{k: v for k, v in arrays.items() if v is not None})
  assert re.search(message, refuse(**{'data.dir': str(data)}))


@pytest.fixture
def folder(tmp_path):
  """A folder of image files: three in each of two classes, one for testing."""
  rng = np.random.default_rng(0)
  for part, count in (('train', 3), ('test', 1)):
    for name in ('cat', 'dog'):
      (tmp_path / 'images' / part / name).mkdir(parents=True)
      for i in range(count):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        path = tmp_path / 'images' / part / name / f'{i}.png'
        Image.fromarray(pixels).save(path)
  return tmp_path / 'images'


def truncate(path):
  path.write_bytes(path.read_bytes()[:60])


def empty(path):
  path.write_bytes(b'')


def write_text(path):
  path.write_text('pixels')


def enlarge(path):
  Image.new('RGB', (9, 8)).save(path)


def rename(path):
  path.rename(path.with_suffix('.bmp'))


def empty_class(path):
  for file in path.parent.iterdir():
    file.unlink()


def rename_test_class(path):
  folder = path.parents[2] / 'test' / 'cat'
  folder.rename(folder.with_name('cow'))


@pytest.mark.parametrize(
  ('spoil', 'message'),
  [
    (truncate, r'cannot read .*/train/dog/1\.png .*repair or remove'),
    (empty, r'cannot read .*/train/dog/1\.png'),
    (write_text, r'cannot read .*/train/dog/1\.png'),
    (enlarge, r'/train/dog/1\.png is 9x8: .*--config\.data\.resize'),
    (rename, r'dog/1\.bmp is none'),
    (empty_class, 'no images in class folder .*/train/dog'),
    (rename_test_class, "class 'cow' is not in train/"),
    # Without fault: then more images are asked for than there are.
    (pathlib.Path.unlink, "the 2 images of class 'dog'"),
  ],
)
def test_image_files_that_cannot_be_used_are_named_and_not_skipped(
  refuse, folder, spoil, message
):
  spoil(folder / 'train' / 'dog' / '1.png')
  changes = {
    'data.name': 'folder',
    'data.dir': str(folder),
    'condense.images_per_class': 4,
  }
  assert re.search(message, refuse(**changes))


def test_names_that_cannot_be_written_are_refused_at_the_start(refuse, folder):
  for part in ('train', 'test'):
    (folder / part / 'dog').rename(folder / part / os.fsdecode(b'd\xf6g'))
  message = refuse(**{'data.name': 'folder', 'data.dir': str(folder)})
  assert r"the class folder 'd\udcf6g' is not UTF-8: rename it" in message


def test_a_workdir_that_checkpoints_cannot_be_in_is_refused(
  tmp_path, make_config, data
):
  workdir = tmp_path / os.fsdecode(b'caf\xe9') / 'run'
  config = make_config(**{'data.dir': str(data)})
  with pytest.raises(
    InputError, match=r"workdir '/.*caf\\udce9/run' is not UT"
  ):
    run.run(config, mode='run', folder=workdir)
  assert not workdir.parent.exists()


def test_a_missing_source_is_named(refuse, tmp_path):
  for name, word in (('npz', 'file'), ('folder', 'folder')):
    message = refuse(**{'data.name': name, 'data.dir': str(tmp_path / 'no')})
    assert f'no {word} {tmp_path / "no"}' in message
    assert 'data.dir is not set' in refuse(**{'data.name': name})


# The right names, and nothing else that is right.
SCALARS: dict[str, Any] = dict.fromkeys(
  [
    *('images', 'images_uint8', 'labels', 'class_names', 'mean', 'std'),
    'provenance',
  ],
  0,
) | {'format': 1}


def make_synthetic(path, shape=(8, 8, 1), names=('0', '1', '2')):
  count = len(names)
  SyntheticSet.from_images(
    np.zeros((count, *shape), np.float32),
    np.arange(count),
    mean=(0.5,) * shape[-1],
    std=(0.5,) * shape[-1],
    class_names=names,
  ).save(path)


@pytest.mark.parametrize(
  'options',
  [
    {'shape': (8, 8, 3)},
    {'shape': (9, 8, 1)},
    {'names': ('0', '1')},
    {'names': ('0', '2', '1')},
  ],
)
def test_a_synthetic_set_of_other_data_is_refused(
  refuse, data, tmp_path, options
):
  make_synthetic(tmp_path / 'synthetic.npz', **options)
  message = refuse(
    'evaluate', tmp_path / 'synthetic.npz', **{'data.dir': str(data)}
  )
  assert 'the synthetic set does not fit the data' in message


def cut_end(path):
  path.write_bytes(path.read_bytes()[:-100])


def change_pixels(path):
  content = path.read_bytes()
  assert b'\0' * 64 in content
  path.write_bytes(content.replace(b'\0' * 64, b'\1' * 64, 1))


def save_data(path):
  images, labels = np.zeros((3, 8, 8, 1), np.uint8), np.arange(3)
  np.savez(path, train_images=images, train_labels=labels)


def save_scalars(path):
  np.savez(path, **SCALARS)


def save_one_array(path):
  with open(path, 'wb') as file:
    np.save(file, np.zeros(3))


def make_folder(path):
  path.unlink()
  path.mkdir()


@pytest.mark.parametrize(
  'spoil',
  [
    *(pathlib.Path.unlink, empty, write_text, truncate, cut_end, change_pixels),
    *(save_data, save_scalars, save_one_array, make_folder),
  ],
)
def test_a_file_that_is_no_synthetic_set_is_named(
  refuse, data, tmp_path, spoil
):
  path = tmp_path / 'synthetic.npz'
  make_synthetic(path)
  spoil(path)
  assert str(path) in refuse('evaluate', path, **{'data.dir': str(data)})


def test_mode_and_synthetic_set_must_fit(refuse, data, tmp_path):
  changes = {'data.dir': str(data)}
  assert 'mode evaluate needs a set' in refuse('evaluate', **changes)
  path = tmp_path / 'synthetic.npz'
  assert 'goes with --mode=evaluate' in refuse('run', path, **changes)
  assert "unknown mode 'eval': did you mean" in refuse('eval', **changes)


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(
  data, make_config, tmp_path
):
  changes = {
    'data.dir': str(data),
    'condense.learning_rate': 1e30,
    # Instance norm would take any scale away.
    'network.norm': 'none',
  }
  with pytest.raises(Diverged) as error:
    run.run(make_config(**changes), mode='run', folder=tmp_path / 'workdir')
  step = error.value.step
  assert str(error.value) == (
    f'the loss is not finite at step {step} with condense.learning_rate 1e+30;'
    ' a smaller learning rate helps, in another workdir'
  )
  checkpoints = Checkpoints(tmp_path / 'workdir' / 'checkpoints', 3, print)
  saved = checkpoints.restore(lambda: Saved.anew(error.value.state))
  checkpoints.close()
  assert saved is not None
  state = saved.state
  assert int(state.step) <= step <= 4
  for leaf in jax.tree.leaves(state):
    assert np.isfinite(leaf).all()
  assert not (tmp_path / 'workdir' / 'synthetic.npz').exists()


# From here on in processes of their own.


@pytest.fixture(scope='module')
def start(root, environment):
  """A function that starts the command with one device."""
  offline = {
    **environment,
    # Nothing listens there: no network, wherever this runs.
    'http_proxy': 'http://127.0.0.1:9',
    'https_proxy': 'http://127.0.0.1:9',
  }

  def start(*arguments):
    return subprocess.Popen(
      [sys.executable, 'launch.py', *arguments],
      cwd=root,
      env=offline,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  return start


def finish(process):
  """Returns the one line that a run failed with."""
  out, err = process.communicate(timeout=60)
  assert process.returncode == 1
  assert 'Traceback' not in out + err
  lines = [line for line in err.splitlines() if not is_progress(line)]
  assert len(lines) == 1, err
  assert lines[0].startswith('error: ')
  return lines[0]


def is_progress(line):
  return line.startswith('condense: ')


SMOKE = '--config=configs/smoke.py'


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--workdir=WORKDIR'], 'give --config=FILE'),
    (['--config=configs/none.py', '--workdir=WORKDIR'], 'configs/none.py'),
    (
      ['--config=digit:ipc=1', '--workdir=WORKDIR'],
      "unknown config 'digit': did you mean digits.* cifar10, ",
    ),
    (
      [SMOKE + ':ipc=0', '--workdir=WORKDIR'],
      "1 up, or several, got '0'$",
    ),
    ([SMOKE + ':icp=1', '--workdir=WORKDIR'], "'icp': did you mean ipc"),
    ([SMOKE, '--workdr=WORKDIR'], "flag 'workdr'"),
    ([SMOKE, '--workdir=WORKDIR', 'now'], "unexpected argument 'now'"),
    ([SMOKE, '--workdir=WORKDIR', '--mode=runs'], '<run|condense|evaluate>'),
    (
      [SMOKE, '--workdir=WORKDIR', '--config.condense.stepz=3'],
      '(?i)stepz.* did you mean .*steps',
    ),
    (
      [SMOKE, '--workdir=WORKDIR', '--config.nothing=3'],
      '(?i)(unknown|no) .*nothing',
    ),
    (
      [SMOKE, '--workdir=WORKDIR', '--config.condense.steps=many'],
      "condense.steps=many: .*'many'$",
    ),
    (
      [SMOKE, '--workdir=WORKDIR', '--config.condense.images_per_class=1000'],
      'more than the 139 images of class',
    ),
  ],
)
def test_the_command_says_what_is_wrong_in_one_line(
  start, tmp_path, arguments, message
):
  workdir = str(tmp_path / 'workdir')
  process = start(*(a.replace('WORKDIR', workdir) for a in arguments))
  assert re.search(message, finish(process))
  assert not (tmp_path / 'workdir').exists()


@pytest.mark.parametrize(
  ('body', 'message'),
  [
    ("raise ValueError(\"'a' is not 'b'\")", "'a' is not 'b'$"),
    ('raise RuntimeError', 'RuntimeError$'),
    ('import no_such_module', "No module named 'no_such_module'$"),
    ('def get_config(:', 'invalid syntax'),
  ],
)
def test_a_config_file_that_fails_is_one_line(start, tmp_path, body, message):
  path = tmp_path / 'failing.py'
  path.write_text(f'{body}\n')
  process = start(f'--config={path}', f'--workdir={tmp_path / "workdir"}')
  assert re.search(message, finish(process))
  assert not (tmp_path / 'workdir').exists()


def test_a_set_that_is_not_on_disk_is_refused_at_once(start, tmp_path):
  started = time.monotonic()
  line = finish(
    start(
      '--config=configs/cifar10.py',
      f'--config.data.dir={tmp_path / "sets"}',
      f'--workdir={tmp_path / "workdir"}',
    )
  )
  assert time.monotonic() - started < 10
  assert f'cifar10 is not in {tmp_path / "sets"}, and ' in line
  assert line.endswith(
    'get https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz elsewhere and'
    f' lay it into {tmp_path / "sets" / "cifar10"}'
  )
  assert not (tmp_path / 'workdir').exists()
  assert not (tmp_path / 'sets').exists()


def test_the_command_stops_where_the_loss_is_not_finite(start, tmp_path):
  line = finish(
    start(
      *(SMOKE, f'--workdir={tmp_path}', '--config.output.pictures=0'),
      *('--config.condense.learning_rate=1e30', '--config.network.norm=none'),
    )
  )
  assert re.fullmatch(
    r'error: the loss is not finite at step \d+ with condense.learning_rate'
    r' 1e\+30; a smaller learning rate helps, in another workdir',
    line,
  )
  assert list((tmp_path / 'checkpoints').iterdir())


@pytest.mark.skipif(
  not hasattr(resource, 'prlimit'), reason='needs the limits of Linux'
)
def test_a_full_disk_ends_the_run_and_the_last_good_state_stays(
  start, tmp_path
):
  checkpoints = tmp_path / 'checkpoints'
  # Noise does not compress: a checkpoint has 230 kB, the largest other file
  # 140 kB.
  arguments = (
    *(SMOKE + ':ipc=50', f'--workdir={tmp_path}', '--mode=condense'),
    *('--config.condense.init=noise', '--config.output.pictures=0'),
    *('--config.condense.steps=2000', '--config.output.checkpoint_seconds=0'),
  )
  process = start(*arguments)
  while not list(checkpoints.glob('[0-9]*[0-9]')):
    assert process.poll() is None, process.communicate()
    time.sleep(0.01)
  _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
  resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (180_000, most))
  line = finish(process)
  assert re.match(
    rf'error: the checkpoint of step \d+ cannot be written to {checkpoints}: ',
    line,
  )
  assert 'File too large' in line  # What the system said.
  assert 'make room and start the same command again' in line
  process = start(*arguments, '--config.output.checkpoint_seconds=60')
  out, err = process.communicate(timeout=60)
  assert process.returncode == 0, err
  assert re.search(r'^resuming at step \d+$', out, re.MULTILINE)
