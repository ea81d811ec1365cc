import struct
from typing import Any
import zipfile

import numpy as np
import pytest

from dm_jax.config.sections import DataConfig
from dm_jax.data.load import load
from dm_jax.errors import InputError

ARRAYS = {
  'train_images': np.array([0, 51, 102, 255], np.uint8).reshape(4, 1, 1, 1),
  'train_labels': np.array([1, 0, 1, 0]),
  'test_images': np.array([9], np.uint8).reshape(1, 1, 1, 1),
  'test_labels': np.array([1]),
}


def read(path):
  return load(DataConfig(name='npz', dir=str(path)))


def saved(folder, **changes):
  path = folder / 'images.npz'
  arrays: dict[str, Any] = {
    name: array
    for name, array in (ARRAYS | changes).items()
    if array is not None
  }
  np.savez(path, **arrays)
  return path


def test_a_file_is_read(tmp_path):
  dataset = read(saved(tmp_path, class_names=np.array(['cat', 'dog'])))
  assert dataset.train.images[..., 0, 0, 0].tolist() == [[51, 255], [0, 102]]
  assert dataset.train.class_names == ('cat', 'dog')
  assert dataset.train.mean == (102 / 255,)
  assert dataset.test_images.tolist() == [[[[9]]]]
  assert dataset.test_labels.tolist() == [1]


def test_three_axes_are_one_channel_and_floats_are_quantised(tmp_path):
  images = ARRAYS['train_images'][..., 0] / 255
  dataset = read(saved(tmp_path, train_images=images))
  assert dataset.train.images[..., 0, 0, 0].tolist() == [[51, 255], [0, 102]]
  assert dataset.train.class_names == ('0', '1')


def test_bytes_are_names_too(tmp_path):
  dataset = read(saved(tmp_path, class_names=np.array([b'cat', b'dog'])))
  assert dataset.train.class_names == ('cat', 'dog')


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
  saved(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path))
  assert read('~/images.npz').train.classes == 2


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'test_images': None, 'test_labels': None, 'extra': np.zeros(1)},
      'has no test_images, test_labels: it has train_images, train_labels, ext',
    ),
    ({'train_images': np.zeros((4, 2))}, r'train_images in .* must be \[N, H'),
    ({'test_images': np.full((1, 1, 1, 1), 7.0)}, r'test_images in .* 7 to 7'),
    ({'train_labels': np.zeros(3, int)}, r'train_labels in .* got 3 for 4'),
    ({'train_labels': np.zeros(4)}, r'train_labels in .* must be integers'),
    ({'train_labels': np.array([0, 2, 2, 0])}, 'class 1 of 3 has no images'),
    ({'test_labels': np.array([2])}, 'test_labels must be below 2'),
    (
      {'class_names': np.array(['a', 'b'], object)},
      'class_names in .* holds Python objects, which are not loaded',
    ),
    (
      {'train_images': np.array([[1], [1, 2]], object)},
      'train_images in .* holds Python objects',
    ),
    (
      {'class_names': np.array([1, 2])},
      r'class_names .* strings \[C\], got int',
    ),
    ({'class_names': np.array(['a'])}, 'class_names must name every class'),
    (
      {'class_names': np.array([b'ant', b'caf\xe9'])},
      r"class name 'caf\\udce9' is not UTF-8: rename it",
    ),
    (
      {'train_images': np.zeros((4, 3, 8, 8), np.uint8)},
      r'train_images in .* looks like \[N, D, H, W\]: .*transpose\(0, 2, 3,',
    ),
    (
      {'test_images': np.zeros((1, 1, 2, 2))},
      r'test_images in .* looks like \[N, D, H, W\]',
    ),
  ],
)
def test_bad_content_is_refused(tmp_path, changes, message):
  path = saved(tmp_path, **changes)
  with pytest.raises(InputError, match=message) as error:
    read(path)
  assert '\n' not in str(error.value)


def test_no_file_is_named():
  with pytest.raises(InputError, match='data.dir is not set: .*=images.npz'):
    load(DataConfig(name='npz'))


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(InputError, match=f'no file {tmp_path}/none.npz: '):
    read(tmp_path / 'none.npz')
  with pytest.raises(InputError, match=f'no file {tmp_path}: '):
    read(tmp_path)


@pytest.mark.parametrize('content', [b'', b'text', b'PK\x03\x04 but no more'])
def test_other_files_are_refused(tmp_path, content):
  path = tmp_path / 'images.npz'
  path.write_bytes(content)
  with pytest.raises(InputError, match=r'is not a whole \.npz file') as error:
    read(path)
  assert '\n' not in str(error.value)


def test_a_truncated_file_is_refused(tmp_path):
  path = saved(tmp_path)
  path.write_bytes(path.read_bytes()[:-50])
  with pytest.raises(InputError, match=r'is not a whole \.npz file'):
    read(path)


def test_a_damaged_member_is_refused(tmp_path):
  path = saved(tmp_path)
  content = path.read_bytes()
  pixels = ARRAYS['train_images'].tobytes()
  assert content.count(pixels) == 1
  path.write_bytes(content.replace(pixels, bytes(4)))
  with pytest.raises(InputError, match='train_images in .* cannot be read'):
    read(path)


def test_a_single_array_is_refused(tmp_path):
  path = tmp_path / 'images.npy'
  np.save(path, np.zeros(3))
  with pytest.raises(InputError, match='holds a single array: write train_im'):
    read(path)


@pytest.mark.parametrize('order', ['C', 'F'])
@pytest.mark.parametrize('write', [np.savez, np.savez_compressed])
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_all_ways_of_saving_are_read_alike(tmp_path, order, write, dtype):
  levels = np.random.RandomState(0).randint(0, 256, (6, 3, 2, 3))
  images = levels / 255 if dtype == np.float32 else levels
  images = np.array(images, dtype, order=order)
  labels = np.array([0, 1, 1, 0, 1, 1])
  arrays = {'test_images': images[:2], 'test_labels': labels[:2]}
  path = tmp_path / 'images.npz'
  write(path, train_images=images, train_labels=labels, **arrays)
  dataset = read(path)
  np.testing.assert_array_equal(dataset.train.images[0, :2], levels[[0, 3]])
  np.testing.assert_array_equal(dataset.train.images[1], levels[[1, 2, 4, 5]])
  np.testing.assert_array_equal(dataset.test_images, levels[:2])


def test_a_loaded_set_does_not_need_its_file(tmp_path):
  path = saved(tmp_path)
  dataset = read(path)
  path.write_bytes(b'')
  assert dataset.train.images[..., 0, 0, 0].tolist() == [[51, 255], [0, 102]]
  assert dataset.test_images.tolist() == [[[[9]]]]
  assert dataset.test_labels.tolist() == [1]


def test_headers_of_any_length_are_skipped(tmp_path):
  # Some writers pad what comes before a member's data; NumPy does not.
  plain, padded = saved(tmp_path), tmp_path / 'padded.npz'
  with zipfile.ZipFile(plain) as source, zipfile.ZipFile(padded, 'w') as target:
    for name in source.namelist():
      info = zipfile.ZipInfo(name)
      info.extra = struct.pack('<HH', 0xA11E, 59) + bytes(59)
      target.writestr(info, source.read(name))
  images = read(padded).train.images
  np.testing.assert_array_equal(images, read(plain).train.images)
