"""Fills the tables and figures of the pages from benchmarks/records/.

  python benchmarks/pages.py

They stand between `<!-- record: NAME -->` and `<!-- end -->`; nothing there is
typed by hand, so that a page cannot say what no record says. What is planned
and has no record yet is `not measured`.
"""

from collections.abc import Callable
import functools
from pathlib import Path
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import kernel_table
from benchmarks.application_tables import application_figure, planned_table
from benchmarks.planned_tables import (
  NOT_MEASURED,
  Plan,
  baselines_table,
  cells_table,
  commands_table,
)
from benchmarks.start import start
from benchmarks.targets_table import RECORD as TARGETS
from benchmarks.targets_table import targets_table
from benchmarks.time_to_accuracy import curves_of, curves_table
from dm_jax.errors import InputError, choose
from dm_jax.files import read_json, write_text
from dm_jax.report.figures import over_seconds, save_figure
from dm_jax.report.ladder import ladder_figure, ladder_table
from dm_jax.report.rungs import from_record
from dm_jax.report.table import Table
from dm_jax.words import format_seconds

if TYPE_CHECKING:
  from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
  'README.md',
  'docs/results.md',
  'docs/applications.md',
  'benchmarks/README.md',
)
# By the record's name: what makes its table.
TABLES: dict[str, Callable[[dict[str, Any]], Table]] = {
  'kernels_condense_h100': kernel_table.make_table,
  'kernels_train_h100': kernel_table.make_table,
  'ladder_cpu': lambda record: ladder_table(from_record(record)),
}
# Of the plan applications: the groups of its cells, by the name of the block.
APPLICATIONS = {
  'continual_mnist': 'CONTINUAL_MNIST',
  'continual_tiny': 'CONTINUAL_TINY',
  'search_mnist': 'SEARCH_MNIST',
}
_RECORDS = 'benchmarks/records'
_FIGURE = 'figure_'  # Begins a block of one of `FIGURES`.
_BLOCK = re.compile(r'(<!-- record: (\w+) -->\n).*?(<!-- end -->)', re.S)


def _plan(name: str, root: Path) -> Plan:
  return Plan.read(name, root / _RECORDS)


def _cells(name: str, wanted: Callable[[str], bool], root: Path) -> Table:
  plan = _plan(name, root)
  return cells_table(plan, [*filter(wanted, plan.module.CELLS)])


def _group(name: str, root: Path) -> Table:
  """Returns the table of a group of cells of the plan cpu."""
  plan = _plan('cpu', root)
  return cells_table(plan, [*getattr(plan.module, name)])


def _measured(name: str, root: Path) -> Table:
  """Returns those cells of a group that have been run, or all if none has."""
  plan = _plan('cpu', root)
  group = [*getattr(plan.module, name)]
  run = [cell for cell in group if cell in plan.cells]
  return cells_table(plan, run or group)


def _with_baselines(name: str, root: Path) -> Table:
  plan = _plan('cpu', root)
  return baselines_table(plan, [*getattr(plan.module, name)])


def _application(name: str, root: Path) -> Table:
  plan = _plan('applications', root)
  return planned_table(plan, [*getattr(plan.module, APPLICATIONS[name])])


def _applied_figure(name: str, root: Path) -> 'Figure | None':
  plan = _plan('applications', root)
  group = getattr(plan.module, APPLICATIONS[name])
  return application_figure(plan.cells[n] for n in group if n in plan.cells)


def _checks(root: Path) -> Table:
  return commands_table(_plan('gpu', root), 'check_', {'Result': _passed})


def _passed(figures: dict[str, Any]) -> str:
  accuracies = figures.get('accuracies')
  if accuracies:
    return '; '.join(
      f'{name}: {100 * sum(values) / len(values):.1f} %'
      for name, values in accuracies.items()
    )
  return 'passed' if figures['passed'] else 'failed'


def _speed(root: Path) -> Table:
  headings = {
    'A step': lambda f: format_seconds(_first(f, 'dm_jax_seconds')),
    'Share of the matrix rate': _share,
    'A step in PyTorch': lambda f: (
      format_seconds(_first(f, 'torch_seconds')) if 'figures' in f else '–'
    ),
  }
  return commands_table(_plan('gpu', root), 'speed_', headings)


def _first(figures: dict[str, Any], name: str) -> float:
  """Returns a step's seconds: beside PyTorch the first measurement's."""
  if 'figures' in figures:
    return figures['figures'][0][name]
  return figures['seconds_per_step']


def _share(figures: dict[str, Any]) -> str:
  share = figures.get('share_of_matrix_rate')
  return '–' if share is None else f'{100 * share:.0f} %'


def _peer_recipe(root: Path) -> Table:
  """Returns how long a step of the recipe takes beside PyTorch, by width."""
  rows, notes = [], []
  for width in (32, 128):
    name = f'peer_recipe_cpu_width_{width}'
    record = read_json(root / _RECORDS / f'{name}.json')
    if not record:
      rows.append((str(width), *[NOT_MEASURED] * 3, '–'))
      continue
    (figures,) = record['figures']
    rows.append(
      (
        str(width),
        format_seconds(figures['dm_jax_seconds']),
        format_seconds(figures['torch_seconds']),
        f'{figures["ratio"]:.2f}',
        str(len(figures['torch_rounds'])),
      )
    )
    versions = record['versions']
    notes.append(
      f'Width {width}: {record["device"]}, jax {versions["jax"]}, torch'
      f' {versions["torch"]}.'
    )
  return Table(
    'A step of the recipe beside PyTorch',
    ('Width', 'dm_jax', 'PyTorch', 'dm_jax / PyTorch', 'Rounds'),
    rows,
    notes,
  )


