"""Each format, written and read back by the tool that it is for."""

import collections
import contextlib
import dataclasses
import importlib.util
import io
import json
import os
import pickle
import shutil
import sys
import types
from typing import Any, NamedTuple
import unittest.mock
import zipfile

import jax.numpy as jnp
import numpy as np
from PIL import Image
from pyarrow import parquet
import pytest

from dm_jax.errors import InputError
from dm_jax.exchange.formats import WRITTEN, find_format
from dm_jax.exchange.pictures import decode_name, encode_name, sorting_note
from dm_jax.exchange.torch_file import read_tensors
from dm_jax.images.normalise import normalise, normalise_unit
from dm_jax.synthetic_set import SyntheticSet

# Their folders are not in the order of the classes.
pytestmark = pytest.mark.filterwarnings('ignore:tools that number folders')
NAMES = ('b/w', 'Vögel', '.hidden')
STATISTICS: dict[str, Any] = {
  'mean': (0.1 / 3, 0.5, 0.6),
  'std': (0.2, 0.25, 0.7 / 3),
}
LABELS = np.array([0, 0, 1, 1, 2, 2])
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 4, 4, 3), np.uint8)
STORAGES = {
  'float32': 'FloatStorage',
  'float64': 'DoubleStorage',
  'int64': 'LongStorage',
}
SOFT = RNG.dirichlet(np.ones(3), 6).astype(np.float32)


def from_unit(unit):
  """Normalises by the library, which NumPy agrees with to a rounding."""
  mean, std = (np.array(STATISTICS[k], np.float32) for k in ('mean', 'std'))
  found = np.asarray(normalise_unit(unit, **STATISTICS))
  np.testing.assert_allclose(found, (unit - mean) / std, rtol=1e-6, atol=1e-6)
  return found


def make(images=None, storage='plain', soft=None):
  """Six images of 4 × 4, two of each class, at the levels of a pixel."""
  if images is None:
    images = normalise(PIXELS, **STATISTICS)
  made = SyntheticSet.from_images(
    images, LABELS, STATISTICS['mean'], STATISTICS['std'], NAMES
  )
  targets = made.targets if soft is None else jnp.asarray(soft)
  made = dataclasses.replace(made, storage=storage, targets=targets)
  return made.with_provenance(method='dm', seed=7, versions={'jax': '1'})


def export(made, tmp_path, name):
  path = tmp_path / name
  card = made.export(path, name)
  return path, json.loads(card.read_text('utf-8'))


@pytest.mark.parametrize('name', ['npz', 'ddranking', 'pt'])
@pytest.mark.parametrize('storage', ['plain', 'tiles:2'])
def test_floats_come_back_to_the_bit(tmp_path, name, storage):
  made = make(RNG.normal(0, 1, (6, 4, 4, 3)).astype(np.float32), storage)

  path, _ = export(made, tmp_path, name)

  read = SyntheticSet.read(path)
  assert read.storage == 'plain'
  np.testing.assert_array_equal(read.images, made.images)
  assert read.fingerprint() == made.fingerprint()


@pytest.mark.parametrize('name', WRITTEN)
def test_pixels_come_back(tmp_path, name):
  path, card = export(make(), tmp_path, name)

  read = SyntheticSet.read(path)

  np.testing.assert_array_equal(read.images_uint8, PIXELS)
  assert read.fingerprint() == make().fingerprint()
  assert card['format'] == name
  assert card['mean'] == list(STATISTICS['mean'])
  assert card['classes'] == list(NAMES)
  assert (card['images'], card['images_per_class']) == (6, 2)
  assert (card['targets'], card['factor'], card['seed']) == ('hard', 1, 7)
  assert card['protocol'] is None
  assert card['expected_accuracy'] is None


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('classes', [10, 12])
def test_folders_that_sort_otherwise_are_told(tmp_path, classes):
  made = SyntheticSet.from_images(
    np.zeros((classes, 4, 4, 1), np.float32),
    np.arange(classes),
    (0.0,),
    (1.0,),
    tuple(map(str, range(classes))),
  )
  told = contextlib.nullcontext()
  if classes > 10:  # 10 comes before 2.
    told = pytest.warns(UserWarning, match='in sorted order give these other')
  with told:
    made.export(tmp_path / 'to', 'folder')


def test_probabilities_without_the_order_of_classes_are_refused(tmp_path):
  path, _ = export(make(soft=SOFT), tmp_path, 'folder')
  (path / 'card.json').unlink()
  assert 'give class_names in that order' in refuse(path)
  read = SyntheticSet.read(path, class_names=NAMES, **STATISTICS)
  np.testing.assert_array_equal(read.targets, SOFT)


