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
