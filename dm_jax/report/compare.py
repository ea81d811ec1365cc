"""Finished runs of one data set in one table, beside the paper's figures."""

from collections.abc import Iterator, Sequence
import dataclasses
import os
from pathlib import Path

from dm_jax.errors import InputError
from dm_jax.files import full_path, write_atomically
from dm_jax.records.evaluations import Evaluation
from dm_jax.report import paper
from dm_jax.report.finished_run import FinishedRun
from dm_jax.report.sizes import JPEG, NOTE, shown_bytes
from dm_jax.report.table import Table
from dm_jax.words import plural, settings_told

# In the paper's order.
_TITLES = {
  'random': 'Random',
  'random_full': 'Random, whole',
  'random_jpeg': 'Random, JPEG',
  'herding': 'Herding',
  'k_center': 'K-Center',
  'forgetting': 'Forgetting',
  'dm': 'DM',
  'released': 'Released',
  'whole': 'Whole set',
}


@dataclasses.dataclass(frozen=True)
class Cell:
  """One of our figures and where it comes from.

  Attributes:
    evaluation: the figure.
    workdir: of its run.
    command: that started the run.
    seed: of the run.
  """

  evaluation: Evaluation
  workdir: Path
  command: str
  seed: int


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Runs side by side.

  Attributes:
    table: a row for each number of images per class.
    cells: our figures in it.
  """

  table: Table
  cells: tuple[Cell, ...]


def compare(workdirs: Sequence[str | os.PathLike[str]]) -> Comparison:
  """Lays finished runs side by side.

  A figure of a run's own method goes before another run's baseline; of equal
  baselines in several runs, the first run's is taken.

  Args:
    workdirs: of finished runs on one data set. Of each, the first network of
      the evaluation pool is compared.

  Returns:
    The table and the runs' figures in it.

  Raises:
    InputError: a run is missing, not finished, on other data, or gives the same
      figure as another.
  """
  if not workdirs:
    raise InputError(
      'nothing to compare: give finished runs, --workdirs=runs/a,runs/b'
    )
  runs = [
    FinishedRun.read(full_path(folder, '--workdirs')) for folder in workdirs
  ]
  for run in runs[1:]:
    _check_same_data(runs[0], run)
  cells = _cells(runs)
  data = _paper_name(runs[0])
  sizes = sorted({size for _, size in cells if size is not None}) or [None]
  columns = [
    column
    for method in _TITLES
    for column in _columns(method, sizes, cells, data)
  ]
  per_class = [
    ['–' if size is None else f'{size:,}' for size in sizes],
    [shown_bytes(runs[0].results, 'dm', size) for size in sizes],
  ]
  table = Table(
    f'{runs[0].data[0]}: accuracy on the test set in %, ours and the paper',
    ('Images per class', 'Bytes', *(heading for heading, *_ in columns)),
    tuple(zip(*per_class, *(rest for _, *rest in columns), strict=True)),
    (
      *_paper_notes(data, {heading for heading, *_ in columns}),
      NOTE,
      *_method_notes(runs),
      *_label_notes(runs),
      *(_run_note(run, cells) for run in runs),
    ),
  )
  return Comparison(table, tuple(cells.values()))


def write(
  comparison: Comparison, folder: str | os.PathLike[str]
) -> tuple[Path, ...]:
  """Writes table.txt, table.md and table.tex.

  Args:
    comparison: as from `compare`.
    folder: made if need be.

  Returns:
    The files' paths.

  Raises:
    InputError: the folder cannot be written.
  """
  table, folder = comparison.table, full_path(folder, '--workdir')
  texts = {
    folder / 'table.txt': table.as_text(),
    folder / 'table.md': table.as_markdown(),
    folder / 'table.tex': table.as_latex(),
  }
  try:
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
      data = f'{text}\n'.encode()
      write_atomically(path, lambda file, data=data: file.write(data))
  except OSError as error:
    raise InputError(
      f'{folder} cannot be written ({error.strerror}): choose another folder'
    ) from error
  return tuple(texts)


def show(workdirs: Sequence[str], folder: str) -> None:
  """Prints the table of finished runs, and writes it if a folder is given.

  Raises:
    InputError: as `compare` and `write`.
  """
  comparison = compare(workdirs)
  print(comparison.table.as_text())
  if folder:
    for path in write(comparison, folder):
      print(f'written: {path}')


def _check_same_data(one: FinishedRun, other: FinishedRun) -> None:
  if one.data == other.data:
    return
  # The names alone may be the same: folder, npz, or another version.
  shown = [
    f'{run.folder} is on {run.data[0]} ({run.data[1][:12]})'
    for run in (one, other)
  ]
  raise InputError(
    f'{", ".join(shown)}: compare runs on one data set at a time'
  )


def _cells(runs: list[FinishedRun]) -> dict[tuple[str, int | None], Cell]:
  """Returns our figures by method and size."""
  cells: dict[tuple[str, int | None], Cell] = {}
  for run in runs:
    for evaluation in run.evaluations:
      key = evaluation.method, evaluation.images_per_class
      if evaluation.method == run.method:
        if key in cells:
          raise InputError(
            f'{cells[key].workdir} and {run.folder} both give {evaluation.name}'
            ': leave one out'
          )
        cells[key] = Cell(evaluation, run.folder, run.command, run.seed)
  for run in runs:
    for evaluation in run.evaluations:
      key = evaluation.method, evaluation.images_per_class
      cells.setdefault(key, Cell(evaluation, run.folder, run.command, run.seed))
  return cells


def _paper_name(run: FinishedRun) -> str:
  """Returns under which name the paper would have the run's data.

  '' where they are other classes than the paper's, or of another size.
  """
  name, data = run.data[0], run.results.data
  if name in ('folder', 'npz', 'parquet', 'hf') or name.startswith('hf:'):
    # Files have no name of their own; their statistics may tell the set.
    name = run.config['data'].get('statistics') or name
  classes, shape = paper.IMAGES.get(name, (data.classes, data.image_shape))
  same_classes = data.classes in (None, classes)
  same_shape = data.image_shape in ((), shape)
  return name if same_classes and same_shape else ''


def _columns(method, sizes, cells, data) -> list[list[str]]:
  """Returns heading and cells of ours and of the paper's, where there are."""
  ours, printed = [], []
  for size in sizes:
    cell = cells.get((method, None if method == 'whole' else size))
    figure = paper.find(data, method, size)
    ours.append('–' if cell is None else str(cell.evaluation))
    printed.append('–' if figure is None else _printed(figure))
  title = _TITLES[method]
  both = [[f'{title}, ours', *ours], [f'{title}, paper', *printed]]
  return [column for column in both if set(column[1:]) != {'–'}]


