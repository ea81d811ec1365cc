import importlib
import re

import pytest

from dm_jax.report import paper


@pytest.mark.parametrize('name', list(paper.TABLE))
def test_the_figures_are_those_that_the_configs_tell(name):
  text = importlib.import_module(f'configs.{name}').__doc__ or ''
  (sizes,) = re.findall(r'images per class +(\d.*)', text)
  (printed,) = re.findall(r'(?:paper|published), % +(\d.*)', text)
  told = {}
  for size, figure in zip(sizes.split(), printed.split(), strict=True):
    accuracy, _, deviation = figure.partition('±')
    told[int(size)] = (float(accuracy), float(deviation or 'nan'))
  assert told
  for size, (accuracy, deviation) in told.items():
    figure = paper.find(name, 'dm', size)
    assert figure is not None
    assert figure[0] == accuracy
    assert figure[1] == pytest.approx(deviation) or (
      figure[1] is None and deviation != deviation
    )


def test_the_whole_set_has_one_figure_for_every_size():
  assert paper.find('cifar10', 'whole', 10) == (84.8, None)
  assert paper.find('cifar10', 'whole', None) == (84.8, None)
  assert paper.find('cifar10', 'dm', 7) is None
  assert paper.find('mnist', 'dm', 10) is None
  assert paper.find('fashion_mnist', 'forgetting', 10) is None
