import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dm_jax.data.class_data import ClassData
from dm_jax.errors import InputError
from dm_jax.files import write_atomically
from dm_jax.synthetic_set import SyntheticSet, package_versions

LEVELS = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3, 1) * 10
DATA = ClassData.from_arrays(
  LEVELS, [0, 0, 1, 1], mean=[0.5], std=[0.25], class_names=['cat', 'Vögel']
)


def make():
  """Four images, two of each class, a little beyond the levels of a pixel."""
  images = (jnp.asarray(LEVELS, jnp.float32) / 255 - 0.5) / 0.25
  images = images.at[0, 0, 0, 0].set(-3).at[3, 1, 2, 0].set(3)
  images = images.reshape(2, 2, 2, 3, 1)
  return SyntheticSet.from_classes(images, DATA, {'seed': 3, 'config': {}})


def assert_equal(actual, expected):
  for field in dataclasses.fields(SyntheticSet):
    a, b = (getattr(s, field.name) for s in (actual, expected))
    np.testing.assert_array_equal(a, b, err_msg=field.name)
    assert type(a) is type(b), field.name


def arrays_of(path):
  with np.load(path, allow_pickle=False) as file:
    return dict(file)


def test_classes_come_one_after_the_other():
  synthetic = make()
  np.testing.assert_array_equal(synthetic.labels, [0, 0, 1, 1])
  assert synthetic.class_names == ('cat', 'Vögel')
  assert synthetic.classes == 2
  assert synthetic.image_shape == (2, 3, 1)
  assert (synthetic.mean, synthetic.std) == ((0.5,), (0.25,))


def test_pixels_to_look_at_are_rounded_and_clipped():
  expected = LEVELS.copy()
  expected[0, 0, 0], expected[3, 1, 2] = 0, 255
  np.testing.assert_array_equal(make().images_uint8, expected)


def test_the_whole_set_leaves_padding_out():
  data = ClassData.from_arrays(LEVELS, [1, 0, 1, 1], mean=[0.5], std=[0.25])
  whole = SyntheticSet.from_whole(data)
  np.testing.assert_array_equal(whole.labels, [0, 1, 1, 1])
  np.testing.assert_array_equal(whole.images_uint8, LEVELS[[1, 0, 2, 3]])


def test_provenance_is_replaced_whole():
  synthetic = make().with_provenance(versions=package_versions())
  assert set(synthetic.provenance) == {'versions'}
  assert synthetic.provenance['versions']['numpy'] == np.__version__
  assert make().provenance == {'seed': 3, 'config': {}}


@pytest.mark.parametrize('sizes', [[1, 2], [1, 3], 2, None])
def test_nested_sizes_are_those_that_were_asked_for(sizes):
  """A provenance of another number of images than there are says nothing."""
  asked = {'images_per_class': sizes}
  made = make().with_provenance(config={'condense': asked})
  assert made.sizes == ((1, 2) if sizes == [1, 2] else (2,))
  assert made.first(1).sizes == (1,)


def test_loading_gives_what_was_saved(tmp_path):
  path = tmp_path / 'synthetic.npz'
  make().save(path)
  assert_equal(SyntheticSet.load(path), make())
  assert_equal(SyntheticSet.load(str(path)), make())


def test_equal_sets_give_equal_bytes(tmp_path):
  first, second = tmp_path / 'first.npz', tmp_path / 'second.npz'
  make().save(first)
  make().save(second)
  assert first.read_bytes() == second.read_bytes()
  make().with_provenance(seed=4).save(second)
  assert first.read_bytes() != second.read_bytes()


def test_numpy_alone_reads_the_file(tmp_path):
  make().save(tmp_path / 'synthetic.npz')
  arrays = arrays_of(tmp_path / 'synthetic.npz')
  np.testing.assert_array_equal(arrays['images'], make().images)
  np.testing.assert_array_equal(arrays['images_uint8'], make().images_uint8)
  assert arrays['images_uint8'].dtype == np.uint8
  assert arrays['labels'].tolist() == [0, 0, 1, 1]
  assert arrays['class_names'].tolist() == ['cat', 'Vögel']
  assert arrays['mean'].tolist() == [0.5]
  assert json.loads(str(arrays['provenance'])) == {'seed': 3, 'config': {}}


