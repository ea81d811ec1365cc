"""The paper's sets in small: as published, as torchvision keeps them."""

import gzip
import hashlib
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
from PIL import Image
import pytest
from scipy import io as scipy_io

from dm_jax.config.sections import DataConfig
from dm_jax.data import paper_sets
from dm_jax.data.download import File
from dm_jax.data.layouts import tfds_order
from dm_jax.data.load import load
from dm_jax.errors import InputError

NAMES = ['ant', 'bee', 'cat']
TRAIN_LABELS = np.array([2, 0, 1, 1, 0, 2, 2, 0, 1, 1])
TEST_LABELS = np.array([1, 0, 2, 1])


def idx(array) -> bytes:
  """The idx format: type 8 is bytes, then dimensions and their sizes."""
  head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, '>u4').tobytes()
  return head + array.astype(np.uint8).tobytes()


def mnist(train, test, compressed=False) -> dict[str, bytes]:
  files = {}
  for name, (images, labels) in (('train', train), ('t10k', test)):
    files[f'{name}-images-idx3-ubyte'] = idx(images[..., 0])
    files[f'{name}-labels-idx1-ubyte'] = idx(labels)
  if compressed:
    return {f'{name}.gz': gzip.compress(d) for name, d in files.items()}
  return files


def _planes(images):
  return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def python_2(value) -> bytes:
  """How Python 2 pickled: its texts were bytes, its NumPy had numpy.core."""
  data = pickle.dumps(value, protocol=2)
  return data.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')


def cifar10(train, test, names) -> dict[str, bytes]:
  """Five batches; the images of the last one are what is left."""
  images, labels = train
  parts = zip(np.array_split(images, 5), np.array_split(labels, 5), strict=True)
  batches = {f'data_batch_{i}': part for i, part in enumerate(parts, 1)}
  files = {
    name: python_2({b'data': _planes(x), b'labels': y.tolist()})
    for name, (x, y) in {**batches, 'test_batch': test}.items()
  }
  meta = {b'label_names': [name.encode() for name in names]}
  return {**files, 'batches.meta': python_2(meta)}


def cifar100(train, test, names) -> dict[str, bytes]:
  files = {}
  for name, (images, labels) in (('train', train), ('test', test)):
    files[name] = python_2(
      {
        b'data': _planes(images),
        b'fine_labels': labels.tolist(),
        b'coarse_labels': [0] * len(labels),
      }
    )
  meta = {b'fine_label_names': [n.encode() for n in names]}
  return {**files, 'meta': python_2(meta)}


def cifar_binary(images, labels, before=b'') -> bytes:
  """Rows of label and pixels; CIFAR-100 has the coarse label before."""
  return b''.join(
    before + bytes([label]) + planes.tobytes()
    for label, planes in zip(labels, _planes(images), strict=True)
  )


def cifar100_archive(train, test, names) -> bytes:
  files = {
    'coarse_label_names.txt': b'things\n',
    'fine_label_names.txt': '\n'.join(names).encode() + b'\n',
    'test.bin': cifar_binary(*test, before=b'\0'),
    'train.bin': cifar_binary(*train, before=b'\0'),
  }
  return tar({f'cifar-100-binary/{n}': data for n, data in files.items()})


def tar(files) -> bytes:
  archive = io.BytesIO()
  with tarfile.open(fileobj=archive, mode='w:gz') as opened:
    for name, data in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      opened.addfile(member, io.BytesIO(data))
  return archive.getvalue()


def svhn(train, test) -> dict[str, bytes]:
  files = {}
  for name, (images, labels) in (('train', train), ('test', test)):
    file = io.BytesIO()
    digits = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    scipy_io.savemat(
      file,
      {'X': images.transpose(1, 2, 3, 0), 'y': digits},
      do_compression=True,
    )
    files[f'{name}_32x32.mat'] = file.getvalue()
  return files


def png(pixels) -> bytes:
  file = io.BytesIO()
  whole = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
  whole.save(file, 'PNG')
  return file.getvalue()


