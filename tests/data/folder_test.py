import itertools
import os
import pathlib
import tarfile

import numpy as np
from PIL import Image
import pytest

from dm_jax.config.sections import DataConfig
from dm_jax.data.load import load
from dm_jax.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = pathlib.Path(
  os.environ.get('DM_JAX_TEST_FOLDERS', ROOT.parent / 'shared' / 'folders')
)


def read(root, resize=None):
  return load(DataConfig(name='folder', dir=str(root), resize=resize))


def write(path, pixels, mode=None, **options):
  """Saves a grey or RGB image; an int fills 4 × 4 grey pixels."""
  if isinstance(pixels, int):
    pixels = np.full((4, 4), pixels)
  path.parent.mkdir(parents=True, exist_ok=True)
  image = Image.fromarray(np.asarray(pixels, np.uint8))
  (image.convert(mode) if mode else image).save(path, **options)


@pytest.fixture
def root(tmp_path):
  """Grey images: cat 1, 2 and dog 3; a test image of each, 4 and 5."""
  write(tmp_path / 'train/dog/a.png', 3)
  write(tmp_path / 'train/cat/b.png', 2)
  write(tmp_path / 'train/cat/a.png', 1)
  write(tmp_path / 'test/cat/a.png', 4)
  write(tmp_path / 'test/dog/a.png', 5)
  return tmp_path


def firsts(images):
  return images[..., 0, 0, 0].tolist()


def test_classes_and_files_are_sorted(root):
  dataset = read(root)
  assert dataset.train.class_names == ('cat', 'dog')
  assert dataset.train.image_shape == (4, 4, 1)
  assert firsts(dataset.train.images) == [[1, 2], [3, 0]]
  assert firsts(dataset.test_images) == [4, 5]
  assert dataset.test_labels.tolist() == [0, 1]
  assert dataset.test_images.base is None  # No view that keeps all alive.


def test_many_files_stay_in_order(root):
  for i in range(200):
    write(root / f'train/cat/c{i:03}.png', i)
  assert firsts(read(root).train.images)[0] == [1, 2, *range(200)]


def test_formats_and_cases_mix(root):
  write(root / 'train/cat/c.JPG', 30, quality=95)
  write(root / 'train/cat/d.jpeg', 40)
  write(root / 'train/cat/e.WebP', np.full((4, 4, 3), 50), lossless=True)
  write(root / 'train/cat/f.jpg', 60, format='PNG')  # By content, not by name.
  images = read(root).train.images[0]
  assert images.shape == (6, 4, 4, 3)  # WebP is always RGB: so are all.
  assert firsts(images) == [1, 2, 30, 40, 50, 60]
  assert (images == images[..., :1]).all()


def test_palettes_and_alpha_become_rgb(root):
  red = np.full((4, 4, 3), [200, 0, 0])
  write(root / 'train/dog/b.png', red, 'P')
  write(root / 'train/dog/c.png', np.dstack([red, np.full((4, 4), 255)]))
  write(root / 'train/dog/d.png', red, 'P', transparency=b'\x00\x80')
  images = read(root).train.images[1]
  for image in images[1:]:
    np.testing.assert_allclose(image, red, atol=5)  # The palette is coarse.
  assert images[2, 0, 0].tolist() == [200, 0, 0]


def test_grey_modes_stay_one_channel(root):
  write(root / 'train/dog/b.png', 255, '1')
  write(root / 'train/dog/c.png', 7, 'LA')
  assert firsts(read(root).train.images)[1] == [3, 255, 7]


def test_grey_training_images_follow_a_coloured_test_image(root):
  write(root / 'test/dog/b.png', np.full((4, 4, 3), [9, 8, 7]))
  dataset = read(root)
  assert dataset.train.image_shape == (4, 4, 3)
  assert dataset.train.images[1, 0, 0, 0].tolist() == [3, 3, 3]
  assert dataset.test_images[2, 0, 0].tolist() == [9, 8, 7]


def test_val_is_read_where_test_is_absent(root):
  (root / 'test').rename(root / 'val')
  assert firsts(read(root).test_images) == [4, 5]


