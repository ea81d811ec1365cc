"""The command, from its flags to the files and lines that it leaves."""

import importlib
import json
import pathlib
import re
import subprocess
import sys
import time
import warnings

from absl import flags
from ml_collections import config_flags
import numpy as np
import pytest

from dm_jax.config.recipes import recipe
from dm_jax.configs import ablation_augment, default
from dm_jax.errors import InputError
from dm_jax.run import run
from dm_jax.run.command import find_config
from dm_jax.run.config import RunConfig
from dm_jax.synthetic_set import SyntheticSet

RESULTS = {
  'accuracy_mean',
  'accuracy_std',
  'accuracies',
  'baseline_random_mean',
  'seconds_per_step',
  'compile_seconds',
  'peak_bytes',
  'seed',
  'versions',
  'device',
}
IMAGES = [
  'random.png',
  'step_000000.png',
  'step_000010.png',
  'step_000020.png',
]
NUMBER = r'\d+\.\d( ± \d+\.\d)?'


class Finished:
  """What a command left behind."""

  def __init__(self, workdir, process, seconds):
    self.workdir = workdir
    self.out = process.stdout
    self.err = process.stderr
    self.code = process.returncode
    self.seconds = seconds

  def read(self, name):
    return (self.workdir / name).read_bytes()

  @property
  def results(self):
    return json.loads(self.read('results.json'))


@pytest.fixture(scope='module')
def launch(root, environment):
  """A function that runs the command with one device, in a workdir.

  Where `below` is a folder, the command runs there and chooses the workdir.
  """

  def launch(workdir, *arguments, below=None):
    command = [sys.executable, str(root / 'launch.py'), *arguments]
    if workdir is not None and below is None:
      command.append(f'--workdir={workdir}')
    started = time.monotonic()
    process = subprocess.run(
      command,
      check=False,
      timeout=120,
      cwd=below or root,
      env=environment,
      capture_output=True,
      text=True,
    )
    return Finished(workdir, process, time.monotonic() - started)

  return launch


SMOKE = '--config=configs/smoke.py:ipc=3'


@pytest.fixture(scope='module')
def smoke(launch, root, tmp_path_factory):
  """The smoke run, with 3 images per class, which chose its workdir."""
  finished = launch_smoke(launch, root, tmp_path_factory.mktemp('smoke'))
  assert finished.code == 0, finished.err
  return finished


def launch_smoke(launch, root, below):
  command = f'--config={root}/configs/smoke.py:ipc=3'
  return launch(below / 'runs' / 'smoke_ipc=3', command, below=below)


@pytest.fixture(scope='module')
def again(launch, root, smoke):
  """The same command in the same workdir, with what was there before it."""
  before = {n: smoke.read(n) for n in ('synthetic.npz', 'metrics.jsonl')}
  before['results'] = smoke.results
  return launch_smoke(launch, root, smoke.workdir.parents[1]), before


def names_in(folder):
  return sorted(p.name for p in folder.iterdir() if p.name[0] != '.')


def test_a_run_leaves_its_files_and_no_others(smoke):
  names = names_in(smoke.workdir)
  assert [name for name in names if name != 'tensorboard'] == [
    'baselines',
    'checkpoints',
    'config.json',
    'images',
    'metrics.jsonl',
    'report.html',
    'results.json',
    'synthetic.npz',
  ]
  assert names_in(smoke.workdir / 'images') == IMAGES
  assert names_in(smoke.workdir / 'checkpoints') == ['20']
  assert not [p for p in smoke.workdir.rglob('*') if 'tmp' in p.name]


def test_the_config_is_kept_as_it_was_resolved(smoke):
  config = json.loads(smoke.read('config.json'))
  assert config['condense']['images_per_class'] == 3
  assert config['condense']['steps'] == 20
  assert config['network']['norm'] == 'instance'
  assert len(config.pop('inputs')['data']) == 64
  assert RunConfig.from_dict(config).to_dict() == config


