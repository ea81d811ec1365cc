import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from dm_jax.config.fields import differences
from dm_jax.config.sections import (
  CondenseConfig,
  DataConfig,
  EvalConfig,
  NetworkChoice,
  NetworkConfig,
)
from dm_jax.errors import InputError
from dm_jax.run.config import OutputConfig, RunConfig


def test_the_defaults_are_the_papers():
  config = RunConfig()
  assert config.network == NetworkConfig('convnet', 128, 3, 'instance')
  condense, evaluate = config.condense, config.evaluate
  assert (condense.steps, condense.batch_real) == (20_000, 256)
  # An open learning rate is the network's: 1 for the paper's.
  assert (condense.learning_rate, condense.momentum) == (None, 0.5)
  assert condense.smoothing is None  # The network's, too: 0.
  assert condense.augment == 'color_crop_cutout_flip_scale_rotate'
  assert (evaluate.networks, evaluate.epochs) == (20, 1000)
  training = evaluate.training
  assert (training.batch_size, training.learning_rate) == (256, 0.01)
  assert (training.momentum, training.weight_decay) == (0.9, 5e-4)
  assert (training.augment, training.schedule, training.cutmix) == (
    'color_crop_cutout_flip_scale_rotate',
    'half',
    0.0,
  )
  assert (evaluate.protocol, evaluate.epochs_run) == ('dm', 1001)
  pretrain = config.pretrain.training
  assert (pretrain.schedule, pretrain.cutmix) == ('constant', 0.0)


def test_dicts_and_configs_are_the_same():
  config = RunConfig.from_dict(
    {
      'seed': 3,
      'condense': {'steps': 7},
      'evaluate': {'network': {'depth': 4}},
    }
  )
  assert config == RunConfig(
    seed=3,
    condense=CondenseConfig(steps=7),
    evaluate=EvalConfig(network=NetworkChoice(depth=4)),
  )
  text = json.dumps(config.to_dict())
  read = RunConfig.from_dict(json.loads(text))
  assert read.to_dict() == config.to_dict()
  assert RunConfig.from_dict({}) == RunConfig()
  assert hash(read) == hash(RunConfig.from_dict(config.to_dict()))


def test_whole_numbers_may_stand_for_floats():
  config = RunConfig.from_dict({'condense': {'learning_rate': 10}})
  assert config.condense.learning_rate == 10.0
  assert isinstance(config.condense.learning_rate, float)


@pytest.mark.parametrize(
  ('values', 'near'),
  [
    ({'sed': 1}, "'sed': did you mean seed"),
    ({'condence': {}}, 'condense'),
    ({'condense': {'step': 5}}, "'condense.step': did you mean condense.steps"),
    ({'evaluate': {'network': {'dept': 5}}}, 'evaluate.network.depth'),
  ],
)
def test_a_misspelt_field_brings_near_ones(values, near):
  with pytest.raises(InputError, match=near):
    RunConfig.from_dict(values)


def nest(name, value):
  """Returns {'a': {'b': value}} for 'a.b'."""
  for part in reversed(name.split('.')):
    value = {part: value}
  return value


def refusal(name, value):
  """Returns why a setting is refused; the error must name it."""
  with pytest.raises(InputError) as error:
    RunConfig.from_dict(nest(name, value))
  assert error.value.setting == name
  assert name in str(error.value)
  return str(error.value)


@pytest.mark.parametrize(
  ('name', 'value', 'types'),
  [
    ('seed', '1', 'int'),
    ('seed', True, 'int'),
    ('seed', 1.0, 'int'),
    ('condense.steps', 1e3, 'int'),
    ('condense.momentum', None, 'float'),
    ('evaluate.baselines', 1, 'str'),
    ('evaluate.network.depth', '3', 'int or NoneType'),
    ('data.dir', 3, 'str or NoneType'),
    ('network.name', None, 'str'),
    ('output.pictures', 1.5, 'int'),
  ],
)
def test_a_value_of_the_wrong_type_is_refused(name, value, types):
  expected = f'{name} must be of type {types}, got {value!r}'
  assert refusal(name, value) == expected


@pytest.mark.parametrize('value', [5, None])
def test_a_section_is_a_dict(value):
  assert refusal('condense', value).endswith(f'got {value}')