@pytest.mark.parametrize('name', ['val', 'valid', 'validation'])
def test_other_names_of_a_test_set_are_read(root, name):
  (root / 'test').rename(root / name)
  assert firsts(read(root).test_images) == [4, 5]


def test_test_goes_before_val(root):
  write(root / 'val/cat/a.png', 99)
  assert firsts(read(root).test_images) == [4, 5]


def test_hidden_files_and_sidecars_are_ignored(root):
  for name in ('.DS_Store', 'boxes.txt', 'Thumbs.db', 'labels.CSV'):
    (root / 'train/cat' / name).write_text('?')
    (root / 'train' / name).write_text('?')
  write(root / 'train/cat/._b.jpg', 99)  # A Mac's notes on b.jpg.
  (root / 'train/.cache').mkdir()
  for where in ('train/__MACOSX', 'train/cat/@eaDir'):
    (root / where).mkdir()
    (root / where / 'a.bin').write_text('?')
  assert firsts(read(root).train.images) == [[1, 2], [3, 0]]


def test_resize_is_square_and_antialiased(root):
  board = np.indices((32, 16)).sum(0) % 2 * 255  # Mean 127.5.
  write(root / 'train/cat/c.png', board)
  image = read(root, resize=8).train.images[0, 2]
  assert image.shape == (8, 8, 1)
  # Without antialiasing it would be black or white.
  assert np.abs(image.astype(int) - 128).max() < 40


def test_resize_takes_equal_sizes_as_they_are(root):
  assert firsts(read(root, resize=4).train.images) == [[1, 2], [3, 0]]


def tiny_imagenet(root):
  """The layout of the original archive, with an unlabelled test set."""
  for name, level in (('n02', 2), ('n01', 1)):
    write(root / f'train/{name}/images/{name}_0.JPEG', level)
    (root / f'train/{name}/{name}_boxes.txt').write_text('n01_0.JPEG\t0\t0')
  write(root / 'test/images/test_0.JPEG', 9)
  for i, level in enumerate((6, 7)):
    write(root / f'val/images/val_{i}.JPEG', level)
  annotations = 'val_1.JPEG\tn01\t0\t0\t3\t3\nval_0.JPEG\tn02\t0\t0\t3\t3\n'
  (root / 'val/val_annotations.txt').write_text(annotations)
  (root / 'wnids.txt').write_text('n01\nn02\n')
  return root


def test_tiny_imagenet_is_read_as_it_is_unpacked(tmp_path):
  dataset = read(tiny_imagenet(tmp_path))
  assert dataset.train.class_names == ('n01', 'n02')
  assert firsts(dataset.train.images) == [[1], [2]]
  assert firsts(dataset.test_images) == [6, 7]
  assert dataset.test_labels.tolist() == [1, 0]


@pytest.mark.parametrize(
  ('annotations', 'message'),
  [
    ('val_0.JPEG\tn03\n', r"val_annotations.txt: class 'n03' is not in train/"),
    ('val_0.JPEG n01\n', r'expected FILE, tab, CLASS .* got .val_0.JPEG n01'),
    ('val_5.JPEG\tn01\n', 'cannot read .*val_5.JPEG .*No such file'),
    ('', 'val_annotations.txt is empty'),
  ],
)
def test_bad_annotations_are_refused(tmp_path, annotations, message):
  root = tiny_imagenet(tmp_path)
  (root / 'val/val_annotations.txt').write_text(annotations)
  refused(root, message)


def refused(root, message, resize=None):
  with pytest.raises(InputError, match=message) as error:
    read(root, resize)
  assert '\n' not in str(error.value)


def test_links_are_followed(root):
  (root / 'train/cat').rename(root / 'elsewhere')
  (root / 'train/cat').symlink_to(root / 'elsewhere')
  (root / 'elsewhere/c.png').symlink_to(root / 'train/dog/a.png')
  assert firsts(read(root).train.images) == [[1, 2, 3], [3, 0, 0]]
  (root / 'elsewhere/d.png').symlink_to(root / 'nowhere')
  refused(root, r'cannot read .*cat/d.png .*No such file.*, of 7 images: rep')


