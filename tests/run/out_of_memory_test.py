"""A device without memory: one line, and the same command goes on."""

import jax
import jax.numpy as jnp
import pytest

from dm_jax.errors import InputError
from dm_jax.run import team
from dm_jax.run.out_of_memory import told_in_one_line

CONDENSE = (
  '--config.condense.classes_at_once=1',
  '--config.condense.micro_batch=8',
  '--config.condense.rematerialise=True',
  '--config.data.placement=host',
)
EVALUATE = '--config.evaluate.networks_at_once=1'


def take_all(*_, **__):
  """Asks for more memory than any address has."""
  return jax.block_until_ready(jnp.zeros(2**60, jnp.uint8))


@pytest.fixture
def launch(make_config, save_arrays, execute_in, tmp_path):
  """A function of a mode and settings that does what the command does."""
  save_arrays(tmp_path / 'images.npz')

  def launch(mode, **changes):
    config = make_config(
      **{'data.dir': str(tmp_path / 'images.npz'), **changes}
    )
    execute_in(str(tmp_path / 'run'), mode, config.to_dict())

  return launch


def test_a_run_ends_in_one_line_and_goes_on_with_what_it_names(
  launch, monkeypatch, tmp_path
):
  with monkeypatch.context() as patch:
    patch.setattr(team, 'condense_classes', take_all)
    with pytest.raises(SystemExit) as stop:
      launch('condense')
  line = str(stop.value.code)
  assert line.startswith(
    'error: a device has no memory left (RESOURCE_EXHAUSTED: Out of memory'
  )
  assert '\n' not in line
  assert all(flag in line for flag in (*CONDENSE, EVALUATE))
  launch(
    'condense',
    **{
      'condense.classes_at_once': 1,
      'condense.micro_batch': 8,
      'condense.rematerialise': True,
      'data.placement': 'host',
      'evaluate.networks_at_once': 1,
    },
  )
  assert (tmp_path / 'run' / 'synthetic.npz').is_file()


@pytest.mark.parametrize('mode', ['evaluate', 'score'])
def test_where_a_set_is_given_only_evaluations_setting_is_named(mode):
  refused = pytest.raises(InputError, match=EVALUATE)
  with refused as error, told_in_one_line(mode):
    take_all()
  assert not any(flag in str(error.value) for flag in CONDENSE)


def test_other_errors_of_jax_show_where_they_come_from():
  kind = jax.errors.JaxRuntimeError
  with pytest.raises(kind, match='^INTERNAL'), told_in_one_line('run'):
    raise kind('INTERNAL: RESOURCE_EXHAUSTED')