def lay(folder, files) -> None:
  """Writes files of bytes by name."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, data in files.items():
    (folder / name).write_bytes(data)


def images(labels, shape):
  """Random images whose first pixel is their number."""
  drawn = np.random.RandomState(len(labels)).randint(
    0, 256, (len(labels), *shape)
  )
  drawn[:, 0, 0, 0] = np.arange(len(labels))
  return drawn.astype(np.uint8), labels


def small(shape):
  return images(TRAIN_LABELS, shape), images(TEST_LABELS, shape)


def read(name, folder, **options):
  return load(DataConfig(name, str(folder), **options))


def check(dataset, train, test, names=None):
  """Each class has its images in tfds's order, the test set as well."""
  pixels, labels = train
  order = tfds_order('train', len(labels))
  assert dataset.train.class_names == tuple(names or '012')
  for label, count in enumerate(dataset.train.counts):
    own = [row for row in order if labels[row] == label]
    np.testing.assert_array_equal(
      dataset.train.images[label, :count], pixels[own]
    )
  order = tfds_order('test', len(test[1]))
  np.testing.assert_array_equal(dataset.test_images, test[0][order])
  np.testing.assert_array_equal(dataset.test_labels, test[1][order])


def refused(message, name, folder, **options):
  with pytest.raises(InputError, match=message) as error:
    read(name, folder, **options)
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.fixture
def publish(serve, monkeypatch):
  """A function that lets small files be a set's published ones."""

  def publish(name, files, digests=None, **ways):
    server = serve(files, **ways)
    listed = tuple(
      File(
        f'{server.address}/{file}',
        (digests or {}).get(file) or hashlib.sha256(data).hexdigest(),
      )
      for file, data in files.items()
    )
    own = paper_sets.SETS[name]._replace(files=listed)
    monkeypatch.setitem(paper_sets.SETS, name, own)
    return server

  return publish


@pytest.fixture
def unpublished(monkeypatch):
  """No server of any set is there."""
  monkeypatch.setattr('dm_jax.data.download.answers', lambda url: False)


@pytest.mark.parametrize('inside', ['', 'cifar-10-batches-py'])
def test_cifar10_of_torchvision(tmp_path, inside):
  train, test = small((32, 32, 3))
  lay(tmp_path / 'cifar-10-batches-py', cifar10(train, test, NAMES))
  check(read('cifar10', tmp_path / inside), train, test, NAMES)


def test_cifar100_has_its_fine_labels(tmp_path):
  train, test = small((32, 32, 3))
  lay(tmp_path / 'cifar-100-python', cifar100(train, test, NAMES))
  check(read('cifar100', tmp_path), train, test, NAMES)


@pytest.mark.parametrize('inside', ['', 'MNIST', 'MNIST/raw'])
@pytest.mark.parametrize('compressed', [False, True])
def test_mnist_of_torchvision(tmp_path, inside, compressed):
  train, test = small((28, 28, 1))
  lay(tmp_path / 'MNIST/raw', mnist(train, test, compressed))
  check(read('mnist', tmp_path / inside), train, test)


def test_fashion_mnist_is_not_mnist(tmp_path, unpublished):
  labels = np.arange(20) % 10
  train, test = images(labels, (28, 28, 1)), images(TEST_LABELS, (28, 28, 1))
  lay(tmp_path / 'FashionMNIST/raw', mnist(train, test))
  lay(tmp_path / 'MNIST/raw', mnist(test, test))
  dataset = read('fashion_mnist', tmp_path)
  assert dataset.train.class_names[3:6] == ('Dress', 'Coat', 'Sandal')
  np.testing.assert_array_equal(
    dataset.train.images[3, :, 0, 0, 0],
    [row for row in tfds_order('train', 20) if row in (3, 13)],
  )