def test_a_set_is_exported_without_a_config(launch, smoke, tmp_path):
  given = f'--synthetic={smoke.workdir}/synthetic.npz'
  command = ['--mode=export', given, '--format=folder', f'--to={tmp_path}/out']
  finished = launch(None, *command)
  assert finished.code == 0, finished.err
  assert len([*tmp_path.glob('out/train/*/*.png')]) == 30
  card = json.loads((tmp_path / 'out' / 'card.json').read_text('utf-8'))
  expected = card['expected_accuracy']
  assert expected['mean'] == smoke.results['accuracy_mean']
  again = launch(None, *command)
  assert again.code == 1
  assert f'error: {tmp_path}/out is there already' in again.err


def test_metrics_have_a_line_for_each_interval(smoke):
  rows = [json.loads(line) for line in smoke.read('metrics.jsonl').splitlines()]
  assert [row['step'] for row in rows] == [5, 10, 15, 20]
  assert all(row['loss'] > 0 and row['seconds'] > 0 for row in rows)


def test_the_synthetic_set_says_how_it_was_made(smoke):
  synthetic = SyntheticSet.load(smoke.workdir / 'synthetic.npz')
  assert synthetic.images.shape == (30, 8, 8, 1)
  assert np.isfinite(synthetic.images).all()
  assert synthetic.labels.tolist() == sorted(list(range(10)) * 3)
  assert synthetic.provenance['seed'] == 0
  assert synthetic.provenance['config']['condense']['images_per_class'] == 3
  assert 'jax' in synthetic.provenance['versions']


def test_results_have_the_fixed_names(smoke):
  results = smoke.results
  assert set(results) >= RESULTS
  assert len(results['accuracies']) == 2
  assert all(0 <= accuracy <= 1 for accuracy in results['accuracies'])
  mean = pytest.approx(np.mean(results['accuracies']))
  assert results['accuracy_mean'] == mean
  assert results['accuracy_std'] == pytest.approx(np.std(results['accuracies']))
  assert 0 <= results['baseline_random_mean'] <= 1
  assert 0 <= results['whole_set_mean'] <= 1
  assert results['seconds_per_step'] > 0
  assert results['compile_seconds'] > 0
  assert results['peak_bytes'] > 10**7
  assert results['seed'] == 0
  assert results['device'].startswith('CPU, ')
  assert 'configs/smoke.py:ipc=3' in results['command']


def test_the_report_shows_every_picture(smoke):
  page = smoke.read('report.html').decode()
  assert page.count('data:image/png;base64,') == len(IMAGES)


def test_the_output_has_a_line_for_each_result(smoke):
  lines = smoke.out.splitlines()
  for name, sort in (
    (r'synthetic \(3 per class\)', '2 networks'),
    (r'random real \(3 per class\)', '2 networks'),
    (r'whole set \(1,437 images\)', '1 network'),
  ):
    pattern = rf'{name} +{NUMBER} +% +{sort} +[\d.]+ kB'
    assert len([s for s in lines if re.fullmatch(pattern, s)]) == 1, lines
  assert lines[0] == f'workdir: {smoke.workdir}'
  assert lines[1].startswith('settings of this run: ')
  assert 'condense.images_per_class 3, not 10' in lines[1]
  assert lines[-1] == f'report: {smoke.workdir}/report.html'
  assert len(lines) <= 10  # With a note; a warning and its advice, perhaps.


def test_progress_is_plain_lines_where_nobody_watches(smoke):
  for text in (smoke.out, smoke.err):
    assert '\r' not in text
    assert '\x1b' not in text
    assert '|' not in text
  lines = smoke.err.splitlines()
  network = 'train convnet:width=4:depth=1 on'
  sets = '(dm, 3 per class|random, 3 per class|whole)'
  start = rf'(condense|{network} {sets}): [\d,]+/[\d,]+ '
  assert all(re.match(start, line) for line in lines), lines
  assert lines[0].startswith('condense: 1/20 steps (5 %), loss ')
  assert any(line.startswith('condense: 20/20 steps (100 %)') for line in lines)


