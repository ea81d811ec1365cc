import dataclasses
import json

import pytest

from dm_jax.config.fields import differences
from dm_jax.config.sections import (
  CondenseConfig,
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
  assert (evaluate.learning_rate, evaluate.momentum) == (0.01, 0.9)
  assert evaluate.weight_decay == 5e-4


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
  assert RunConfig.from_dict(json.loads(text)) == config
  assert RunConfig.from_dict({}) == RunConfig()
  assert hash(config) == hash(RunConfig.from_dict(config.to_dict()))


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


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'seed': '1'}, "seed must be of type int, got '1'"),
    ({'seed': True}, 'seed must be of type int, got True'),
    ({'seed': 1.0}, 'seed must be of type int'),
    ({'condense': {'steps': 1e3}}, 'condense.steps must be of type int'),
    ({'condense': {'momentum': None}}, 'condense.momentum must be of type'),
    ({'evaluate': {'baselines': 1}}, 'must be of type str, got 1'),
    ({'data': {'dir': 3}}, 'data.dir must be of type str or NoneType'),
    ({'network': {'name': None}}, 'network.name must be of type str'),
    ({'condense': 5}, 'condense'),
    ({'condense': None}, 'condense'),
  ],
)
def test_a_value_of_the_wrong_type_is_refused(values, message):
  with pytest.raises(InputError, match=message):
    RunConfig.from_dict(values)


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'seed': -1}, 'seed must be in'),
    ({'seed': 2**32}, 'seed must be in'),
    ({'data': {'name': ''}}, 'data.name is empty'),
    ({'data': {'cache': ''}}, 'data.cache is empty: name a folder'),
    ({'data': {'resize': 0}}, 'data.resize must be at least 1'),
    ({'network': {'width': 0}}, 'network.width must be at least 1'),
    ({'network': {'norm': 'batchnorm'}}, 'did you mean batch'),
    ({'network': {'pooling': 'mean'}}, 'known are avg, max, none'),
    ({'condense': {'images_per_class': 0}}, 'images_per_class must be'),
    ({'condense': {'steps': -1}}, 'condense.steps must be at least 0'),
    ({'condense': {'learning_rate': 0}}, 'above 0 and finite, got 0'),
    ({'condense': {'learning_rate': float('inf')}}, 'finite, got inf'),
    ({'condense': {'learning_rate': float('nan')}}, 'finite, got nan'),
    ({'condense': {'momentum': 1}}, r'condense.momentum must be in \[0, 1\)'),
    ({'condense': {'momentum': float('nan')}}, 'got nan'),
    ({'condense': {'init': 'reel'}}, 'did you mean real'),
    ({'condense': {'log_every': 0}}, 'condense.log_every must be'),
    ({'evaluate': {'networks': 0}}, 'evaluate.networks must be at least 1'),
    ({'evaluate': {'epochs': -1}}, 'evaluate.epochs must be at least 0'),
    ({'evaluate': {'weight_decay': -1}}, 'evaluate.weight_decay must be'),
    ({'output': {'checkpoints_kept': 0}}, 'output.checkpoints_kept must be'),
    ({'output': {'pictures': -1}}, 'output.pictures must be at least 0'),
  ],
)
def test_a_value_out_of_range_is_refused(values, message):
  with pytest.raises(InputError, match=message):
    RunConfig.from_dict(values)


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
  assert read == config


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'method': 'herdin'}, 'did you mean herding'),
    ({'sets': 0}, 'sets must be at least 1'),
    ({'evaluate': {'baselines': 'random,kcenter'}}, 'did you mean k_center'),
    ({'evaluate': {'validation_every': 150}}, 'multiple of condense.log_every'),
    ({'evaluate': {'validation_every': 100}}, 'set data.validation'),
    ({'data': {'validation': 1.0}}, r'data.validation must be in \[0, 1\)'),
    ({'embedder': {'name': 'trained'}}, 'unknown embedder.name'),
    ({'embedder': {'low': 0.5, 'high': 0.4}}, 'below embedder.high'),
    ({'embedder': {'low': 30, 'high': 40}}, 'at most 1, got 30.0 and 40.0'),
    ({'pretrain': {'epochs': 0}}, 'pretrain.epochs must be at least 1'),
  ],
)
def test_a_protocol_that_cannot_be_is_refused(values, message):
  with pytest.raises(InputError, match=message):
    RunConfig.from_dict(values)


def test_baselines_are_names():
  assert EvalConfig(baselines='random, herding').selections == (
    'random',
    'herding',
  )
  assert EvalConfig(baselines='none').selections == ()