def test_a_renamed_folder_of_a_soft_set_is_told_by_its_name(tmp_path):
  path, _ = export(make(soft=SOFT), tmp_path, 'folder')
  (path / 'train' / 'Vögel').rename(path / 'train' / 'Vogel')
  assert "the folders are others ('Vogel', 'Vögel'): name" in refuse(path)


def test_folders_are_sorted_as_they_are_called_on_disk():
  """The class .a is %2Ea there, which comes before -a."""
  assert sorting_note(('-a', '.a')) is not None
  assert sorting_note(('.a', '-a')) is None


def test_probabilities_are_read_by_older_datasets(tmp_path):
  """Below 4.0 they know Sequence and no List; newer ones know both."""
  path, _ = export(make(soft=SOFT), tmp_path, 'parquet')
  (file,) = path.rglob('*.parquet')
  about = json.loads(parquet.read_schema(file).metadata[b'huggingface'])
  kind = about['info']['features']['probabilities']
  assert kind['_type'] == 'Sequence'


@pytest.mark.parametrize('name', ['folder', 'npz', 'parquet', 'ddranking'])
def test_probabilities_come_back(tmp_path, name):
  path, card = export(make(soft=SOFT), tmp_path, name)

  read = SyntheticSet.read(path)

  np.testing.assert_array_equal(read.targets, SOFT)
  assert card['targets'] == 'soft'


def test_probabilities_have_no_place_in_dm_files(tmp_path):
  with pytest.raises(InputError, match='classes alone: use ddranking'):
    make(soft=SOFT).export(tmp_path / 'a.pt', 'pt')
  assert not list(tmp_path.iterdir())


def test_a_folder_is_seen_by_pillow(tmp_path):
  path, _ = export(make(), tmp_path, 'folder')
  folders = sorted(p.name for p in (path / 'train').iterdir())
  assert folders == ['%2Ehidden', 'Vögel', 'b%2Fw']
  with Image.open(path / 'train' / 'Vögel' / '0001.png') as image:
    np.testing.assert_array_equal(np.asarray(image), PIXELS[3])


@pytest.mark.parametrize(
  ('name', 'folder'),
  [
    ('cat', 'cat'),
    ('a b', 'a b'),
    ('..', '%2E%2E'),
    ('', '%'),
    ('50%', '50%25'),
    ('a\\b:c', 'a%5Cb%3Ac'),
    ('鳥', '鳥'),
    ('end. ', 'end.%20'),
  ],
)
def test_a_class_has_a_folder_of_its_own(name, folder):
  assert encode_name(name) == folder
  assert decode_name(folder) == name


def test_numpy_alone_reads_plain_arrays(tmp_path):
  path, _ = export(make(), tmp_path, 'npz')
  with np.load(path, allow_pickle=False) as file:
    arrays = dict(file)
  np.testing.assert_array_equal(arrays['images'], PIXELS)
  np.testing.assert_array_equal(arrays['normalised'], make().images)
  assert arrays['labels'].dtype == np.int64
  assert arrays['mean'].dtype == np.float32
  assert arrays['class_names'].tolist() == list(NAMES)


def test_a_table_has_images_and_named_labels(tmp_path):
  import pyarrow.parquet as pq

  path, _ = export(make(), tmp_path, 'parquet')
  table = pq.read_table(path / 'data' / 'train-00000-of-00001.parquet')
  about = json.loads(table.schema.metadata[b'huggingface'])
  features = about['info']['features']
  assert features['label'] == {'names': list(NAMES), '_type': 'ClassLabel'}
  assert features['image'] == {'_type': 'Image'}
  row = table['image'][4].as_py()
  with Image.open(io.BytesIO(row['bytes'])) as image:
    np.testing.assert_array_equal(np.asarray(image), PIXELS[4])
  assert table['label'].to_pylist() == LABELS.tolist()
  readme = (path / 'README.md').read_text('utf-8')
  assert 'path: data/train-*.parquet' in readme


# Of extras: where they are installed, the tools themselves read the files.
if importlib.util.find_spec('datasets'):

  @pytest.mark.filterwarnings('ignore')
  @pytest.mark.parametrize('soft', [None, SOFT], ids=['hard', 'soft'])
  def test_hugging_face_reads_a_table(tmp_path, monkeypatch, soft):
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'home'))
    import datasets

    path, _ = export(make(soft=soft), tmp_path, 'parquet')
    found = datasets.load_dataset(
      str(path), split='train', cache_dir=str(tmp_path / 'cache')
    )
    assert isinstance(found.features['label'], datasets.ClassLabel)
    assert found.features['label'].names == list(NAMES)
    np.testing.assert_array_equal(np.stack(found['image']), PIXELS)
    assert list(found['label']) == LABELS.tolist()
    if soft is not None:
      np.testing.assert_array_equal(
        np.array(found['probabilities'], np.float32), soft
      )