NOT_UTF8 = os.fsdecode(b'caf\xe9')


@pytest.mark.parametrize('cached', [False, True])
def test_a_class_whose_name_cannot_be_written_is_refused(root, cached):
  for part in ('train', 'test'):
    (root / part / 'dog').rename(root / part / NOT_UTF8)
  config = DataConfig(
    'folder', str(root), cache=str(root / 'kept') if cached else None
  )
  message = r"train the class folder 'caf\\udce9' is not UTF-8: rename it"
  with pytest.raises(InputError, match=message):
    load(config)


def test_files_and_folders_around_classes_may_have_any_name(root):
  (root / 'train/cat/b.png').rename(root / f'train/cat/{NOT_UTF8}.png')
  (root / 'set').mkdir()
  for part in ('train', 'test'):
    (root / part).rename(root / 'set' / part)
  inner = (root / 'set').rename(root / NOT_UTF8)
  config = DataConfig('folder', str(inner), cache=str(root / NOT_UTF8))
  for _ in range(2):
    dataset = load(config)
    assert firsts(dataset.train.images) == [[1, 2], [3, 0]]


def test_a_letter_may_be_written_in_two_ways(root):
  """An é is one letter on most systems, and an e with an accent on a Mac."""
  (root / 'train/dog').rename(root / 'train/caf\u00e9')
  (root / 'test/dog').rename(root / 'test/cafe\u0301')
  dataset = read(root)
  assert dataset.train.class_names == ('caf\u00e9', 'cat')
  assert dataset.test_labels.tolist() == [0, 1]
  assert firsts(dataset.test_images) == [5, 4]


def test_annotations_may_begin_with_a_byte_order_mark(tmp_path):
  root = tiny_imagenet(tmp_path)
  annotations = root / 'val/val_annotations.txt'
  annotations.write_bytes(b'\xef\xbb\xbf' + annotations.read_bytes())
  assert firsts(read(root).test_images) == [6, 7]
  annotations.write_bytes(b'val_0.JPEG\tn\xe9\n')
  refused(root, r'val_annotations.txt is not UTF-8 \(.*\): convert it')


def test_no_folder_is_named():
  with pytest.raises(InputError, match='data.dir is not set: .*=my_images'):
    load(DataConfig(name='folder'))


def test_missing_folders_are_named(tmp_path):
  refused(tmp_path / 'none', f'no folder {tmp_path}/none: expected train/CLASS')
  refused(tmp_path, f'no folder train/ in {tmp_path}: expected train/CLASS')
  for name in ('Testing', 'Training'):
    (tmp_path / name).mkdir()
  refused(tmp_path, 'no folder train/ in .*; it has Testing, Training$')
  (tmp_path / 'Testing').rmdir()
  (tmp_path / 'Training').rename(tmp_path / 'train')
  refused(tmp_path, f'no class folders in {tmp_path}/train: expected')
  write(tmp_path / 'train/cat/a.png', 1)
  refused(tmp_path, f'no labelled images in test/ or val/ of {tmp_path}: exp')
  refused(tmp_path, 'valid/ or validation/ .*; it has train$')
  write(tmp_path / 'test/images/a.png', 1)  # Unlabelled.
  refused(tmp_path, f'no labelled images in test/ or val/ of {tmp_path}: exp')


def test_an_empty_class_is_named(root):
  (root / 'train/emu').mkdir()
  (root / 'train/emu/notes.txt').write_text('later')
  refused(root, f'no images in class folder {root}/train/emu: add some')


def test_a_test_class_must_be_trained_on(root):
  write(root / 'test/emu/a.png', 1)
  refused(root, "test/emu: class 'emu' is not in train/, whose 2 .* cat to dog")


def test_images_beside_the_class_folders_are_refused(root):
  write(root / 'train/a.png', 1)
  refused(root, f'{root}/train/a.png is in no class folder: expected')


def test_folders_in_class_folders_are_refused(root):
  write(root / 'train/cat/more/a.png', 1)
  refused(root, f'{root}/train/cat/more is a folder in a class folder')


