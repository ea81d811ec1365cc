"""Fills the tables of the pages from the records under benchmarks/records/.

  python benchmarks/pages.py

A table stands between `<!-- record: NAME -->` and `<!-- end -->`; nothing there
is typed by hand, so that a page cannot say what no record says.
"""

from collections.abc import Callable
from pathlib import Path
import re
from typing import Any

from absl import app

from benchmarks import kernel_table
from benchmarks.results_table import make_table
from dm_jax.errors import InputError, choose
from dm_jax.files import read_json, write_atomically
from dm_jax.report.ladder import ladder_table
from dm_jax.report.rungs import from_record
from dm_jax.report.table import Table
from dm_jax.run.command import exit_in_one_line

ROOT = Path(__file__).resolve().parents[1]
PAGES = ('README.md', 'benchmarks/README.md')
# By the record's name: what makes its table.
TABLES: dict[str, Callable[[dict[str, Any]], Table]] = {
  'recipe_cpu': make_table,
  'kernels_condense_h100': kernel_table.make_table,
  'kernels_train_h100': kernel_table.make_table,
  'ladder_cpu': lambda record: ladder_table(from_record(record)),
}
_BLOCK = re.compile(r'(<!-- record: (\w+) -->\n).*?(<!-- end -->)', re.S)


def fill(text: str, root: Path = ROOT) -> str:
  """Returns a page with the tables of the records in their places.

  Args:
    text: of the page.
    root: has benchmarks/records.

  Raises:
    InputError: no table is known by a name, or its record is not there.
  """

  def block(match: re.Match) -> str:
    name = match[2]
    choose('record', name, TABLES)
    record = read_json(root / f'benchmarks/records/{name}.json')
    if not record:
      raise InputError(f'there is no record {name}: measure it first')
    # The page says in its own words what the title says.
    _, _, body = TABLES[name](record).as_markdown().partition('\n\n')
    return f'{match[1]}\n{body}\n\n{match[3]}'

  return _BLOCK.sub(block, text)


def main(_: list[str]) -> None:
  with exit_in_one_line(InputError, OSError):
    for name in PAGES:
      page = ROOT / name
      old = page.read_text('utf-8')
      new = fill(old).encode()
      if new != old.encode():
        write_atomically(page, lambda file, new=new: file.write(new))
        print(f'filled: {name}')


if __name__ == '__main__':
  app.run(main)