if importlib.util.find_spec('torch'):

  def test_torch_reads_both_layouts(tmp_path):
    import torch

    first = np.moveaxis(np.asarray(make().images), -1, 1)
    path, _ = export(make(), tmp_path, 'pt')
    loaded = torch.load(path, weights_only=True)
    ((images, labels),) = loaded['data']
    np.testing.assert_array_equal(images.numpy(), first)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert labels.tolist() == LABELS.tolist()
    path, _ = export(make(soft=SOFT), tmp_path, 'ddranking')
    images = torch.load(path / 'images.pt', weights_only=True)
    np.testing.assert_array_equal(images.numpy(), first)
    labels = torch.load(path / 'labels.pt', weights_only=True)
    np.testing.assert_array_equal(labels.numpy(), SOFT)

  @pytest.mark.parametrize('old', [False, True])
  def test_what_torch_wrote_is_read(tmp_path, old):
    import torch

    first = torch.from_numpy(np.moveaxis(np.array(make().images), -1, 1))
    half = torch.zeros(2, 6, 3, 4, 4)[1].copy_(first)  # Not at the start.
    value = {
      'data': [[half, torch.from_numpy(LABELS)], [first.flip(0), 0]][:1],
      'accs_all_exps': {} if old else {'ConvNet': [np.float64(0.5)]},
    }
    path = tmp_path / 'res.pt'
    torch.save(value, path, _use_new_zipfile_serialization=not old)
    read = SyntheticSet.read(path, **STATISTICS, class_names=NAMES)
    assert read.fingerprint() == make().fingerprint()


class _Stored(NamedTuple):
  reference: tuple