@pytest.mark.parametrize('inside', ['', 'raw'])
def test_a_folder_of_fashion_mnist_is_not_mnist(
  tmp_path, unpublished, monkeypatch, inside
):
  lay(tmp_path / 'FashionMNIST/raw', mnist(*small((28, 28, 1))))
  folder = tmp_path / 'FashionMNIST' / inside
  line = refused(f'mnist is not in {folder}, and ', 'mnist', folder)
  assert line.endswith(f'into {folder}/mnist')
  monkeypatch.chdir(folder)
  refused('mnist is not in', 'mnist', '.')


@pytest.mark.parametrize('inside', ['mine', 'mine/raw', 'FashionMNIST'])
def test_files_of_a_folder_that_is_named_are_what_it_says(tmp_path, inside):
  train, test = small((28, 28, 1))
  lay(tmp_path / inside, mnist(train, test))
  check(read('mnist', tmp_path / inside), train, test)


def test_each_of_two_sets_of_one_folder_is_found(tmp_path):
  train, test = small((28, 28, 1))
  lay(tmp_path / 'FashionMNIST/raw', mnist(test, train))
  lay(tmp_path / 'MNIST/raw', mnist(train, test))
  for inside in ('', 'MNIST', 'MNIST/raw'):
    check(read('mnist', tmp_path / inside), train, test)


def test_published_files_directly_in_the_folder_are_not_checked(
  publish, tmp_path
):
  train, test = small((28, 28, 1))
  files = mnist(train, test, compressed=True)
  publish('mnist', files, digests=dict.fromkeys(files, '0' * 64))
  lay(tmp_path / 'mnist', files)
  refused('has the SHA-256', 'mnist', tmp_path)
  lay(tmp_path, files)
  check(read('mnist', tmp_path), train, test)


def test_ten_is_the_digit_zero_of_svhn(tmp_path):
  train, test = small((32, 32, 3))
  lay(tmp_path, svhn(train, test))
  check(read('svhn_cropped', tmp_path), train, test)


def test_images_are_resized_as_files_are(tmp_path):
  train, test = small((28, 28, 1))
  lay(tmp_path / 'MNIST/raw', mnist(train, test))
  dataset = read('mnist', tmp_path, resize=14)
  whole = Image.fromarray(test[0][tfds_order('test', 4)[0], ..., 0])
  np.testing.assert_array_equal(
    dataset.test_images[0, ..., 0],
    np.asarray(whole.resize((14, 14), Image.Resampling.BICUBIC)),
  )


def test_the_order_is_that_of_tfds():
  # The first records of cifar10 3.0.2, by their feature id.
  first = tfds_order('train', 50_000)[:3]
  np.testing.assert_array_equal(first, [16399, 1680, 47917])
  first = tfds_order('test', 10_000)[:3]
  np.testing.assert_array_equal(first, [9933, 5669, 163])


def test_mnist_in_its_files_is_mnist_of_tfds(tmp_path):
  root = os.environ.get('DM_JAX_TEST_DATA', '../shared/tfds')
  if not os.path.isdir(f'{root}/mnist'):
    pytest.skip(f'no mnist in {root}')
  source = paper_sets.source('mnist', root).open()
  arrays = []
  for split, stored in (('train', source.train), ('test', source.test)):
    some = np.arange(400)
    files = np.argsort(tfds_order(split, 400))  # The places in the files.
    arrays.append((stored.read(some)[files], stored.labels[:400][files]))
  lay(tmp_path, mnist(*arrays))
  again = paper_sets.source('mnist', str(tmp_path)).open()
  for one, other in ((source.train, again.train), (source.test, again.test)):
    np.testing.assert_array_equal(other.labels, one.labels[:400])
    np.testing.assert_array_equal(other.read(some), one.read(some))


def test_what_tfds_has_prepared_comes_first(write_set, tmp_path):
  import tensorflow_datasets as tfds

  features = {
    'image': tfds.features.Image(shape=(28, 28, 1)),
    'label': tfds.features.ClassLabel(num_classes=1),
  }
  record = {'image': png(np.full((28, 28, 1), 7, np.uint8)), 'label': 0}
  splits = {'train': [record], 'test': [record]}
  write_set('mnist', splits=splits, features=features)
  lay(tmp_path / 'MNIST/raw', mnist(*small((28, 28, 1))))
  assert read('mnist', tmp_path).test_images.max() == 7