def _precision(root: Path) -> Table:
  """Returns how long a step takes on a CPU, by the type that embeds."""
  rows, notes = [], []
  for name in ('float32', 'bfloat16'):
    record = read_json(root / _RECORDS / f'precision_{name}_cpu.json')
    if not record:
      rows.append((name, NOT_MEASURED, '–'))
      continue
    compiled = format_seconds(record['compile_seconds'])
    # Less than a second: two such would look alike.
    step = f'{1e3 * record["seconds_per_step"]:,.0f} ms'
    rows.append((name, step, compiled))
    notes = [f'{record["device"]}, jax {record["versions"]["jax"]}.']
  return Table(
    'A step on a CPU by precision',
    ('Precision', 'A step', 'Compiling'),
    rows,
    notes,
  )


def _targets(root: Path) -> Table:
  return targets_table(read_json(root / _RECORDS / f'{TARGETS}.json'))


def _over_time(name: str, root: Path) -> Table:
  return curves_table(_plan(name, root))


def _ends(*kinds: str) -> Callable[[str], bool]:
  return lambda name: name.endswith(tuple(f'_{kind}' for kind in kinds))


# By the block's name: what makes its table of the folder of all.
PLANNED: dict[str, Callable[[Path], Table]] = {
  'paper_cells_cpu': functools.partial(_group, 'PAPER'),
  'paper_cells_measured': functools.partial(_measured, 'PAPER'),
  'paper_cells_gpu': functools.partial(_cells, 'gpu', lambda name: True),
  'recipe_beside_dm': functools.partial(
    _cells, 'recipe', _ends('recipe', 'dm')
  ),
  'equal_bytes': functools.partial(
    _cells, 'recipe', _ends('recipe', 'tiles', 'random', 'jpeg')
  ),
  'across': functools.partial(_cells, 'recipe', _ends('across')),
  'short_runs': functools.partial(_with_baselines, 'SHORT'),
  'small_images': functools.partial(_with_baselines, 'SMALL'),
  'many_classes': functools.partial(_group, 'MANY'),
  'checks_gpu': _checks,
  'speed_gpu': _speed,
  'peer_recipe': _peer_recipe,
  'precision_cpu': _precision,
  'targets': _targets,
  'time_to_accuracy_cpu': functools.partial(_over_time, 'recipe'),
  'time_to_accuracy_128': functools.partial(_over_time, 'cpu'),
  **{name: functools.partial(_application, name) for name in APPLICATIONS},
}


def _curves(name: str, root: Path) -> 'Figure | None':
  curves = curves_of(_plan(name, root))
  return over_seconds(curves) if curves else None


def _ladder(root: Path) -> 'Figure | None':
  record = read_json(root / _RECORDS / 'ladder_cpu.json')
  return ladder_figure(from_record(record)) if record else None


class Shown(NamedTuple):
  """A figure of the pages.

  Attributes:
    says: what it shows, for those who do not see it.
    draw: makes it of the folder of all; None where no record is.
  """

  says: str
  draw: Callable[[Path], 'Figure | None']


_OVER_SECONDS = 'Accuracy on held-out images over seconds of condensing'
_APPLIED = {
  'continual': 'Accuracy on the classes seen, a line for each kind of memory',
  'search': 'Accuracy in the search against accuracy on the whole set',
}
# By name, which is that of its file in docs/, too.
FIGURES: dict[str, Shown] = {
  'ladder_cifar10_10': Shown(f'{_OVER_SECONDS}, by rung', _ladder),
  'time_to_accuracy_cpu': Shown(
    _OVER_SECONDS, functools.partial(_curves, 'recipe')
  ),
  'time_to_accuracy_128': Shown(
    _OVER_SECONDS, functools.partial(_curves, 'cpu')
  ),
  **{
    f'{name}_by_recipe': Shown(
      _APPLIED[name.partition('_')[0]], functools.partial(_applied_figure, name)
    )
    for name in APPLICATIONS
  },
}


def fill(text: str, root: Path = ROOT) -> str:
  """Returns a page with the tables of the records in their places.

  Args:
    text: of the page.
    root: has benchmarks/records.

  Raises:
    InputError: no block is known by a name, or its record is not there.
  """

  def block(match: re.Match) -> str:
    name = match[2]
    if name.startswith(_FIGURE):
      body = _figure(name.removeprefix(_FIGURE), root)
    else:
      # The page says in its own words what the title says.
      _, _, body = _table(name, root).as_markdown().partition('\n\n')
    return f'{match[1]}\n{body}\n\n{match[3]}'

  return _BLOCK.sub(block, text)


def _table(name: str, root: Path) -> Table:
  if name in PLANNED:
    return PLANNED[name](root)
  choose('record', name, (*TABLES, *PLANNED))
  record = read_json(root / _RECORDS / f'{name}.json')
  if not record:
    raise InputError(f'there is no record {name}: measure it first')
  return TABLES[name](record)


def _figure(name: str, root: Path) -> str:
  """Returns the line that shows a figure of docs/."""
  choose('figure', name, FIGURES)
  drawn = FIGURES[name].draw(root)
  return f'![{FIGURES[name].says}]({name}.png)' if drawn else NOT_MEASURED


def main(_: list[str]) -> None:
  for name in PAGES:
    page = ROOT / name
    old = page.read_text('utf-8')
    new = fill(old)
    if new != old:
      write_text(page, new)
      print(f'filled: {name}')
  for name, shown in FIGURES.items():
    figure = shown.draw(ROOT)
    if figure is not None:
      svg, png = save_figure(figure, ROOT / 'docs', name)
      svg.unlink()  # Pages show the other one.
      print(f'drawn: {png.relative_to(ROOT)}')


if __name__ == '__main__':
  start(main)