def save_torch(path, value):
  """Writes a file as torch.save does: by pickle, under the names of torch."""
  torch, utils = types.ModuleType('torch'), types.ModuleType('torch._utils')

  def _rebuild_tensor_v2():
    raise NotImplementedError

  _rebuild_tensor_v2.__module__ = 'torch._utils'
  _rebuild_tensor_v2.__qualname__ = '_rebuild_tensor_v2'
  vars(utils)['_rebuild_tensor_v2'] = _rebuild_tensor_v2
  kinds = {
    dtype: type(name, (), {'__module__': 'torch'})
    for dtype, name in STORAGES.items()
  }
  vars(torch).update({kind.__name__: kind for kind in kinds.values()})
  storages: list[np.ndarray] = []

  class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
      return obj.reference if isinstance(obj, _Stored) else None

    def reducer_override(self, obj):
      if not isinstance(obj, np.ndarray):
        return NotImplemented
      array = np.ascontiguousarray(obj)
      steps = tuple(step // array.itemsize for step in array.strides)
      kind, key = kinds[array.dtype.name], str(len(storages))
      storages.append(array)
      stored = _Stored(('storage', kind, key, 'cpu', array.size))
      hooks = collections.OrderedDict()
      given = (stored, 0, array.shape, steps, False, hooks)
      return _rebuild_tensor_v2, given

  file = io.BytesIO()
  names = {'torch': torch, 'torch._utils': utils}
  with unittest.mock.patch.dict(sys.modules, names):
    Pickler(file, 2).dump(value)
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('saved/data.pkl', file.getvalue())
    for number, storage in enumerate(storages):
      archive.writestr(f'saved/data/{number}', storage.tobytes())


FIRST = np.moveaxis(np.asarray(make().images), -1, 1)


def save_npz(path, **arrays):
  with open(path, 'wb') as file:
    np.savez(file, **arrays)


def write_peer(folder, layout, images=FIRST, labels=LABELS):
  """Writes images in a peer's layout, as its own code does."""
  one_hot = np.eye(3, dtype=np.float32)[labels]
  last = np.moveaxis(images, 1, -1)
  if layout == 'dm':
    other = [images[::-1] * 2, labels]
    accuracies = {'ConvNet': [np.float64(0.3)]}
    value = {'data': [[images, labels], other], 'accs_all_exps': accuracies}
    save_torch(folder / 'res_DM.pt', value)
    return folder / 'res_DM.pt'
  if layout == 'idc':
    save_torch(folder / 'data.pt', [images, labels])
    return folder / 'data.pt'
  if layout in ('mtt', 'ddranking'):
    end = '_best' if layout == 'mtt' else ''
    save_torch(folder / f'images{end}.pt', images)
    save_torch(folder / f'labels{end}.pt', labels)
    return folder
  if layout == 'kip':
    save_npz(folder / 'kip.npz', images=last, labels=one_hot - 0.1)
    return folder / 'kip.npz'
  save_npz(folder / 'frepo.npz', image=last, label=one_hot - 1 / 3)
  return folder / 'frepo.npz'


PEERS = ['dm', 'mtt', 'ddranking', 'kip', 'frepo']


@pytest.mark.parametrize('layout', PEERS)
def test_what_peers_wrote_is_the_same_set(tmp_path, layout):
  path = write_peer(tmp_path, layout)
  assert find_format(path) == layout
  read = SyntheticSet.read(path, **STATISTICS, class_names=NAMES)
  assert read.fingerprint() == make().fingerprint()
  forced = SyntheticSet.read(path, layout, **STATISTICS, class_names=NAMES)
  assert forced.fingerprint() == make().fingerprint()


def test_unit_pixels_of_several_tiles(tmp_path):
  unit = RNG.uniform(0, 1, (6, 3, 4, 4)).astype(np.float32)
  images = from_unit(np.moveaxis(unit, 1, -1))
  path = write_peer(tmp_path, 'idc', unit)
  read = SyntheticSet.read(path, factor=2, **STATISTICS, class_names=NAMES)
  assert read.storage == 'tiles:2'
  assert len(read.images) == 24
  assert read.fingerprint() == make(images, 'tiles:2').fingerprint()


def test_a_file_of_mtt_finds_its_labels(tmp_path):
  write_peer(tmp_path, 'mtt')
  read = SyntheticSet.read(tmp_path / 'images_best.pt', **STATISTICS)
  assert read.class_names == ('0', '1', '2')
  (tmp_path / 'labels_best.pt').unlink()
  with pytest.raises(InputError, match='no file of labels .*labels_best.pt'):
    SyntheticSet.read(tmp_path / 'images_best.pt', **STATISTICS)


def test_classes_are_sorted_with_their_images(tmp_path):
  order = [3, 0, 5, 1, 4, 2]
  path = write_peer(tmp_path, 'dm', FIRST[order], LABELS[order])
  read = SyntheticSet.read(path, **STATISTICS)
  assert read.class_of.tolist() == LABELS.tolist()
  np.testing.assert_array_equal(read.images[0], make().images[0])
  np.testing.assert_array_equal(read.images[2], make().images[3])


@pytest.mark.filterwarnings('ignore:.*files of this format mostly hold tiles')
@pytest.mark.parametrize('layout', ['dm', 'idc', 'mtt', 'ddranking'])
def test_classes_may_come_as_a_column(tmp_path, layout):
  unit = np.clip(FIRST, 0, 1)
  path = write_peer(tmp_path, layout, unit, LABELS[:, None])
  read = SyntheticSet.read(path, **STATISTICS, class_names=NAMES)
  np.testing.assert_array_equal(read.targets, LABELS)


@pytest.mark.filterwarnings('ignore:.*files of this format mostly hold tiles')
def test_a_column_of_floats_is_no_class(tmp_path):
  column = LABELS[:, None].astype(np.float32)
  save_torch(tmp_path / 'data.pt', [np.clip(FIRST, 0, 1), column])
  message = refuse(tmp_path / 'data.pt')
  assert 'labels are float32, not integers' in message
  save_torch(tmp_path / 'data.pt', [np.clip(FIRST, 0, 1), column * 0 + 1])
  read = SyntheticSet.read(tmp_path / 'data.pt', **STATISTICS)
  assert read.class_names == ('0',)


def test_labels_of_one_class_among_several_are_refused(tmp_path):
  path = write_peer(tmp_path, 'dm', FIRST, LABELS * 0)
  message = refuse(path, class_names=NAMES)
  assert 'images of class 0 alone, of 3: mend its labels' in message
  assert SyntheticSet.read(path, **STATISTICS).class_names == ('0',)


def test_an_experiment_is_chosen(tmp_path):
  path = write_peer(tmp_path, 'dm')
  read = SyntheticSet.read(path, experiment=1, **STATISTICS)
  np.testing.assert_array_equal(read.images[0], make().images[5] * 2)
  with pytest.raises(InputError, match='2 experiments, 0 to 1: .* no 2'):
    SyntheticSet.read(path, experiment=2, **STATISTICS)


class _Runs:
  def __init__(self, marker):
    self.marker = marker

  def __reduce__(self):
    return os.mkdir, (self.marker,)


def refuse(path, *args, **kwargs):
  with pytest.raises(InputError) as raised:
    SyntheticSet.read(path, *args, **{**STATISTICS, **kwargs})
  message = str(raised.value)
  assert str(path) in message
  assert '\n' not in message
  return message


def test_code_is_not_run(tmp_path):
  value = {'data': [_Runs(str(tmp_path / 'ran'))]}
  path = tmp_path / 'res.pt'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('res/data.pkl', pickle.dumps(value, 2))
  assert 'mkdir' in refuse(path)
  assert not (tmp_path / 'ran').exists()


def test_files_of_an_old_torch_ask_for_one(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)  # As if there were none.
  path = tmp_path / 'old.pt'
  path.write_bytes(b'\x80\x02old')
  assert 'pip install torch' in refuse(path)


@pytest.mark.parametrize(
  ('offset', 'shape', 'steps'),
  [(1, (2, 2), (2, 1)), (0, (4,), (2,)), (3, (2,), (-1,)), (-1, (1,), (1,))],
)
def test_a_tensor_does_not_leave_its_storage(tmp_path, offset, shape, steps):
  from dm_jax.exchange.torch_file import _tensor

  with pytest.raises(InputError, match='outside of its storage'):
    _tensor(np.zeros(4, np.float32), offset, shape, steps)


@pytest.mark.parametrize('part', [0.2, 0.9])
@pytest.mark.parametrize('layout', ['dm', 'kip'])
def test_a_truncated_file_is_one_line(tmp_path, layout, part):
  path = write_peer(tmp_path, layout)
  whole = path.read_bytes()
  path.write_bytes(whole[: int(part * len(whole))])
  assert 'cut off or damaged' in refuse(path)


@pytest.mark.parametrize(
  ('layout', 'arguments', 'message'),
  [
    ('dm', {'format': 'dmm'}, "unknown format 'dmm': did you mean dm"),
    ('dm', {'format': 'idc'}, 'no list of .images, labels.'),
    ('idc', {}, 'pixels go from .* those of this format are in 0 to 1'),
    ('dm', {'factor': 3}, 'factor 3 does not fit .*: use 2'),
    ('dm', {'factor': 0}, 'factor must be at least 1, got 0'),
    ('dm', {'mean': None}, 'does not say the mean and std'),
    ('dm', {'mean': (0.5,), 'std': (0.2,)}, 'mean must be 3 finite'),
    ('dm', {'std': 0.2}, r'std must be 3 finite .* got 0.2: write \(0.2,\)'),
    ('dm', {'mean': (125.3, 123, 114)}, 'in .0, 1., got .*: divide .* by 255'),
    (
      'dm',
      {'class_names': ('a', 'b')},
      'from 0 to 2, .* 2 class names',
    ),
    ('kip', {'format': 'frepo'}, 'it lacks image, label'),
  ],
)
def test_what_does_not_fit_is_one_line(tmp_path, layout, arguments, message):
  path = write_peer(tmp_path, layout)
  arguments = {**STATISTICS, **arguments}
  with pytest.raises(InputError, match=message) as raised:
    SyntheticSet.read(path, **arguments)
  assert '\n' not in str(raised.value)


def test_a_run_of_ones_own_is_read_as_ever(tmp_path):
  make(storage='tiles:2').save(tmp_path / 'synthetic.npz')
  read = SyntheticSet.read(tmp_path / 'synthetic.npz')
  assert read.storage == 'tiles:2'
  assert read.provenance['seed'] == 7
  path = tmp_path / 'synthetic.npz'
  assert 'its factor itself: leave it out' in refuse(path, factor=2)
  assert 'its mean itself: leave it out' in refuse(path, mean=(0.5,))
  assert 'leave experiment 3 out' in refuse(path, experiment=3)
  assert 'no synthetic set at' in refuse(tmp_path / 'nowhere.pt')


@pytest.mark.parametrize('name', WRITTEN)
def test_what_is_there_stays(tmp_path, name):
  path, _ = export(make(), tmp_path, name)
  before = {p: p.stat() for p in tmp_path.rglob('*')}
  with pytest.raises(InputError, match=f'{name} is there already'):
    make().export(path, name)
  assert {p: p.stat() for p in tmp_path.rglob('*')} == before


@pytest.mark.parametrize('name', WRITTEN)
def test_a_failure_leaves_nothing(tmp_path, monkeypatch, name):
  def fail(*_):
    raise OSError('no room')

  monkeypatch.setattr(os, 'rename', fail)
  with pytest.raises(InputError, match=f'{name} cannot be written: no room'):
    make().export(tmp_path / name, name)
  assert not list(tmp_path.iterdir())


def test_the_later_of_two_exports_leaves_the_first_whole(tmp_path, monkeypatch):
  path, rename = tmp_path / 'folder', os.rename

  def be_second(old, new):
    shutil.copytree(old, new)  # As another process would, meanwhile.
    rename(old, new)

  monkeypatch.setattr(os, 'rename', be_second)
  with pytest.raises(InputError, match='folder cannot be written'):
    make().export(path, 'folder')
  assert [file.name for file in tmp_path.iterdir()] == ['folder']
  assert SyntheticSet.read(path).fingerprint() == make().fingerprint()


def test_an_unknown_format_names_near_ones(tmp_path):
  with pytest.raises(InputError, match="'parket': did you mean parquet"):
    make().export(tmp_path / 'a', 'parket')


@pytest.mark.parametrize('name', ['folder', 'parquet'])
def test_a_png_takes_one_or_three_channels(tmp_path, name):
  images = np.zeros((6, 4, 4, 2), np.float32)
  made = SyntheticSet.from_images(images, LABELS, (0.5,) * 2, (1.0,) * 2, NAMES)
  with pytest.raises(InputError, match='2 channels, and a PNG 1 or 3'):
    made.export(tmp_path / 'a', name)
  assert not list(tmp_path.iterdir())


def test_big_endian_files_are_read(tmp_path):
  save_torch(tmp_path / 'little.pt', np.arange(3.0))
  with zipfile.ZipFile(tmp_path / 'little.pt') as little:
    pickled = little.read('saved/data.pkl')
  with zipfile.ZipFile(tmp_path / 'big.pt', 'w') as big:
    big.writestr('saved/data.pkl', pickled)
    big.writestr('saved/byteorder', 'big')
    big.writestr('saved/data/0', np.arange(3.0).astype('>f8').tobytes())
  assert read_tensors(tmp_path / 'big.pt').tolist() == [0, 1, 2]


def test_a_crafted_type_of_values_is_refused(tmp_path):
  class Built:
    def __init__(self, *parts):
      self.parts = parts

    def __reduce__(self):
      return self.parts

  state = (3, '|', None, None, None, -1, -1, 0)
  kind = Built(np.dtype, ('O8', False, True), state)
  scalar = Built(np.float64(1).__reduce__()[0], (kind, b'A' * 8))
  path = tmp_path / 'evil.pt'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('evil/data.pkl', pickle.dumps({'data': scalar}, 2))
  assert "values of 'O8', and only numbers are read" in refuse(path)


def test_a_storage_of_an_unknown_kind_is_refused(tmp_path):
  class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
      return obj.reference if isinstance(obj, _Stored) else None

  file = io.BytesIO()
  Pickler(file, 2).dump(_Stored(('storage', 'O', '0', 'cpu', 1)))
  with zipfile.ZipFile(tmp_path / 'odd.pt', 'w') as archive:
    archive.writestr('odd/data.pkl', file.getvalue())
    archive.writestr('odd/data/0', b'A' * 8)
  assert "storage of an unknown kind, 'O'" in refuse(tmp_path / 'odd.pt')


def test_a_tensor_lies_in_a_storage_alone():
  from dm_jax.exchange.torch_file import _tensor

  with pytest.raises(InputError, match='no storage'):
    _tensor(np.zeros((5, 0), np.float32), 0, (4,), (1,))


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    (b'xx', 'targets.npy cannot be read, it is cut off or damaged'),
    (None, r'targets have shape (2, 3), for 6 images'),
  ],
)
def test_damaged_targets_are_one_line(tmp_path, data, message):
  path, _ = export(make(), tmp_path, 'folder')
  if data is None:
    np.save(path / 'targets.npy', SOFT[:2])
  else:
    (path / 'targets.npy').write_bytes(data)
  assert message in refuse(path)


