import dataclasses
import json

import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.records.applications import (
  REAL,
  Continual,
  GroupAgreement,
  Search,
  SearchOutcome,
  StageResult,
  StreamSummary,
  Trainings,
)
from dm_jax.records.evaluations import Case, Evaluation
from dm_jax.records.results import (
  Condensing,
  Data,
  Results,
  Validation,
  from_json,
  read_results,
  to_json,
  write_results,
)

DM, RANDOM, WHOLE = (
  Case('dm', 'mlp', 10),
  Case('random', 'mlp', 10),
  Case('whole', 'mlp'),
)
FULL = Results(
  mode='run',
  method='dm',
  seed=3,
  command='launch.py',
  sets=2,
  images_per_class=10,
  sizes=(1, 10),
  networks=('mlp', 'lenet'),
  condensing_network='convnet',
  data=Data('digits', 2, ('a', 'b'), 90, 10, 20, (8, 8, 1), (0.3,), (0.4,)),
  versions={'jax': '0.10.2'},
  device='CPU, 2 cores',
  peak_bytes=10**9,
  resumed_from=(5, 15),
  condensing={
    '0': Condensing(2.0, 10.0, 0.1, 50.0, 4.0, {'mean': 3.0, 'logits': 1.0}),
    '1': Condensing(0.0, 12.0, 0.3, 30.0, 5.0, {'mean': 5.0, 'logits': 0.0}),
  },
  selecting_seconds={'0': {'herding': 1.0, 'training': 8.0}},
  validation=(Validation(0, 5, 10, (0.5, 0.7), 0.6, 0.1),),
  evaluations=(
    Evaluation.of(dataclasses.replace(DM, images_per_class=1), [[0.1], [0.3]]),
    Evaluation.of(DM, [[0.5, 0.7], [0.6]]),
    Evaluation.of(dataclasses.replace(DM, network='lenet'), [[0.2]]),
    Evaluation.of(RANDOM, [[0.25, 0.75]]),
    Evaluation.of(WHOLE, [[0.9]]),
  ),
  evaluate_seconds=31.0,
  continual=Continual(
    2,
    1,
    0,
    'uint8',
    (StageResult(0, 0, 'dm', 2, 20, 10, 1280, (0.9,), ((0.9,),), None),),
    {'dm': StreamSummary((2, 4), (0.9, 0.8), (0.0, 0.1), None, None, 1.5, 640)},
  ),
  search=Search(
    'small',
    ('mlp', 'lenet'),
    Trainings({'mlp': (0.9,)}, {'mlp': 4.0}),
    {'dm': Trainings({'mlp': (0.5,)}, {'mlp': 0.5})},
    7.0,
    {
      'dm': SearchOutcome(
        (GroupAgreement(1.0, 2, None, 0.5),), 'mlp', 0.9, 'mlp', 0.9, None, 4.0
      )
    },
  ),
)


def test_what_is_written_is_read(tmp_path):
  write_results(tmp_path, FULL)
  assert read_results(tmp_path) == FULL
  assert json.loads((tmp_path / 'results.json').read_text()) == to_json(FULL)


def test_without_a_file_nothing_is_known(tmp_path):
  assert read_results(tmp_path) == Results()


def test_the_headline_is_of_the_first_network_and_the_largest_size():
  values = to_json(FULL)
  assert values['accuracies'] == [0.5, 0.7, 0.6]
  assert values['accuracy_mean'] == pytest.approx(0.6)
  assert values['accuracy_std'] == pytest.approx(np.std([0.5, 0.7, 0.6]))
  assert values['baseline_random_accuracies'] == [0.25, 0.75]
  assert values['baseline_random_mean'] == 0.5
  assert values['baseline_random_std'] == 0.25
  assert values['whole_set_accuracies'] == [0.9]
  assert values['whole_set_std'] == 0


def test_the_headline_of_a_run_of_random_images_is_its_own():
  values = to_json(dataclasses.replace(FULL, method='random'))
  assert values['accuracy_mean'] == 0.5
  assert 'baseline_random_mean' not in values


def test_seconds_are_summed_over_the_sets_and_a_step_is_the_median():
  values = to_json(FULL)
  assert values['compile_seconds'] == 2.0
  assert values['condense_seconds'] == 22.0
  assert values['seconds_per_step'] == pytest.approx(0.2)
  assert values['images_per_second'] == 40.0
  assert values['final_loss'] == 4.5


def test_what_is_not_known_has_no_key_on_top():
  values = to_json(Results(mode='condense', seed=0))
  assert values['seed'] == 0
  for name in ('seconds_per_step', 'accuracy_mean', 'peak_bytes', 'search'):
    assert name not in values