def test_pytorch_takes_the_arrays_as_they_are(tmp_path):
  made = dataclasses.replace(make(), mean=(0.1 / 3,), std=(0.7 / 3,))
  made.save(tmp_path / 'synthetic.npz')
  arrays = arrays_of(tmp_path / 'synthetic.npz')
  kinds = {name: arrays[name].dtype.name for name in arrays}
  assert kinds['images'] == kinds['mean'] == kinds['std'] == 'float32'
  assert kinds['labels'] == kinds['targets'] == 'int64'
  loaded = SyntheticSet.load(tmp_path / 'synthetic.npz')
  assert (loaded.mean, loaded.std) == (made.mean, made.std)
  assert loaded.fingerprint() == made.fingerprint()


@pytest.mark.parametrize('written', [1, 2])
def test_files_of_earlier_versions_are_read(tmp_path, written):
  path = tmp_path / 'synthetic.npz'
  made = dataclasses.replace(make(), mean=(0.1 / 3,), std=(0.7 / 3,))
  made.save(path)
  arrays = arrays_of(path)
  mean, std = arrays.pop('statistics')
  arrays |= {'format': np.int32(written), 'mean': mean, 'std': std}
  arrays['labels'] = arrays['labels'].astype(np.int32)
  arrays['targets'] = arrays['targets'].astype(np.int32)
  if written == 1:
    del arrays['targets'], arrays['storage']
  with open(path, 'wb') as file:
    np.savez(file, **arrays)
  assert_equal(SyntheticSet.load(path), made)


def test_an_edited_mean_counts(tmp_path):
  path = tmp_path / 'synthetic.npz'
  make().save(path)
  arrays = arrays_of(path) | {'mean': np.array([0.25], np.float32)}
  with open(path, 'wb') as file:
    np.savez(file, **arrays)
  assert SyntheticSet.load(path).mean == (0.25,)