def _printed(figure: paper.Figure) -> str:
  accuracy, deviation = figure
  return f'{accuracy}' if deviation is None else f'{accuracy} ± {deviation}'


def _paper_notes(data: str, headings: set[str]) -> list[str]:
  if data not in paper.TABLE:
    return ['The paper has no figures for this data set.']
  notes = [
    f'Paper: {paper.SOURCE}, at its own budget ({paper.BUDGET}). Ours: at the'
    ' budget of each run below; a smaller one is no reproduction.'
  ]
  if data in paper.RANDOM_AUGMENTED:
    figures = ', '.join(
      f'{_printed(figure)} at {size}'
      for size, figure in paper.RANDOM_AUGMENTED[data].items()
    )
    notes.append(
      'Random real images, trained on with the same augmentation:'
      f' {figures} images per class.'
    )
  if {'Random, ours', 'Random, paper'} <= headings:
    notes.append(
      "Ours of random images are trained with the protocol's augmentation, the"
      " paper's beside them without."
    )
  return notes


def _teacher(networks: int) -> str:
  count = f' ({plural(networks, "network")})' if networks else ''
  return f'labels from a teacher{count}'


def _method_notes(runs: list[FinishedRun]) -> Iterator[str]:
  """Tells runs whose images are made otherwise than the paper's."""
  for run in runs:
    changed = paper.otherwise(run.config)
    if run.method == 'dm' and run.results.only_judged:
      yield (
        f"The set in {run.folder} was made elsewhere, maybe not by the paper's"
        ' DM: its provenance tells.'
      )
    elif run.method == 'dm' and changed:
      yield (
        f"DM in {run.folder} is not the paper's, which it stands beside:"
        f' {settings_told(changed)}.'
      )
    storage = changed.get('condense.storage')
    if storage and any(e.method == 'random' for e in run.evaluations):
      yield (
        f'Random in {run.folder} are real images stored as {storage}; the'
        " paper's are whole."
      )


def _label_notes(runs: list[FinishedRun]) -> list[str]:
  """Tells runs whose labels are probabilities from those of classes."""
  soft = [run for run in runs if run.results.teachers is not None]
  if not soft:
    return []
  folders = ', '.join(str(run.folder) for run in soft)
  others = 'the paper' if len(soft) == len(runs) else 'the other runs and paper'
  return [
    f'Labels in {folders} are probabilities from a teacher, which lift all but'
    f' the whole set: not to be compared with {others}, whose labels are'
    ' classes.'
  ]


def _run_note(
  run: FinishedRun, cells: dict[tuple[str, int | None], Cell]
) -> str:
  """Says what a run gives the table, at what budget, and its command."""
  given: dict[tuple[str, str], list[str]] = {}
  for cell in cells.values():
    if cell.workdir == run.folder:
      evaluation = cell.evaluation
      size = evaluation.images_per_class
      sizes = given.setdefault((evaluation.method, evaluation.count), [])
      sizes += [] if size is None else [str(size)]
  jpeg = f', {shown_bytes(run.results, JPEG, None)}'
  gives = (
    '; '.join(
      f'{_TITLES[method]}{" at " * bool(sizes)}{", ".join(sizes)}'
      f' ({count}{jpeg * (method == JPEG)})'
      for (method, count), sizes in given.items()
    )
    or 'nothing that another run does not give'
  )
  config = run.config
  protocol = f'{run.results.protocols[0]} protocol'
  facts = [f'network {run.results.pool[0]}']
  if run.method == 'dm':
    facts.append(f'{config["condense"]["steps"]:,} steps')
  facts += [
    f'{config["evaluate"]["epochs"]:,} epochs',
    protocol * (protocol != 'dm protocol'),
    f'seed {run.seed}',
    run.results.device,
  ]
  if run.results.teachers is not None:
    facts.insert(-1, _teacher(run.results.teachers))
  return (
    f'{run.folder}: {gives}; {", ".join(filter(None, facts))}; {run.command}'
  )
