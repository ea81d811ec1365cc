"""The tables of `kernel_sheet.py`, made of its records alone."""

from typing import Any

from dm_jax.report.table import Table

_PRECISIONS = {'tf32': 'TF32', 'float32': 'float32', 'bfloat16': 'bfloat16'}


def make_table(record: dict[str, Any]) -> Table:
  """Returns a row for each arrangement that was counted.

  Args:
    record: of condensing or of training steps, as `what` says.
  """
  of_each = {'condense': _condense_cells, 'train': _train_cells}
  cells = [of_each[record['what']](row) for row in record['rows']]
  (columns,) = {tuple(row) for row in cells}
  return Table(
    f'Counted for one {record["device"]["name"]}, width {record["width"]}',
    columns,
    [tuple(row.values()) for row in cells],
  )


def _condense_cells(row: dict[str, Any]) -> dict[str, str]:
  return {
    'Classes': str(row['classes']),
    'Images per class': str(row['images_per_class']),
    'Classes embedded together': str(row['embedded']),
    'Synthetic images together': str(row['differentiated']),
    **_counts(row),
    **{
      f'Bound, {said}, ms': f'{1e3 * row["bounds"][name]:.2f}'
      for name, said in _PRECISIONS.items()
    },
  }


def _train_cells(row: dict[str, Any]) -> dict[str, str]:
  return {
    'Images per class': str(row['images_per_class']),
    'Networks': str(row['networks']),
    'Way': row['way'],
    **_counts(row),
    **{
      f'Bound per network, {said}, ms': (
        f'{1e3 * row["bounds"][name] / row["networks"]:.3f}'
      )
      for name, said in _PRECISIONS.items()
      if name in row['bounds']  # Training knows no bfloat16.
    },
  }


def _counts(row: dict[str, Any]) -> dict[str, str]:
  return {
    'Kernels': f'{row["kernels"]:,.0f}',
    'GB': f'{row["bytes"] / 1e9:.2f}',
    'TFLOP': f'{row["flops"] / 1e12:.3f}',
  }