@pytest.mark.parametrize('name', ['0002.jpg', '0002.PNG'])
def test_other_images_in_a_folder_are_named(tmp_path, name):
  path, _ = export(make(), tmp_path, 'folder')
  (path / 'train' / 'Vögel' / 'notes.txt').write_text('kept')
  SyntheticSet.read(path)
  (path / 'train' / 'Vögel' / name).write_bytes(b'')
  assert f'{name} is no .png, and only those are read' in refuse(path)


def test_a_picture_that_is_a_program_is_refused(tmp_path, monkeypatch):
  from PIL import EpsImagePlugin

  def run(*_, **__):
    raise AssertionError('Ghostscript would run')

  monkeypatch.setattr(EpsImagePlugin, 'Ghostscript', run)
  path, _ = export(make(), tmp_path, 'folder')
  file = path / 'train' / 'Vögel' / '0000.png'
  Image.fromarray(PIXELS[0]).save(file, 'EPS')
  message = refuse(path)
  assert 'cannot read 0000.png: not a PNG, JPEG or WebP image' in message


def test_what_lies_beside_the_images_is_no_class(tmp_path):
  path, _ = export(make(), tmp_path, 'folder')
  whole = SyntheticSet.read(path)
  (path / 'card.json').unlink()
  train = path / 'train'
  for litter in ('.ipynb_checkpoints', '__MACOSX', '@eaDir'):
    (train / litter).mkdir()
    (train / litter / '0000.png').write_bytes(b'')
  (train / 'Vögel' / '._0000.png').write_bytes(b'')
  read = SyntheticSet.read(path, **STATISTICS, class_names=NAMES)
  np.testing.assert_array_equal(read.images, whole.images)
  assert read.class_names == NAMES