def test_the_same_command_again_has_nothing_left_to_do(smoke, again):
  finished, before = again
  assert finished.code == 0
  assert finished.err == ''
  assert finished.out == smoke.out
  assert finished.read('synthetic.npz') == before['synthetic.npz']
  assert finished.read('metrics.jsonl') == before['metrics.jsonl']
  results = finished.results | {'peak_bytes': before['results']['peak_bytes']}
  assert results == before['results']
  assert names_in(finished.workdir / 'images') == IMAGES


def test_condensing_and_evaluating_may_be_two_commands(launch, smoke, tmp_path):
  first = launch(tmp_path, SMOKE, '--mode=condense')
  assert first.code == 0
  assert 'accuracy_mean' not in first.results
  assert 'No accuracies yet' in first.out
  assert first.read('synthetic.npz') == smoke.read('synthetic.npz')
  second = launch(tmp_path, SMOKE, '--mode=run')
  assert second.code == 0
  assert 'condense: ' not in second.err
  assert second.read('synthetic.npz') == smoke.read('synthetic.npz')
  names = ('accuracies', 'baseline_random_accuracies', 'whole_set_accuracies')
  for name in names:
    assert second.results[name] == smoke.results[name]
  # The other one tells first which workdir it chose.
  assert second.out.splitlines()[:-1] == smoke.out.splitlines()[1:-1]


def test_a_set_is_evaluated_with_another_network(launch, smoke, tmp_path):
  finished = launch(
    tmp_path,
    *(SMOKE, '--mode=evaluate'),
    f'--synthetic={smoke.workdir / "synthetic.npz"}',
    *('--config.evaluate.network.norm=batch', '--config.network.width=8'),
  )
  assert finished.code == 0, finished.err
  assert len(finished.results['accuracies']) == 2
  assert 'baseline_random_mean' not in finished.results
  assert finished.results['images_per_class'] == 3
  made_with = finished.results['condensing_network']
  assert made_with == 'convnet:width=4:depth=1', 'not that of this command'
  assert re.search(rf'\nsynthetic \(3 per class\) +{NUMBER} +%', finished.out)
  assert (finished.workdir / 'report.html').exists()
  assert not (finished.workdir / 'synthetic.npz').exists()


def test_two_runs_make_a_table(launch, smoke, tmp_path):
  selected = launch(
    tmp_path / 'herding',
    *(SMOKE, '--config.method=herding', '--config.pretrain.epochs=1'),
    '--config.evaluate.baselines=none',
  )
  assert selected.code == 0, selected.err
  chosen = SyntheticSet.load(selected.workdir / 'synthetic.npz')
  assert chosen.images.shape == (30, 8, 8, 1)
  workdirs = f'--workdirs={smoke.workdir},{selected.workdir}'
  table = launch(tmp_path / 'table', '--mode=table', workdirs)
  assert table.code == 0, table.err
  for run_ in (smoke, selected):
    mean = run_.results['accuracy_mean']
    assert f'{100 * mean:.1f} ± ' in table.out
    assert str(run_.workdir) in table.out.replace('\n', '')
  for name in ('table.txt', 'table.md', 'table.tex'):
    assert (table.workdir / name).stat().st_size > 0
  nothing = launch(None, '--mode=table', f'--workdirs={tmp_path / "none"}')
  assert nothing.code == 1
  assert nothing.err.startswith('error: ')
  assert nothing.err.count('\n') == 1


def test_help_comes_quickly(launch):
  finished = launch(None, '--help')
  for flag in ('--config', '--workdir', '--mode', '--synthetic'):
    assert flag in finished.out
  assert 'configs/digits.py' in finished.out
  assert finished.seconds < 5