@pytest.mark.parametrize(
  ('name', 'value', 'range_'),
  [
    ('seed', -1, 'in [0, 4294967296)'),
    ('seed', 2**32, 'in [0, 4294967296)'),
    ('sets', 0, 'at least 1'),
    ('data.resize', 0, 'at least 1'),
    ('data.validation', 1.0, 'in [0, 1)'),
    ('network.width', 0, 'at least 1'),
    ('network.depth', 0, 'at least 1'),
    ('condense.images_per_class', 0, 'at least 1'),
    ('condense.steps', -1, 'at least 0'),
    ('condense.batch_real', 0, 'at least 1'),
    ('condense.learning_rate', 0.0, 'above 0 and finite'),
    ('condense.learning_rate', float('inf'), 'above 0 and finite'),
    ('condense.learning_rate', float('nan'), 'above 0 and finite'),
    ('condense.momentum', 1.0, 'in [0, 1)'),
    ('condense.momentum', float('nan'), 'in [0, 1)'),
    ('condense.smoothing', float('inf'), 'in [0, inf)'),
    ('condense.micro_batch', -1, 'at least 0'),
    ('condense.batch_norm_classes', -1, 'at least 0'),
    ('condense.classes_at_once', -1, 'at least 0'),
    ('condense.log_every', 0, 'at least 1'),
    ('embedder.networks', 0, 'at least 1'),
    ('embedder.snapshots', 0, 'at least 1'),
    ('pretrain.epochs', 0, 'at least 1'),
    ('pretrain.batch_size', 0, 'at least 1'),
    ('pretrain.learning_rate', 0.0, 'above 0 and finite'),
    ('pretrain.momentum', 1.0, 'in [0, 1)'),
    ('pretrain.weight_decay', -1.0, 'at least 0'),
    ('evaluate.networks', 0, 'at least 1'),
    ('evaluate.epochs', -1, 'at least 0'),
    ('evaluate.batch_size', 0, 'at least 1'),
    ('evaluate.learning_rate', -0.1, 'above 0 and finite'),
    ('evaluate.momentum', -0.1, 'in [0, 1)'),
    ('evaluate.weight_decay', float('nan'), 'at least 0'),
    ('evaluate.cutmix', 1.01, 'in [0, 1]'),
    ('evaluate.cutmix', -0.01, 'in [0, 1]'),
    ('evaluate.cutmix', float('nan'), 'in [0, 1]'),
    ('pretrain.cutmix', 2.0, 'in [0, 1]'),
    ('evaluate.whole_set_epochs', -1, 'at least 0'),
    ('evaluate.whole_set_networks', 0, 'at least 1'),
    ('evaluate.validation_every', -1, 'at least 0'),
    ('evaluate.validation_networks', 0, 'at least 1'),
    ('continual.steps', 0, 'at least 1'),
    ('continual.orders', 0, 'at least 1'),
    ('continual.budget_bytes', -1, 'at least 0'),
    ('output.checkpoint_seconds', -1.0, 'at least 0'),
    ('output.checkpoints_kept', 0, 'at least 1'),
    ('output.pictures', -1, 'at least 0'),
  ],
)
def test_a_value_out_of_range_is_refused(name, value, range_):
  message = refusal(name, value)
  assert message.startswith(f'{name} must be {range_}')
  assert message.endswith(f'got {value}')


@pytest.mark.parametrize(
  ('name', 'value', 'hint'),
  [
    ('method', 'herdin', 'did you mean herding'),
    ('application', 'serch', 'did you mean search'),
    ('data.placement', 'hots', 'did you mean host'),
    ('network.norm', 'batchnorm', 'did you mean batch'),
    ('network.activation', 'rely', 'did you mean relu'),
    ('network.pooling', 'mean', 'known are avg, max, none'),
    ('condense.init', 'reel', 'did you mean real'),
    ('condense.precision', 'float16', 'did you mean bfloat16'),
    ('embedder.name', 'trained', 'known are random, pool'),
    ('evaluate.baselines', 'random,kcenter', 'did you mean k_center'),
    ('continual.store', 'int8', 'did you mean uint8'),
    ('search.space', 'papers', 'did you mean paper'),
  ],
)
def test_an_unknown_choice_brings_near_ones(name, value, hint):
  message = refusal(name, value)
  assert message.startswith(f'unknown {name} ')
  assert hint in message


@pytest.mark.parametrize('name', ['data.name', 'data.cache'])
def test_an_empty_name_is_refused(name):
  assert 'is empty' in refusal(name, '')


def test_settings_in_range_pass():
  for name, value in {
    'seed': 2**32 - 1,
    'condense.learning_rate': None,
    'condense.smoothing': 0.0,
    'condense.momentum': 0.0,
    'data.resize': None,
    'evaluate.cutmix': 1.0,
    'pretrain.schedule': 'thirds',
  }.items():
    RunConfig.from_dict(nest(name, value))


def test_the_evaluated_network_differs_where_it_says_so():
  config = RunConfig(
    network=NetworkConfig(width=32, norm='batch'),
    evaluate=EvalConfig(network=NetworkChoice(depth=2, norm='layer')),
  )
  expected = NetworkConfig(width=32, depth=2, norm='layer')
  assert config.evaluation_network == expected
  assert RunConfig().evaluation_network == NetworkConfig()