def test_other_names_than_the_files_are_refused(tmp_path):
  path, _ = export(make(), tmp_path, 'folder')
  (path / 'card.json').unlink()
  with pytest.raises(InputError, match='has the classes .*, got class_names'):
    SyntheticSet.read(path, **STATISTICS, class_names=('a', 'b', 'c'))


def test_a_set_without_names_has_every_class(tmp_path):
  path = tmp_path / 'res_DM.pt'
  save_torch(path, {'data': [[FIRST, LABELS + 1]]})
  assert 'labels up to 3, and none of class 0: give class_names' in refuse(path)
  named = SyntheticSet.read(path, **STATISTICS, class_names=('none', *NAMES))
  assert named.labels.tolist() == [1, 1, 2, 2, 3, 3]


def test_tiles_that_are_taken_for_images_are_told_of(tmp_path):
  path = write_peer(tmp_path, 'idc', np.clip(FIRST, 0, 1))
  with pytest.warns(UserWarning, match='mostly hold tiles.* factor of e.g. 2'):
    SyntheticSet.read(path, **STATISTICS)
  SyntheticSet.read(path, **STATISTICS, factor=2)  # And is not told.


@pytest.mark.parametrize('mode', ['L', 'LA', 'I;16'])
def test_grey_pictures_have_one_channel(tmp_path, mode):
  levels = np.array([[0, 128], [255, 3]], np.uint8)
  grey = Image.fromarray(levels)
  if mode == 'I;16':
    grey = Image.fromarray(levels.astype(np.uint16) * 257)
  elif mode == 'LA':
    grey = Image.merge('LA', (grey, grey))
  for name in 'ab':
    (tmp_path / 'train' / name).mkdir(parents=True)
    grey.save(tmp_path / 'train' / name / '0.png')
  read = SyntheticSet.read(tmp_path, mean=(0.5,), std=(0.25,))
  np.testing.assert_array_equal(read.images_uint8[0, ..., 0], levels)