def test_an_interrupted_save_leaves_the_old_file(tmp_path):
  path = tmp_path / 'synthetic.npz'
  make().save(path)
  before = path.read_bytes()

  def write_half(file):
    file.write(before[: len(before) // 2])
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    write_atomically(path, write_half)
  assert path.read_bytes() == before
  assert [file.name for file in tmp_path.iterdir()] == ['synthetic.npz']


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(InputError, match='no synthetic set at .*nowhere'):
    SyntheticSet.load(tmp_path / 'nowhere.npz')


def damage(whole, kind):
  """Returns the bytes of a file that was damaged or never was a set."""
  if kind == 'truncated':
    return whole[: len(whole) // 2]
  if kind == 'flipped':
    middle = whole.index(b'images.npy') + 200
    return whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
  return {'empty': b'', 'text': b'hello', 'array': array_file()}[kind]


def array_file():
  import io

  file = io.BytesIO()
  np.save(file, np.zeros(3))
  return file.getvalue()


@pytest.mark.parametrize(
  'kind', ['truncated', 'flipped', 'empty', 'text', 'array']
)
def test_a_file_that_is_no_whole_npz_is_refused(tmp_path, kind):
  path = tmp_path / 'synthetic.npz'
  make().save(path)
  path.write_bytes(damage(path.read_bytes(), kind))
  with pytest.raises(InputError, match='synthetic.npz'):
    SyntheticSet.load(path)


def test_a_folder_is_refused(tmp_path):
  with pytest.raises(InputError, match='cannot be read'):
    SyntheticSet.load(tmp_path)


@pytest.mark.parametrize(
  'changes',
  [
    {'images': np.zeros((4, 2, 3), np.float32)},
    {'images': np.zeros((4, 2, 3, 1), np.float64)},
    {'images': np.zeros((3, 2, 3, 1), np.float32)},
    {'images': np.zeros((4, 2, 3, 2), np.float32)},
    {'images': np.zeros((0, 2, 3, 1), np.float32), 'labels': np.zeros(0)},
    {'labels': np.array([0, 0, 1, 2])},
    {'labels': np.array([0, 0, 1, -1])},
    {'labels': np.array(['a', 'b', 'c', 'd'])},
    {'labels': np.array([0.5, 0, 1, 1])},
    {'images': np.full((4, 2, 3, 1), np.nan, np.float32)},
    {'std': np.array([0.0], np.float32)},
    {'mean': np.array([0.5, 0.5])},
    {'mean': np.array(['0.5'])},
    {'std': np.array(0.5)},
    {'labels': np.array([0, 0, 1, None])},
    {'class_names': np.array([{}, {}])},
  ],
  ids=str,
)
def test_arrays_that_are_no_synthetic_set_are_refused(tmp_path, changes):
  path = tmp_path / 'synthetic.npz'
  make().save(path)
  arrays = arrays_of(path) | changes
  with open(path, 'wb') as file:
    np.savez(file, **arrays)
  with pytest.raises(InputError, match='synthetic.npz'):
    SyntheticSet.load(path)


@pytest.mark.parametrize(
  ('images', 'labels', 'message'),
  [
    (np.zeros((2, 4, 4, 1), np.uint8), [0, 1], 'normalised floats .* uint8'),
    (np.zeros((2, 4, 4), np.float32), [0, 1], r'floats \[N, H, W, D\], got'),
    (np.zeros((2, 4, 4, 1)), [0.0, 1.0], 'an integer for each of 2 images'),
    (np.zeros((2, 4, 4, 1)), [0], 'an integer for each of 2 images'),
  ],
)
def test_images_of_another_kind_are_no_set(images, labels, message):
  with pytest.raises(InputError, match=message):
    SyntheticSet.from_images(
      images, np.array(labels), (0.5,), (0.25,), ('a', 'b')
    )


def test_a_set_made_of_lists_is_a_set(tmp_path):
  images = np.zeros((2, 4, 4, 1), np.float32)
  made = SyntheticSet.from_images(
    images, np.array([0, 1]), [0.5], [0.25], ['a', 'b']
  )
  path = tmp_path / 'folder that is not there' / 'set.npz'
  made.save(path)
  assert SyntheticSet.load(path).fingerprint() == made.fingerprint()
  jax.jit(lambda each: each.images.sum())(made)  # Its fields can be hashed.


# Probabilities of two classes: of four images, and of the tiles of each.
BY_IMAGE = np.array([[1, 0], [0.75, 0.25], [0.5, 0.5], [0, 1]], np.float32)
BY_TILE = np.stack([BY_IMAGE, BY_IMAGE[::-1], 1 - BY_IMAGE, BY_IMAGE], axis=1)


def make_soft(targets, storage='plain'):
  """Four stored images of 4 × 4 with such targets."""
  images = np.random.RandomState(0).normal(0, 1, (2, 2, 4, 4, 1))
  made = SyntheticSet.from_classes(
    jnp.asarray(images, jnp.float32), DATA, {'seed': 3}, storage
  )
  return dataclasses.replace(made, targets=jnp.asarray(targets))


SOFT = [
  make_soft(BY_IMAGE),
  make_soft(BY_IMAGE, 'tiles:2'),
  make_soft(BY_TILE, 'tiles:2'),
]
KINDS = ['plain', 'of stored images', 'of tiles']


@pytest.mark.parametrize('soft', SOFT, ids=KINDS)
def test_probabilities_are_kept(tmp_path, soft):
  path = tmp_path / 'synthetic.npz'
  soft.save(path)
  loaded = SyntheticSet.load(path)
  assert_equal(loaded, soft)
  assert loaded.targets.dtype == jnp.float32
  assert loaded.fingerprint() == soft.fingerprint()
  whole = path.read_bytes()
  loaded.save(path)
  assert path.read_bytes() == whole


@pytest.mark.parametrize('soft', SOFT, ids=KINDS)
def test_each_training_image_has_probabilities(soft):
  copies = len(soft.images) // 4
  expected = soft.targets
  if soft.targets.ndim == 2:
    expected = np.stack([soft.targets] * copies, axis=1)
  assert soft.training_targets.shape == (4 * copies, 2)
  for n in range(4):
    rows = soft.training_targets[n * copies : (n + 1) * copies]
    np.testing.assert_array_equal(rows, expected[n])
  plain = soft.as_plain()
  np.testing.assert_array_equal(plain.targets, soft.training_targets)
  np.testing.assert_array_equal(plain.training_targets, plain.targets)
  assert plain.fingerprint() == soft.fingerprint()


def test_tiles_go_where_their_image_goes():
  tiled = SOFT[2]
  np.testing.assert_array_equal(tiled.first(1).targets, BY_TILE[[0, 2]])
  taken = tiled.take(np.array([3, 1]))
  np.testing.assert_array_equal(taken.targets, BY_TILE[[3, 1]])
  np.testing.assert_array_equal(
    taken.training_targets, BY_TILE[[3, 1]].reshape(8, 2)
  )
  assert taken.fingerprint() != tiled.take(np.array([1, 3])).fingerprint()


def test_other_probabilities_are_another_set():
  others = [SOFT[2], make_soft(BY_TILE[:, ::-1], 'tiles:2'), SOFT[1]]
  assert len({each.fingerprint() for each in others}) == 3


def test_probabilities_are_leaves():
  leaves, tree = jax.tree.flatten(SOFT[2])
  assert [leaf.shape for leaf in leaves] == [(4, 4, 4, 1), (4,), (4, 4, 2)]
  again = jax.tree.unflatten(tree, leaves)
  np.testing.assert_array_equal(again.training_targets, BY_TILE.reshape(16, 2))


@pytest.mark.parametrize(
  'targets',
  [
    BY_TILE[:3],  # Of fewer images,
    BY_TILE[:, :3],  # tiles
    BY_TILE[..., :1],  # or classes.
    BY_TILE[..., None],
    BY_TILE.swapaxes(1, 2),
    BY_TILE.reshape(16, 2),
    BY_TILE.astype(int),
    np.where(np.arange(2) == 0, np.nan, BY_TILE),
    np.where(np.arange(2) == 0, np.inf, BY_TILE),
    BY_TILE * 0.9,
    BY_TILE + np.array([0.5, -0.5], np.float32),
    np.array([0, 0, 1, 2]),
    np.array([0.0, 0, 1, 1]),
  ],
)
def test_damaged_targets_are_refused(tmp_path, targets):
  path = tmp_path / 'synthetic.npz'
  SOFT[2].save(path)
  arrays = arrays_of(path) | {'targets': targets}
  with open(path, 'wb') as file:
    np.savez(file, **arrays)
  with pytest.raises(InputError, match='not a whole synthetic set: .*targets'):
    SyntheticSet.load(path)


def test_probabilities_of_tiles_go_with_tiles(tmp_path):
  path = tmp_path / 'synthetic.npz'
  make_soft(BY_TILE).save(path)  # Whose storage holds one image each.
  with pytest.raises(InputError, match='not a whole synthetic set: .*targets'):
    SyntheticSet.load(path)


def test_missing_arrays_are_named(tmp_path):
  path = tmp_path / 'synthetic.npz'
  make().save(path)
  arrays = arrays_of(path)
  del arrays['labels'], arrays['mean']
  with open(path, 'wb') as file:
    np.savez(file, **arrays)
  with pytest.raises(InputError, match='lacks labels, mean'):
    SyntheticSet.load(path)
