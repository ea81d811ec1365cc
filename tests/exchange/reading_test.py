"""What is told, and what is refused, of sets that files do not say whole."""

import dataclasses
import json

import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.exchange.torch_file import write_tensors
from dm_jax.run.export import export
from dm_jax.run.given import SetFile
from dm_jax.synthetic_set import SyntheticSet

MEAN, STD, NAMES = (0.5,), (0.25,), ('a', 'b', 'c')
STATISTICS = {'mean': MEAN, 'std': STD}
IMAGES = np.random.default_rng(0).normal(size=(6, 4, 4, 1)).astype(np.float32)
LABELS = np.array([0, 0, 1, 1, 2, 2])


def make(storage='plain'):
  plain = SyntheticSet.from_images(IMAGES, LABELS, MEAN, STD, NAMES)
  return dataclasses.replace(plain, storage=storage)


def test_learned_labels_become_classes_and_a_warning(tmp_path):
  labels = np.eye(3, dtype=np.float32)[LABELS] - 0.1
  labels[0, 1] = 0.3
  np.savez(tmp_path / 'kip.npz', images=IMAGES, labels=labels)
  with pytest.warns(UserWarning, match='labels are learned values'):
    read = SyntheticSet.read(tmp_path / 'kip.npz', **STATISTICS)
  np.testing.assert_array_equal(read.targets, LABELS)
  said: list[str] = []
  export(
    SetFile(tmp_path / 'kip.npz'),
    'npz',
    str(tmp_path / 'to.npz'),
    {'data': {'name': 'digits'}},
    said.append,
  )
  assert 'labels are learned values' in said[0]


@pytest.mark.parametrize('layout', ['pt', 'npz', 'ddranking'])
def test_an_export_of_tiles_is_not_decoded_twice(tmp_path, layout):
  path = tmp_path / f'set_{layout}'
  card = json.loads(make('tiles:2').export(path, layout).read_text())
  assert (card['storage'], card['factor'], card['images']) == ('plain', 1, 24)
  tiles = {'storage': 'tiles:2', 'factor': 2, 'stored_images': 6}
  assert card['made_as'] == tiles
  assert len(SyntheticSet.read(path, layout).images) == 24
  with pytest.raises(InputError, match='leave factor 2 out'):
    SyntheticSet.read(path, layout, factor=2)


@pytest.mark.parametrize(
  'classes', [LABELS[:2], LABELS[::-1].copy(), LABELS.astype(np.float32)]
)
def test_classes_that_do_not_go_with_the_labels_are_refused(tmp_path, classes):
  path = tmp_path / 'set'
  make().export(path, 'ddranking')
  write_tensors(path / 'hard_labels.pt', classes)
  with pytest.raises(InputError, match='not a class for each of its 6 images'):
    SyntheticSet.read(path)


def test_results_of_another_program_do_not_stop_an_export(tmp_path):
  make().save(tmp_path / 'synthetic.npz')
  (tmp_path / 'results.json').write_text('[1, 2]')
  (tmp_path / 'config.json').write_text('{}')
  export(SetFile(tmp_path / 'synthetic.npz'), 'npz', '', None, print)
  (written,) = tmp_path.glob('*.card.json')
  assert json.loads(written.read_text())['expected_accuracy'] is None


def test_an_export_may_name_the_format_of_the_set(tmp_path):
  np.savez(tmp_path / 'odd.npz', images=IMAGES, labels=np.eye(3)[LABELS] - 0.1)
  data = {'data': {'name': 'digits'}}
  file, to = SetFile(tmp_path / 'odd.npz'), str(tmp_path / 'to')
  with pytest.raises(InputError, match='frepo set: it lacks image, label'):
    export(file, 'frepo:folder', to, data)
  export(file, 'kip:folder', to, data)
  assert len([*(tmp_path / 'to').rglob('*.png')]) == 6


def test_a_folder_of_a_run_names_its_file(tmp_path):
  make().save(tmp_path / 'synthetic.npz')
  with pytest.raises(InputError, match='is the folder of a run: give '):
    SyntheticSet.read(tmp_path)


@pytest.mark.parametrize('layout', ['folder', 'npz'])
def test_a_card_says_that_rounded_pixels_were_not_judged(tmp_path, layout):
  card = json.loads(make().export(tmp_path / 'to', layout).read_text())
  assert ('accuracy_of' in card) == (layout == 'folder')