def rewrite_table(path, change):
  import pyarrow.parquet as pq

  file = path / 'data' / 'train-00000-of-00001.parquet'
  pq.write_table(change(pq.read_table(file)), file)


def copy_table(path, *names):
  data = (path / 'data' / 'train-00000-of-00001.parquet').read_bytes()
  for name in names:
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_bytes(data)


@pytest.mark.parametrize(
  ('names', 'images'),
  [
    (['data/test-00000-of-00001.parquet'], 6),
    (['data/validation.parquet', 'test/0000.parquet'], 6),
    (['data/train-00001-of-00002.parquet'], 12),
    (['data/train-00001-of-00002.parquet', 'data/test-0.parquet'], 12),
    (['data/Test.parquet', 'data/Train-1.parquet'], 12),
    (['data/more.parquet'], 6),
  ],
)
def test_of_several_splits_train_is_read(tmp_path, names, images):
  path, _ = export(make(), tmp_path, 'parquet')
  copy_table(path, *names)
  assert len(SyntheticSet.read(path).images) == images


def test_splits_without_one_to_train_on_are_named(tmp_path):
  path, _ = export(make(), tmp_path, 'parquet')
  copy_table(path, 'data/test-0.parquet', 'data/validation-0.parquet')
  (path / 'data' / 'train-00000-of-00001.parquet').unlink()
  assert 'it has test, validation but no train: name the' in refuse(path)
  assert (
    len(
      SyntheticSet.read(path / 'data' / 'test-0.parquet', **STATISTICS).images
    )
    == 6
  )


def test_tables_of_no_split_are_one_set(tmp_path):
  path, _ = export(make(), tmp_path, 'parquet')
  copy_table(path, 'data/a.parquet', 'data/b.parquet')
  (path / 'data' / 'train-00000-of-00001.parquet').unlink()
  assert len(SyntheticSet.read(path).images) == 12


def with_column(name, values):
  def change(table):
    if name in table.column_names:
      table = table.drop([name])
    return table.append_column(name, [values])

  return change