def test_the_whole_set_has_no_size_in_the_file():
  *_, whole = to_json(FULL)['evaluations']
  assert whole == {
    'method': 'whole',
    'network': 'mlp',
    'images_per_class': None,
    'protocol': 'dm',
    'accuracies': [[0.9]],
    'mean': 0.9,
    'std': 0.0,
  }


def test_a_file_of_an_earlier_version_is_read():
  """It has no condensing by set, unfinished evaluations, keys of its own."""
  results = from_json(
    {
      'method': 'dm',
      'compile_seconds': 4.0,
      'final_loss': 2.5,
      'evaluations': [
        {'method': 'dm', 'network': 'mlp', 'accuracies': []},
        {'method': 'dm', 'network': 'mlp', 'mean': 0.5},
      ],
      'validation': None,
      'no_longer_there': 1,
    }
  )
  assert results == Results(
    method='dm',
    condensing={'0': Condensing(compile_seconds=4.0, final_loss=2.5)},
    evaluations=(Evaluation('dm', 'mlp', mean=0.5),),
  )
  assert results.condense_seconds is None


def test_a_file_that_names_no_protocol_is_of_its_runs(tmp_path):
  evaluation = {'method': 'dm', 'network': 'mlp', 'mean': 0.5}
  values = {'method': 'dm', 'networks': ['mlp'], 'evaluations': [evaluation]}
  (tmp_path / 'results.json').write_text(json.dumps(values))
  (tmp_path / 'config.json').write_text('{"evaluate": {"protocol": "idc"}}')
  results = read_results(tmp_path)
  assert results.protocols == ('idc',)
  assert results.evaluation(Case('dm', 'mlp', None, 'idc')) is not None
  assert to_json(results)['accuracy_mean'] == 0.5
  write_results(tmp_path, results)
  (tmp_path / 'config.json').unlink()
  assert read_results(tmp_path) == results


def test_the_headline_is_of_the_first_protocol():
  under = [
    Evaluation.of(dataclasses.replace(DM, protocol=name), [[accuracy]])
    for name, accuracy in (('idc', 0.75), ('dm', 0.5))
  ]
  results = dataclasses.replace(
    FULL, evaluations=tuple(under), protocols=('dm', 'idc')
  )
  assert to_json(results)['accuracy_mean'] == 0.5
  assert results.evaluation(under[0].case) == under[0]


@pytest.mark.parametrize(
  'values', [{'evaluations': 3}, {'data': []}, {'validation': [{'step': 3}]}]
)
def test_another_file_is_refused_in_one_line(tmp_path, values):
  path = tmp_path / 'results.json'
  path.write_text(json.dumps(values))
  with pytest.raises(InputError, match='choose another --workdir') as error:
    read_results(tmp_path)
  assert str(path) in str(error.value)
  assert '\n' not in str(error.value)


def test_an_evaluation_takes_the_place_of_its_case_s():
  more = Evaluation.of(RANDOM, [[0.25, 0.75], [1.0]])
  results = FULL.with_evaluation(more)
  assert [e.case for e in results.evaluations] == [
    e.case for e in FULL.evaluations
  ]
  assert results.evaluation(RANDOM) == more
  assert FULL.evaluation(RANDOM) != more, 'the old value stays'
  other = Evaluation.of(Case('herding', 'mlp', 10), [[0.5]])
  assert FULL.with_evaluation(other).evaluations == (*FULL.evaluations, other)
  assert FULL.evaluation(other.case) is None


def test_the_mean_is_over_all_networks_of_all_sets():
  evaluation = Evaluation.of(DM, [[0.2, 0.4], [0.9]])
  assert evaluation.flat == (0.2, 0.4, 0.9)
  assert evaluation.mean == pytest.approx(0.5)
  assert evaluation.std == pytest.approx(np.sqrt((0.09 + 0.01 + 0.16) / 3))
  assert evaluation.case == DM


def test_seconds_add_up():
  results = Results().with_evaluating(1.5).with_evaluating(2.0)
  assert results.evaluate_seconds == 3.5
  results = results.with_selecting(1, 'herding', 1.0)
  results = results.with_selecting(1, 'training', 4.0)
  assert results.selecting_seconds == {'1': {'herding': 1.0, 'training': 4.0}}


def test_a_search_keeps_each_sets_networks_and_the_real_ones_apart():
  one = Trainings().with_network('mlp', [0.5, 0.75], 2.0)
  search = Search().with_trainings('dm', one).with_trainings(REAL, one)
  search = search.with_trainings('dm', one.with_network('lenet', [0.5], 1.0))
  assert search.real == one
  assert search.trainings('dm').accuracies == {
    'mlp': (0.5, 0.75),
    'lenet': (0.5,),
  }
  assert search.trainings('dm').seconds == {'mlp': 2.0, 'lenet': 1.0}
  assert search.trainings('random') == Trainings()
  assert search.trained == 3