@pytest.fixture
def read_config(root, monkeypatch):
  """A function that reads a config file as the command does."""
  monkeypatch.syspath_prepend(str(root))

  def read_config(name, *arguments):
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file('config', flag_values=values)
    command = ['launch.py', f'--config={root}/configs/{name}', *arguments]
    monkeypatch.setattr(sys, 'argv', command)  # The overrides are read there.
    with warnings.catch_warnings():
      # ml_collections loads the file in a way that Python has deprecated.
      warnings.simplefilter('ignore', DeprecationWarning)
      values(command)
    return RunConfig.from_dict(config.value.to_dict())

  return read_config


@pytest.mark.parametrize(
  ('given', 'found'),
  [
    (['--config=digits'], ['--config=CONFIGS/digits.py']),
    (['-config', 'digits:ipc=1'], ['-config', 'CONFIGS/digits.py:ipc=1']),
    (
      ['--config=cifar10:ipc=10:recipe=trajectory', '--config.seed=1'],
      ['--config=CONFIGS/cifar10.py:ipc=10:recipe=trajectory']
      + ['--config.seed=1'],
    ),
    *(([same], [same]) for same in ('--config', '--workdir=digits', 'digits')),
  ],
)
def test_a_config_goes_by_its_name(root, given, found):
  configs = root / 'dm_jax' / 'configs'
  found = [part.replace('CONFIGS', str(configs)) for part in found]
  assert find_config(['dm_jax', *given]) == ['dm_jax', *found]
  assert configs.samefile(root / 'configs')


@pytest.mark.parametrize(
  ('program', 'command'),
  [
    ('/usr/bin/dm_jax', "dm_jax '--workdir=a b'"),
    ('launch.py', "python launch.py '--workdir=a b'"),
  ],
)
def test_the_command_is_kept_as_it_was_typed(
  monkeypatch, execute_in, program, command
):
  kept = []
  monkeypatch.setattr(sys, 'argv', [program, '--workdir=a b'])
  monkeypatch.setattr(
    'dm_jax.run.command.run',
    lambda *_, command, **__: kept.append(command),
  )
  execute_in('a b', 'run', {})
  assert kept == [command]


def test_the_cell_of_a_table_is_an_argument(read_config):
  for images, rate in ((1, None), (50, None), (100, 10.0), (200, 10.0)):
    condense = read_config(f'cifar10.py:ipc={images}').condense
    assert condense.images_per_class == images
    assert condense.learning_rate == rate
  # What the command line says goes over what the file says.
  changed = '--config.condense.learning_rate=3'
  assert read_config('cifar10.py:ipc=100', changed).condense == (
    read_config('cifar10.py:ipc=100').condense.__class__(
      images_per_class=100, learning_rate=3.0
    )
  )


def test_every_config_file_is_valid_and_has_a_recipe(root, read_config):
  names = sorted(path.name for path in (root / 'configs').glob('[!_]*.py'))
  assert len(names) >= 9
  for name in names:
    config = read_config(name)
    assert config.data.name in {
      *('digits', 'folder', 'mnist', 'fashion_mnist', 'svhn_cropped'),
      *('cifar10', 'cifar100', 'tiny_imagenet'),
    }
    module = importlib.import_module(
      f'dm_jax.configs.{name.removesuffix(".py")}'
    )
    assert f'python launch.py --config=configs/{name}' in str(module.__doc__)
    others = ('default', 'ablation_', 'continual_', 'search_')
    if not name.startswith(others):
      assert read_config(f'{name}:ipc=7').condense.images_per_class == 7


def test_applications_take_arguments_of_their_own(read_config):
  config = read_config('continual_cifar100.py:steps=10')
  assert (config.application, config.continual.steps) == ('continual', 10)
  assert (config.condense.images_per_class, config.evaluate.networks) == (20, 3)
  assert config.continual.orders == 5
  config = read_config('search_cifar10.py:space=small')
  assert (config.application, config.search.space) == ('search', 'small')
  assert config.evaluate.epochs == 200
  # Networks are chosen by images that are held out, never by the test set.
  assert config.data.validation > 0