@pytest.mark.parametrize('card', [True, False])
def test_labels_may_be_texts(tmp_path, card):
  path, _ = export(make(), tmp_path, 'parquet')
  texts = [NAMES[label] for label in LABELS]
  rewrite_table(path, with_column('label', texts))
  if not card:
    (path / 'card.json').unlink()
  read = SyntheticSet.read(path, **({} if card else STATISTICS))
  assert read.class_names == (NAMES if card else tuple(sorted(NAMES)))
  assert [read.class_names[k] for k in read.labels] == sorted(
    texts, key=read.class_names.index
  )
  first = texts.index(read.class_names[0])
  np.testing.assert_array_equal(read.images_uint8[0], PIXELS[first])


OTHER_NAMES = "has other classes than its card (only it has 'wings'; only the "
OTHER_NAMES += "card has 'Vögel'): name them as they were, or delete "


def test_a_renamed_class_is_told_from_the_card(tmp_path):
  path, _ = export(make(), tmp_path, 'folder')
  (path / 'train' / 'Vögel').rename(path / 'train' / 'wings')
  assert f'{OTHER_NAMES}{path}/card.json' in refuse(path)
  (path / 'card.json').unlink()
  read = SyntheticSet.read(path, **STATISTICS)
  assert read.class_names == ('.hidden', 'b/w', 'wings')


def test_a_renamed_label_is_told_from_the_card(tmp_path):
  path, _ = export(make(), tmp_path, 'parquet')
  texts = [(NAMES[0], 'wings', NAMES[2])[label] for label in LABELS]
  rewrite_table(path, with_column('label', texts))
  assert f'{OTHER_NAMES}{path}/card.json' in refuse(path)


def test_a_table_in_another_order_of_classes_is_refused(tmp_path):
  path, card = export(make(), tmp_path, 'parquet')
  card['classes'].reverse()
  (path / 'card.json').write_text(json.dumps(card), 'utf-8')
  assert 'than its card (their order differs): name' in refuse(path)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (with_column('label', [0, 0, 1, None, 2, 2]), 'row 3 has no label'),
    (with_column('label', [0.5] * 6), 'must be integers or texts, got 0.5'),
    (
      with_column('probabilities', [[0.5, 0.5]] * 5 + [[1.0]]),
      'row 5 has not one probability for each of 2 classes',
    ),
    (
      lambda table: table.replace_schema_metadata({'huggingface': 'nope'}),
      'its metadata of huggingface are damaged',
    ),
    (
      lambda table: table.replace_schema_metadata({'huggingface': '[]'}),
      'its metadata of huggingface are damaged',
    ),
    (lambda table: table.slice(0, 0), 'it has no rows'),
  ],
)
def test_a_malformed_table_is_one_line(tmp_path, change, message):
  path, _ = export(make(), tmp_path, 'parquet')
  rewrite_table(path, change)
  assert message in refuse(path)


@pytest.mark.parametrize(
  ('changed', 'message'),
  [
    ({'mean': np.float32(0.5)}, 'its mean has shape ()'),
    ({'class_names': np.array('a')}, 'its class_names has shape ()'),
    ({'targets': SOFT[:2]}, 'targets have shape (2, 3), for 6 images'),
    ({'labels': np.zeros(5, np.int64)}, 'labels have shape (5,), for 6'),
  ],
)
def test_a_malformed_npz_is_one_line(tmp_path, changed, message):
  path, _ = export(make(), tmp_path, 'npz')
  with np.load(path) as file:
    arrays = dict(file)
  save_npz(path, **{**arrays, **changed})
  assert message in refuse(path)


def test_classes_of_no_tensor_are_one_line(tmp_path):
  path = write_peer(tmp_path, 'ddranking')
  save_torch(path / 'hard_labels.pt', {'a': 1})
  assert 'hard_labels.pt beside it is not a class for each' in refuse(path)


@pytest.mark.parametrize(
  ('key', 'name'), [('mean', 'mean'), ('classes', 'class_names')]
)
def test_a_card_of_wrong_values_is_named(tmp_path, key, name):
  path, card = export(make(), tmp_path, 'npz')
  odd = ['x', 0.5, 0.5] if key == 'mean' else ['a', 2, 'c']
  file = tmp_path / 'npz.card.json'
  file.write_text(json.dumps({**card, key: odd}), 'utf-8')
  message = refuse(path)
  assert f'{file} is no card of a set (its {name} has' in message


def test_a_class_name_too_long_for_a_folder_leaves_nothing(tmp_path):
  made = dataclasses.replace(make(), class_names=('x' * 300, 'b', 'c'))
  with pytest.raises(
    InputError, match='cannot be written: .*too long'
  ) as found:
    made.export(tmp_path / 'long', 'folder')
  assert '\n' not in str(found.value)
  assert not list(tmp_path.iterdir())