@pytest.mark.parametrize('name', ['a.bmp', 'a.tiff', 'a.npy', 'a'])
def test_unknown_files_are_not_skipped(root, name):
  (root / 'train/cat' / name).write_bytes(b'?')
  refused(root, f'{root}/train/cat/{name} is none of .png, .jpg, .jpeg, .webp')


def test_mixed_sizes_name_two_files(root):
  write(root / 'train/dog/a.png', np.zeros((5, 7)))
  refused(
    root,
    'train/cat/a.png is 4x4, .*train/dog/a.png is 7x5: .*data.resize=64',
  )
  write(root / 'train/dog/a.png', 1)
  write(root / 'test/dog/a.png', np.zeros((4, 5)))
  refused(root, 'test/dog/a.png is 5x4')
  assert read(root, resize=3).train.image_shape == (3, 3, 1)


def test_sixteen_bits_are_scaled_and_told(root):
  deep = Image.fromarray(np.full((4, 4), 257 * 99, np.uint16))
  deep.save(root / 'train/dog/a.png')
  dataset = read(root)
  assert firsts(dataset.train.images)[1] == [99, 0]
  assert dataset.train.image_shape == (4, 4, 1)
  assert dataset.notes == (
    '1 of 5 images are grey of 16 bits: scaled to 8, 65,535 to 255',
  )


def test_nothing_is_told_of_usual_images(root):
  assert read(root).notes == ()


def test_photos_on_their_side_have_the_shape_of_the_others(root):
  """Two are stored as 3 × 5 pixels, but turned when they are shown."""
  upright = np.arange(15).reshape(5, 3) * 10
  turned = {6: np.rot90(upright), 8: np.rot90(upright, -1)}
  for file in root.glob('*/*/*.png'):
    write(file, upright)
  for orientation, stored in turned.items():
    exif = Image.Exif()
    exif[0x0112] = orientation
    write(root / f'train/dog/{orientation}.png', stored, exif=exif)
  images = read(root).train.images
  assert images.shape == (2, 3, 5, 3, 1)
  for image in images[1]:
    np.testing.assert_array_equal(image[..., 0], upright)


def test_truncated_images_are_named_and_counted(root):
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
  for name in ('b.jpg', 'c.png', 'd.webp'):
    path = root / 'train/dog' / name
    write(path, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  refused(root, r'cannot read .*dog/b.jpg \(.*\) \(and 2 more\), of 8 images')


@pytest.mark.parametrize(
  'content', [b'', b'not an image', b'GIF89a' + bytes(9)]
)
def test_other_content_is_refused(root, content):
  (root / 'train/dog/b.png').write_bytes(content)
  refused(root, r'b.png \(not a PNG, JPEG or WebP image\), of 6 images: repair')


def test_real_images(tmp_path):
  archive = FOLDERS / 'cifar10.tar.xz'
  if not archive.is_file():
    pytest.skip(f'no real images: {archive} is absent')
  with tarfile.open(archive, 'r|xz') as tar:
    # The argument of this name is younger than Python 3.11.
    tar.extraction_filter = getattr(tarfile, 'data_filter', None)
    files = (member for member in tar if member.isfile())
    for member in itertools.islice(files, 0, None, 100):
      tar.extract(member, tmp_path)
  dataset = read(tmp_path)
  assert dataset.train.counts.tolist() == [50] * 10
  assert dataset.train.image_shape == (32, 32, 3)
  assert dataset.train.class_names[:3] == ('airplane', 'automobile', 'bird')
  assert np.bincount(dataset.test_labels).tolist() == [10] * 10
  *_, last = sorted(tmp_path.glob('test/truck/*'))
  with Image.open(last) as image:
    np.testing.assert_array_equal(dataset.test_images[-1], np.asarray(image))
  # The whole set's: 0.491, 0.482, 0.447 and 0.247, 0.243, 0.262.
  np.testing.assert_allclose(
    dataset.train.mean, (0.491, 0.482, 0.447), atol=0.02
  )
  np.testing.assert_allclose(
    dataset.train.std, (0.247, 0.243, 0.262), atol=0.02
  )
