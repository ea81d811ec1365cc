from typing import Any, cast

import pytest

from dm_jax.config.sections import DataConfig
from dm_jax.data.load import load
from dm_jax.errors import InputError


@pytest.mark.parametrize('name', ['digits', 'npz'])
def test_resize_is_refused_where_it_would_do_nothing(name):
  with pytest.raises(InputError, match='data.resize must be None .* got 32'):
    load(DataConfig(name=name, resize=32))


def test_importing_loads_no_heavy_package(run_python):
  code = (
    'import sys, dm_jax.data, dm_jax.data.folder, dm_jax.data.npz, '
    'dm_jax.data.paper_sets, dm_jax.data.parquet, dm_jax.data.hugging_face, '
    'dm_jax.data.tfds_source, dm_jax.data.digits; '
    'heavy = {"tensorflow", "tensorflow_datasets", "sklearn", "PIL", "tqdm", '
    '"pooch", "requests", "pyarrow", "datasets", "scipy.io"}; '
    'print(sorted(heavy & set(sys.modules)))'
  )
  out = run_python(code)
  assert out == '[]\n'


def test_settings_as_a_dict_are_refused():
  with pytest.raises(InputError, match=r'write dm_jax\.DataConfig\(\*\*config'):
    load(cast(Any, {'name': 'digits'}))