def test_a_changed_network_is_checked_too():
  with pytest.raises(InputError, match='did you mean layer'):
    NetworkChoice(norm='layr').resolve(NetworkConfig())


def test_differences_are_those_of_the_leaves():
  old = RunConfig()
  new = dataclasses.replace(
    old,
    seed=1,
    evaluate=EvalConfig(network=NetworkChoice(depth=2)),
    output=OutputConfig(pictures=1),
  )
  assert differences(old.to_dict(), old.to_dict()) == []
  assert differences(old.to_dict(), new.to_dict()) == [
    'evaluate.network.depth: None -> 2',
    'output.pictures: 3 -> 1',
    'seed: 0 -> 1',
  ]
  assert differences({'a': 1}, {'b': {'c': 2}}) == [
    'a: 1 -> None',
    "b: None -> {'c': 2}",
  ]


def test_another_network_takes_over_width_and_norm():
  base = NetworkConfig(width=32, norm='batch', depth=2, pooling='max')
  assert NetworkChoice(name='vgg11').resolve(base) == NetworkConfig(
    'vgg11', width=32, norm='batch'
  )
  assert NetworkChoice(name='convnet', depth=1).resolve(
    base
  ) == dataclasses.replace(base, depth=1)


@pytest.mark.parametrize(
  ('images_per_class', 'sizes'), [(3, (3,)), ((1, 10), (1, 10))]
)
def test_sizes_of_nested_sets(images_per_class, sizes):
  config = CondenseConfig(images_per_class=images_per_class)
  assert (config.sizes, config.largest) == (sizes, sizes[-1])


@pytest.mark.parametrize('sizes', [(), (0, 1), (2, 1), (1, 1), (1, 2.0)])
def test_sizes_ascend(sizes):
  with pytest.raises(InputError, match='images_per_class must be at least 1'):
    CondenseConfig(images_per_class=sizes)


def test_nested_sizes_survive_json():
  config = RunConfig(condense=CondenseConfig(images_per_class=(1, 5)))
  read = RunConfig.from_dict(json.loads(json.dumps(config.to_dict())))
  assert read.condense == config.condense


def test_a_pool_takes_a_range_of_accuracies():
  for low, high in [(0.5, 0.4), (30, 40), (-0.1, 1)]:
    with pytest.raises(InputError, match=f'got {low:.1f} and {high}') as error:
      RunConfig.from_dict({'embedder': {'low': low, 'high': high}})
    assert error.value.setting == 'embedder.low'


@pytest.mark.parametrize('name', ['random', 'trajectory', 'interpolated'])
@pytest.mark.parametrize(('field', 'value'), [('low', 0.3), ('high', 0.4)])
def test_only_a_pool_takes_a_range_of_accuracies(name, field, value):
  given = {field: value}
  RunConfig.from_dict({'embedder': {'name': name, 'low': 0, 'high': 1}})
  with pytest.raises(InputError, match=f'name is {name}: set it to') as error:
    RunConfig.from_dict({'embedder': {'name': name, **given}})
  assert f'embedder.{field} {value} ' in str(error.value)
  assert error.value.setting == f'embedder.{field}'


@pytest.mark.parametrize(
  ('every', 'message'),
  [(150, 'multiple of condense.log_every'), (100, 'set data.validation')],
)
def test_validation_needs_images_and_lines_of_metrics(every, message):
  assert message in refusal('evaluate.validation_every', every)


def test_what_cannot_change_a_result_binds_no_run():
  free = RunConfig.from_dict(
    {
      'data': {'dir': 'a', 'cache': 'b', 'placement': 'host'},
      'condense': {
        'micro_batch': 8,
        'classes_at_once': 1,
        'rematerialise': True,
        'log_every': 5,
      },
      'embedder': {'dir': 'c'},
      'evaluate': {'networks_at_once': 4},
      'output': {'pictures': 0},
    }
  )
  assert free.settings() == RunConfig().settings()


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('seed', 1),
    ('data.validation', 0.1),
    ('network.width', 64),
    ('condense.precision', 'bfloat16'),
    ('condense.batch_norm_classes', 5),
    ('evaluate.network.depth', 2),
    ('search.early_stopping', False),
  ],
)
def test_what_can_change_a_result_binds_a_run(name, value):
  changed = RunConfig.from_dict(nest(name, value)).settings()
  told = differences(RunConfig().settings(), changed)
  assert [line.split(':')[0] for line in told] == [name]


IDC = {
  'batch_size': 64,
  'learning_rate': 0.01,
  'momentum': 0.9,
  'weight_decay': 5e-4,
  'augment': 'flip+color+crop_scale_rotate',
  'schedule': 'thirds',
  'cutmix': 0.5,
}


