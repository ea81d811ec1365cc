"""Which module may know which: imports point one way."""

import ast
import json
from pathlib import Path
import subprocess
import sys

import pytest

PACKAGE = Path(__file__).parent.parent / 'dm_jax'

# A module imports only from the lines above its own, and from its own package.
LAYERS = [
  [
    'types',
    'version',
    'files',
    'interrupts',
    'tables',
    'paper',
    'messages',
    'quantities',
  ],
  ['settings'],
  [
    'config',
    'metrics',
    'progress',
    'pictures',
    'evaluations',
    'coreset',
    'figures',
  ],
  ['augment', 'discrepancy', 'smoothing', 'data', 'networks'],
  ['matching', 'synthetic_set', 'memory'],
  ['parallel'],
  ['loop', 'step', 'training', 'placement'],
  ['condense', 'pretraining'],
  ['evaluate', 'selection', 'embedder_pool', 'compiling'],
  ['continual', 'architecture_search'],
  ['__init__'],
  # Applications.
  ['application_tables'],
  ['checkpoint', 'report', 'workdir', 'finished_run', 'application_figures'],
  ['recorder', 'processes'],
  ['job', 'comparison'],
  ['team'],
  ['making'],
  ['trials', 'search_run'],
  ['continual_run'],
  ['run'],
]
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
# What keeps and shows a run knows nothing of how it comes about.
KNOWN = {
  'types',
  'synthetic_set',
  'files',
  'metrics',
  'progress',
  'quantities',
  'tables',
  'evaluations',
  'application_tables',
}


def part_of(path: str) -> str:
  """'data.digits' -> 'data'; the parts of the report count as one."""
  name = path.split('.')[0]
  return 'report' if name.startswith('report_') else name


def modules():
  """Yields (file, its part of the package, its syntax tree)."""
  for file in sorted(PACKAGE.rglob('*.py')):
    path = '.'.join(file.relative_to(PACKAGE).with_suffix('').parts)
    yield file, part_of(path), ast.parse(file.read_text())


def imports(tree):
  """Yields every module that is imported, wherever in the file."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.module, 'relative imports are not used'
      yield node.module
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def own_imports(tree):
  """Yields the parts of this package that a module imports."""
  for name in imports(tree):
    first, _, rest = name.partition('.')
    if first == 'dm_jax' and part_of(rest) in RANKS:
      yield part_of(rest)


def test_every_module_has_its_layer():
  parts = {part for _, part, _ in modules()}
  assert parts == set(RANKS), 'put a new module into LAYERS'


def test_imports_point_one_way():
  for file, part, tree in modules():
    for other in set(own_imports(tree)) - {part}:
      assert RANKS[other] < RANKS[part], f'{file.name} imports {other}'


def test_checkpoint_and_report_know_types_and_synthetic_sets_only():
  for file, part, tree in modules():
    if part in ('checkpoint', 'report'):
      unknown = set(own_imports(tree)) - KNOWN - {part}
      assert not unknown, f'{file.name} imports {unknown}'


@pytest.mark.parametrize(
  ('package', 'parts'),
  [
    ('absl.flags', set()),
    ('ml_collections', set()),
    ('configs', set()),
    ('orbax', {'checkpoint'}),
    ('flax', {'networks'}),
    ('tensorflow_datasets', {'data'}),
    ('sklearn', {'data'}),
    ('matplotlib', {'figures'}),
    ('tensorflow', set()),
  ],
)
def test_a_package_is_known_in_one_place(package, parts):
  found = {
    part
    for _, part, tree in modules()
    for name in imports(tree)
    if f'{name}.'.startswith(f'{package}.')
  }
  assert found == parts


def test_pmap_stands_in_parallel_alone():
  found = {
    part
    for _, part, tree in modules()
    for node in ast.walk(tree)
    if isinstance(node, ast.Attribute) and node.attr == 'pmap'
  }
  assert found == {'parallel'}


# Not absl.flags: flax and optax load it themselves.
HEAVY = [
  'matplotlib',
  'ml_collections',
  'orbax',
  'sklearn',
  'tensorboardX',
  'tensorflow',
  'tensorflow_datasets',
]


def test_importing_the_library_loads_nothing_heavy():
  code = 'import dm_jax, json, sys; print(json.dumps(sorted(sys.modules)))'
  command = [sys.executable, '-c', code]
  output = subprocess.run(
    command, cwd=PACKAGE.parent, check=True, capture_output=True, text=True
  )
  loaded = json.loads(output.stdout)
  assert 'jax' in loaded
  assert [name for name in HEAVY if name in loaded] == []
