"""How the programs of benchmarks/ read their flags."""

from absl import flags
import pytest

from benchmarks.start import whole_numbers
from dm_jax.errors import InputError


def numbers(text, count=0):
  values = flags.FlagValues()
  flag = flags.DEFINE_list('sizes', None, 'Some.', flag_values=values)
  values(['program', f'--sizes={text}'])
  return whole_numbers(flag, count)


def test_a_list_of_whole_numbers_is_read():
  assert numbers('1,10,50') == (1, 10, 50)
  assert numbers('3,2', count=2) == (3, 2)


@pytest.mark.parametrize(
  ('text', 'count'),
  [('1,x', 0), ('0', 0), ('1.5', 0), ('-1', 0), ('1,2,3', 2), ('', 1)],
)
def test_anything_else_is_refused_by_its_flag(text, count):
  with pytest.raises(InputError, match='--sizes must be .* from 1 up'):
    numbers(text, count)
