import io
import os
import pickle

import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.pickles import unpickle


@pytest.mark.parametrize('protocol', range(5))
def test_arrays_and_plain_values_come_back(protocol: int) -> None:
  value = {
    b'data': np.arange(12, dtype=np.uint8).reshape(3, 4),
    b'fortran': np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    b'labels': [3, 1, 2],
    b'names': (b'a', 'ü', None, True, 1.5),
  }

  read = unpickle(io.BytesIO(pickle.dumps(value, protocol)))

  np.testing.assert_array_equal(read[b'data'], value[b'data'])
  assert read[b'data'].dtype == np.uint8
  np.testing.assert_array_equal(read[b'fortran'], value[b'fortran'])
  assert read[b'labels'] == [3, 1, 2]
  assert read[b'names'] == value[b'names']


ARRAYS = [
  np.arange(6, dtype='<i4').reshape(2, 3),
  np.arange(6, dtype='>i4').reshape(2, 3),
  np.array([1, 200], np.uint8),
  np.array([[0.5, -1.0]], np.float32),
  np.array([0.5], '>f8'),
  np.array([True, False]),
  np.asfortranarray(np.arange(6.0).reshape(2, 3)),
  np.zeros((0, 3)),
  np.array(2.5),
]


@pytest.mark.parametrize('encoding', ['bytes', 'latin1'])
@pytest.mark.parametrize('protocol', range(5))
def test_arrays_of_numbers_are_plain_ones(protocol, encoding) -> None:
  shared = np.ones(2)
  value = {'some': [*ARRAYS, (shared,)], 'scalar': np.float64(0.5), 'b': shared}

  read = unpickle(io.BytesIO(pickle.dumps(value, protocol)), encoding=encoding)

  *arrays, (inner,) = read['some']
  for found, array in zip(arrays, ARRAYS, strict=True):
    assert type(found) is np.ndarray
    assert found.dtype == array.dtype.newbyteorder('=')  # As NumPy's own.
    np.testing.assert_array_equal(found, array)
  assert read['scalar'] == 0.5
  assert type(read['scalar']) is np.float64
  assert type(inner) is np.ndarray
  assert read['b'] is inner


def test_a_value_may_hold_itself() -> None:
  value: list = [np.ones(1)]
  value.append(value)

  read = unpickle(io.BytesIO(pickle.dumps(value)))

  assert type(read[0]) is np.ndarray
  assert read[1] is read


class _Built:
  """Its pickle asks for a call, and for a state to be set on the result."""

  def __init__(self, *parts):
    self.parts = parts

  def __reduce__(self):
    return self.parts


def _kind(code: str, flags: int) -> _Built:
  """A copied type of values: only such a one takes flags."""
  state = (3, '|', None, None, None, -1, -1, flags)
  return _Built(np.dtype, (code, False, True), state)


def _filled(kind, shape=(1,), data=b'A' * 8) -> _Built:
  make = np.zeros(1).__reduce__()[0]
  return _Built(make, (np.ndarray, (0,), b'b'), (1, shape, kind, False, data))


def _scalar(kind) -> _Built:
  return _Built(np.float64(1).__reduce__()[0], (kind, b'A' * 8))


@pytest.mark.parametrize('make', [_filled, _scalar])
@pytest.mark.parametrize(
  'code', ['O8', 'V8', 'S8', 'U2', 'M8[s]', 'm8', 'i4,f4']
)
def test_what_is_no_number_is_refused(make, code) -> None:
  # Without its flags, NumPy takes bytes of a type of objects for addresses.
  data = pickle.dumps(make(_kind(code, 0)), 2)

  with pytest.raises(InputError, match='only numbers are read') as raised:
    unpickle(io.BytesIO(data))

  assert '\n' not in str(raised.value)


@pytest.mark.parametrize('make', [_filled, _scalar])
def test_the_flags_of_numbers_do_not_count(make) -> None:
  # 63 would say that these are references to objects.
  read = unpickle(io.BytesIO(pickle.dumps(make(_kind('i8', 63)), 2)))

  assert read == int.from_bytes(b'A' * 8)
  assert read.dtype == np.int64
  assert not read.dtype.hasobject


@pytest.mark.parametrize(
  'value',
  [
    _filled(_kind('f8', 0), shape=(2,)),
    _filled(_kind('f8', 0), shape=(-1,)),
    _filled(_kind('f8', 0), shape=(2**40,)),
    _filled(_kind('f8', 0), data=[None]),
    _filled(_kind('f8', 0), data=8),
    _filled('f8'),
    _scalar('f8'),
    _Built(np.ndarray, ((1,), 'O')),
    _Built(bytes, (2**40,)),
  ],
)
def test_crafted_arrays_are_refused(value) -> None:
  with pytest.raises(InputError):
    unpickle(io.BytesIO(pickle.dumps(value, 2)))


def test_python_2_wrote_texts_as_bytes() -> None:
  # (dp0\nS'labels'\n… is what Python 2 wrote by protocol 0.
  read = unpickle(io.BytesIO(b"(dp0\nS'labels'\np1\n(lp2\nI6\naI9\nas."))

  assert read == {b'labels': [6, 9]}


class _Runs:
  """Its pickle asks for a command to be run."""

  def __init__(self, marker: str):
    self.marker = marker

  def __reduce__(self):
    return os.mkdir, (self.marker,)


def test_code_is_named_and_not_run(tmp_path) -> None:
  marker = tmp_path / 'ran'
  data = pickle.dumps({'a': _Runs(str(marker))})

  with pytest.raises(InputError, match=r'posix\.mkdir|nt\.mkdir|os\.mkdir'):
    unpickle(io.BytesIO(data))

  assert not marker.exists()


@pytest.mark.parametrize('data', [b'', b'not a pickle', b'\x80\x04\x95'])
def test_damaged_bytes_are_one_line(data: bytes) -> None:
  with pytest.raises(InputError, match='no whole pickle') as raised:
    unpickle(io.BytesIO(data))

  assert '\n' not in str(raised.value)


def test_a_truncated_pickle_is_one_line() -> None:
  data = pickle.dumps(np.zeros(1000))

  with pytest.raises(InputError, match='no whole pickle'):
    unpickle(io.BytesIO(data[:-200]))


def test_references_to_outside_are_asked_for_or_refused() -> None:
  class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
      return ('storage', 7) if obj == 'outside' else None

  file = io.BytesIO()
  Pickler(file).dump(['outside', 1])

  read = unpickle(io.BytesIO(file.getvalue()), persistent=lambda pid: pid[1])
  assert read == [7, 1]
  with pytest.raises(InputError, match='outside of itself'):
    unpickle(io.BytesIO(file.getvalue()))