def test_what_only_tensorflow_reads_does_not_count(write_set, tmp_path):
  train, test = small((28, 28, 1))
  write_set('mnist', splits={}, file_format='tfrecord')
  lay(tmp_path, mnist(train, test))
  check(read('mnist', tmp_path), train, test)


def test_an_archive_is_downloaded_and_kept(publish, tmp_path):
  train, test = small((32, 32, 3))
  files = {'cifar-100-binary.tar.gz': cifar100_archive(train, test, NAMES)}
  server = publish('cifar100', files)
  for _ in range(2):
    check(read('cifar100', tmp_path), train, test, NAMES)
  assert server.asked == ['/cifar-100-binary.tar.gz']
  # Reads as if tfds had laid it there; what is damaged is not believed.
  archive = tmp_path / 'cifar100/cifar-100-binary.tar.gz'
  archive.write_bytes(archive.read_bytes()[:-9])
  line = refused('has the SHA-256', 'cifar100', tmp_path)
  assert str(archive) in line
  assert hashlib.sha256(archive.read_bytes()).hexdigest() in line
  assert paper_sets.SETS['cifar100'].files[0].sha256 in line


def test_mnist_is_downloaded_to_a_folder_of_its_own(publish, tmp_path):
  train, test = small((28, 28, 1))
  server = publish('mnist', mnist(train, test, compressed=True))
  check(read('mnist', tmp_path), train, test)
  assert len(server.asked) == 4
  check(read('mnist', tmp_path), train, test)
  assert len(server.asked) == 4


@pytest.mark.parametrize('place', ['.', 'downloads/manual', 'cifar100'])
def test_archives_may_be_laid_by_hand(publish, unpublished, tmp_path, place):
  train, test = small((32, 32, 3))
  files = {'cifar-100-binary.tar.gz': cifar100_archive(train, test, NAMES)}
  publish('cifar100', files)
  lay(tmp_path / place, files)
  check(read('cifar100', tmp_path), train, test, NAMES)


def test_tiny_imagenet_is_unpacked(publish, tmp_path):
  archive = io.BytesIO()
  with zipfile.ZipFile(archive, 'w') as opened:
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    for wnid in ('n01', 'n02'):
      inside = f'tiny-imagenet-200/train/{wnid}/images/{wnid}_0.JPEG'
      opened.writestr(inside, png(pixels))
    opened.writestr('tiny-imagenet-200/val/images/val_0.JPEG', png(pixels))
    opened.writestr(
      'tiny-imagenet-200/val/val_annotations.txt', 'val_0.JPEG\tn02\t0\n'
    )
  files = {'tiny-imagenet-200.zip': archive.getvalue()}
  server = publish('tiny_imagenet', files)
  for _ in range(2):
    dataset = read('tiny_imagenet', tmp_path)
    assert dataset.train.class_names == ('n01', 'n02')
    np.testing.assert_array_equal(dataset.test_images[0], pixels)
    np.testing.assert_array_equal(dataset.test_labels, [1])
  unpacked = tmp_path / 'tiny_imagenet/tiny-imagenet-200'
  assert read('tiny_imagenet', unpacked).train.class_names == ('n01', 'n02')
  assert server.asked == ['/tiny-imagenet-200.zip']


def test_without_network_it_says_what_to_lay_where(tmp_path, unpublished):
  line = refused('does not answer', 'cifar100', tmp_path / 'sets')
  assert f'cifar100 is not in {tmp_path}/sets, and ' in line
  assert 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz' in line
  assert line.endswith(f'lay it into {tmp_path}/sets/cifar100')
  assert not (tmp_path / 'sets').exists()


@pytest.mark.parametrize('missing', ['data_batch_3', 'test_batch'])
def test_a_missing_batch_is_named(tmp_path, missing):
  folder = tmp_path / 'cifar-10-batches-py'
  lay(folder, cifar10(*small((32, 32, 3)), NAMES))
  (folder / missing).unlink()
  refused(f'{folder} has no {missing}: lay it there', 'cifar10', tmp_path)