def test_the_protocol_gives_the_fields_that_are_left_open():
  config = EvalConfig(protocol='idc')
  assert vars(config.training) == IDC
  assert config.epochs_run == 1000
  changed = EvalConfig(protocol='idc', batch_size=32, cutmix=0.0)
  assert vars(changed.training) == IDC | {'batch_size': 32, 'cutmix': 0.0}
  one = EvalConfig(schedule='constant').training
  assert (one.schedule, one.batch_size) == ('constant', 256)
  resolved = changed.resolve()
  assert (resolved.learning_rate, resolved.batch_size) == (0.01, 32)
  assert resolved.resolve() == resolved
  assert resolved.training == changed.training


@pytest.mark.parametrize(
  ('schedule', 'epochs', 'run'),
  [('half', 4, 5), ('half', 0, 1), ('thirds', 4, 4), ('constant', 0, 1)],
)
def test_the_epochs_that_are_run(schedule, epochs, run):
  assert EvalConfig(schedule=schedule, epochs=epochs).epochs_run == run


def test_where_mirrored_images_are_wrong_no_protocol_flips():
  dm = EvalConfig(flip=False).training
  assert dm.augment == 'color_crop_cutout_scale_rotate'
  idc = EvalConfig(protocol='idc', flip=False).training
  assert vars(idc) == IDC | {'augment': 'color+crop_scale_rotate'}
  # What is asked for by name is done.
  assert EvalConfig(augment='flip', flip=False).training.augment == 'flip'


@pytest.mark.parametrize(
  ('name', 'value', 'near'),
  [
    ('evaluate.protocol', 'icd', 'did you mean idc'),
    ('evaluate.protocol', 'dm,icd', 'did you mean idc'),
    ('evaluate.protocol', 'dm,', "unknown evaluate.protocol ''"),
    ('evaluate.protocol', 'dm,dm', 'dm,dm names one twice: name each once'),
    ('evaluate.schedule', 'third', 'did you mean thirds'),
    ('pretrain.schedule', 'half', "'half'"),
  ],
)
def test_an_unknown_protocol_or_schedule_brings_near_ones(name, value, near):
  assert near in refusal(name, value)


def test_a_run_records_the_protocol_as_it_is_used():
  config = RunConfig(evaluate=EvalConfig(protocol='idc', batch_size=32))
  expected = {'protocol': 'idc', **IDC, 'batch_size': 32}
  for record in (config.to_dict(), config.settings()):
    assert record['evaluate'].items() >= expected.items()
  # A workdir of before there were protocols told the fields alone.
  old = RunConfig.from_dict(nest('evaluate.batch_size', 256))
  assert old.settings() == RunConfig().settings()


def test_several_protocols_are_each_as_if_alone():
  config = EvalConfig(protocol='dm, idc', batch_size=32, networks=3)
  assert config.protocols == ('dm', 'idc')
  assert config.under('idc') == EvalConfig(
    protocol='idc', batch_size=32, networks=3
  )
  assert vars(config.under('idc').training) == IDC | {'batch_size': 32}
  assert config.first.epochs_run == 1001
  assert config.under('idc').epochs_run == 1000
  with pytest.raises(InputError, match='dm, idc is several.* name one'):
    _ = config.training


def test_a_run_records_what_several_protocols_have_in_common():
  run = RunConfig(evaluate=EvalConfig(protocol='dm,idc', batch_size=32))
  recorded = run.settings()['evaluate']
  assert (recorded['protocol'], recorded['batch_size']) == ('dm,idc', 32)
  assert recorded['schedule'] is None
  again = RunConfig.from_dict(run.to_dict())
  assert again.settings() == run.settings()
  # No other field would say that mirrored images are left out.
  evaluate = dataclasses.replace(run.evaluate, flip=False)
  other = dataclasses.replace(run, evaluate=evaluate)
  assert other.settings() != run.settings()


def test_baselines_are_names():
  assert EvalConfig(baselines='random, herding').selections == (
    'random',
    'herding',
  )
  assert EvalConfig(baselines='none').selections == ()


def test_numbers_of_numpy_and_paths_are_taken():
  numbers: Any = {'images_per_class': np.int64(5), 'momentum': np.float32(0.5)}
  config = CondenseConfig(**numbers)
  assert (config.images_per_class, config.momentum) == (5, 0.5)
  assert type(config.images_per_class) is int
  assert type(config.momentum) is float
  folder: Any = pathlib.Path('/a/b')
  assert DataConfig(dir=folder).dir == '/a/b'


def test_an_array_in_the_place_of_a_setting_is_refused_in_one_line():
  sizes: Any = np.ones((3, 2), np.int64)
  with pytest.raises(InputError, match=r'got int64\[3, 2\]$') as error:
    CondenseConfig(images_per_class=sizes)
  assert '\n' not in str(error.value)