def test_nested_sets_are_an_argument(read_config):
  config = read_config('cifar10.py:ipc=1,10,100').condense
  assert config.images_per_class == (1, 10, 100)
  assert config.learning_rate == 10.0


def test_an_argument_that_a_config_does_not_take_is_refused():
  with pytest.raises(InputError, match="takes no argument, got 'ipc=10': set"):
    default.get_config('ipc=10')
  with pytest.raises(InputError, match='argument augment is empty: give'):
    ablation_augment.get_config('augment=')


def test_a_recipe_stands_in_the_smallest_run(read_config):
  config = read_config('smoke.py:recipe=trajectory_short')
  made = recipe('trajectory_short', image_shape=(8, 8, 1), images_per_class=2)
  for section in ('condense', 'pretrain'):
    for name, value in default.differing(getattr(made, section)).items():
      assert getattr(getattr(config, section), name) == value


def test_digits_are_never_mirrored(read_config):
  for name in ('digits', 'mnist', 'svhn'):
    config = read_config(f'{name}.py')
    evaluate = config.evaluate.training
    for section in (config.condense, evaluate, config.pretrain):
      assert section.augment == 'color_crop_cutout_scale_rotate'
    config = read_config(f'{name}.py', '--config.evaluate.protocol=idc')
    assert config.evaluate.training.augment == 'color+crop_scale_rotate'


def test_ablations_change_what_their_argument_says(read_config):
  for init in ('real', 'noise'):
    config = read_config(f'ablation_init.py:init={init}')
    assert config.condense.init == init
  for operations in ('none', 'color', 'crop_flip'):
    config = read_config(f'ablation_augment.py:augment={operations}')
    for section in (config.condense, config.evaluate, config.pretrain):
      assert section.augment == operations
  for norm in ('batch', 'instance'):
    config = read_config(f'ablation_norm.py:norm={norm}')
    assert config.network.norm == norm
    assert config.evaluate.pool.count('norm=batch') == 4
  config = read_config('ablation_embedder.py:accuracy=30-40')
  embedder = config.embedder
  assert (embedder.name, embedder.low, embedder.high) == ('pool', 0.3, 0.4)
  config = read_config('ablation_embedder.py:accuracy=random')
  assert (config.embedder.name, config.data.validation) == ('random', 0.1)


def test_the_defaults_of_the_command_are_those_of_the_library(read_config):
  assert read_config('default.py') == RunConfig()


def test_fields_without_a_value_can_be_set(read_config):
  config = read_config(
    'default.py',
    '--config.data.dir=there',
    '--config.data.resize=16',
    '--config.evaluate.network.width=8',
    '--config.evaluate.network.norm=batch',
    '--config.evaluate.protocol=idc',
    '--config.evaluate.batch_size=32',
    '--config.evaluate.cutmix=0.25',
    '--config.evaluate.augment=flip+color',
  )
  training = config.evaluate.training
  assert (training.batch_size, training.cutmix) == (32, 0.25)
  assert (training.augment, training.schedule) == ('flip+color', 'thirds')
  assert config.data.dir == str(pathlib.Path('there').absolute())
  assert config.data.resize == 16
  assert config.evaluation_network.width == 8
  assert config.evaluation_network.norm == 'batch'


def test_condensed_digits_teach_more_than_random_ones(read_config, tmp_path):
  config = read_config(
    'digits.py:ipc=1',
    *('--config.network.width=16', '--config.condense.steps=200'),
    *('--config.condense.batch_real=32', '--config.output.pictures=0'),
    *('--config.evaluate.networks=3', '--config.evaluate.epochs=100'),
    '--config.evaluate.baselines=random',
  )
  results = run.run(config, mode='run', folder=tmp_path)
  assert results['accuracy_mean'] > results['baseline_random_mean'] + 0.06