def test_an_empty_folder_of_torchvision_is_named(tmp_path):
  (tmp_path / 'FashionMNIST/raw').mkdir(parents=True)
  refused('has no train-images-idx3-ubyte, ', 'fashion_mnist', tmp_path)


class Runs:
  """Its pickle asks for a command to be run."""

  def __init__(self, marker):
    self.marker = marker

  def __reduce__(self):
    return os.mkdir, (self.marker,)


def test_no_pickle_runs_code(tmp_path):
  folder = tmp_path / 'cifar-10-batches-py'
  lay(folder, cifar10(*small((32, 32, 3)), NAMES))
  marker = tmp_path / 'ran'
  (folder / 'data_batch_2').write_bytes(pickle.dumps(Runs(str(marker))))
  refused(f'{folder}/data_batch_2 cannot be read .*mkdir', 'cifar10', tmp_path)
  assert not marker.exists()


@pytest.mark.parametrize(
  ('name', 'file', 'data', 'message'),
  [
    ('cifar10', 'test_batch', b'', 'no whole pickle'),
    ('cifar10', 'test_batch', pickle.dumps([1]), 'no dictionary'),
    ('cifar10', 'test_batch', pickle.dumps({'data': 1}), 'no labels'),
    ('cifar10', 'batches.meta', pickle.dumps({}), 'no label_names'),
    ('mnist', 't10k-labels-idx1-ubyte', b'', 'cannot be read'),
    ('mnist', 't10k-labels-idx1-ubyte', b'\0\0\x0d\1', 'no idx file of bytes'),
    ('mnist', 't10k-labels-idx1-ubyte', idx(np.zeros(4))[:-1], '3 values for'),
    ('mnist', 't10k-labels-idx1-ubyte', idx(np.zeros(3)), '4 images and 3 lab'),
    ('mnist', 't10k-labels-idx1-ubyte', idx(np.zeros((4, 1))), 'dimensions'),
    ('svhn_cropped', 'test_32x32.mat', b'MATLAB', 'cannot be read'),
  ],
)
def test_a_damaged_file_is_named(tmp_path, name, file, data, message):
  side, channels = (28, 1) if name == 'mnist' else (32, 3)
  train, test = small((side, side, channels))
  files = {
    'cifar10': lambda: cifar10(train, test, NAMES),
    'mnist': lambda: mnist(train, test),
    'svhn_cropped': lambda: svhn(train, test),
  }[name]()
  folder = tmp_path / 'cifar-10-batches-py' if name == 'cifar10' else tmp_path
  lay(folder, {**files, file: data})
  line = refused(message, name, tmp_path)
  assert file in line or 'dimensions' in message


def test_a_damaged_gzip_file_is_named(tmp_path):
  files = mnist(*small((28, 28, 1)), compressed=True)
  name = 'train-images-idx3-ubyte.gz'
  lay(tmp_path, {**files, name: files[name][:-20]})
  refused(f'{name} cannot be read', 'mnist', tmp_path)


def test_another_archive_is_refused(publish, tmp_path):
  publish('cifar100', {'cifar-100-binary.tar.gz': tar({'a/train.bin': b''})})
  line = refused('it is another archive', 'cifar100', tmp_path)
  assert 'has no test.bin, fine_label_names.txt' in line


def test_a_file_is_no_folder(tmp_path):
  (tmp_path / 'file').touch()
  refused('is no folder: for data.name=cifar10', 'cifar10', tmp_path / 'file')


def test_a_cached_set_knows_its_files(tmp_path):
  train, test = small((28, 28, 1))
  lay(tmp_path / 'MNIST/raw', mnist(train, test))
  cache = str(tmp_path / 'cache')
  for _ in range(2):
    check(read('mnist', tmp_path, cache=cache), train, test)
  assert len(list((tmp_path / 'cache').glob('mnist-*'))) == 1
