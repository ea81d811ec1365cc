"""Which room may know which: imports point one way."""

import ast
import json
from pathlib import Path
import subprocess
import sys

import pytest

PACKAGE = Path(__file__).parent.parent / 'dm_jax'

# A room is a package, or a file at the top. It imports only from the lines
# above its own, and from itself.
LEVELS = [
  ['errors', 'types', 'version', 'words'],
  ['arguments', 'draws', 'files', 'pickles'],
  ['config', 'images', 'devices', 'records'],
  ['networks', 'data', 'exchange', 'report'],
  ['synthetic_set'],
  ['matching', 'training'],
  ['condensing', 'selection'],
  ['applications'],
  ['run'],
  ['configs'],
  ['__init__'],
]
RANKS = {room: rank for rank, level in enumerate(LEVELS) for room in level}
GROUND = {'arguments', 'draws', 'errors', 'files', 'pickles', 'types'}
GROUND |= {'version', 'words'}
# What may be imported besides the ground, where the level alone would let more
# pass: whole rooms stay ignorant of each other.
ALLOWED = {
  'matching': {'networks', 'data', 'images', 'devices', 'config'},
  'training': {
    'networks',
    'data',
    'images',
    'devices',
    'config',
    'synthetic_set',
  },
  'selection': {'training', 'synthetic_set', 'networks', 'data', 'images'}
  | {'config'},
  'condensing': {'matching', 'training', 'synthetic_set', 'networks', 'data'}
  | {'config', 'images', 'devices'},
  'exchange': {'images'},
  'report': {'records'},
  'records': set(),
  'images': set(),
  'devices': set(),
  'config': set(),
}


def modules():
  """Yields (file, its room, its syntax tree)."""
  files = {*PACKAGE.rglob('*.py'), *(PACKAGE / 'configs').rglob('*.py')}
  for file in sorted(files):  # `configs` is a link, which rglob passes by.
    room = file.relative_to(PACKAGE).with_suffix('').parts[0]
    yield file, room, ast.parse(file.read_text())


def imports(tree):
  """Yields every module that is imported, wherever in the file."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.module, 'relative imports are not used'
      yield node.module
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def rooms_imported(tree):
  """Returns the rooms of this package that a module imports."""
  names = [name.split('.') for name in imports(tree)]
  return {
    name[1] for name in names if name[0] == 'dm_jax' and name[1:2] != []
  } & set(RANKS)


def test_every_room_has_its_level():
  rooms = {room for _, room, _ in modules()}
  assert rooms == set(RANKS), 'put a new room into LEVELS'


def test_imports_point_one_way():
  for file, room, tree in modules():
    for other in rooms_imported(tree) - {room}:
      assert RANKS[other] < RANKS[room], f'{file} imports {other}'


def test_rooms_know_only_what_they_may():
  for file, room, tree in modules():
    if room in ALLOWED:
      unknown = rooms_imported(tree) - ALLOWED[room] - GROUND - {room}
      assert not unknown, f'{file} imports {unknown}'


def test_a_package_file_says_what_the_room_is_for_and_nothing_else():
  for file, room, tree in modules():
    if file.name == '__init__.py' and room != '__init__':
      assert ast.get_docstring(tree), f'{file} says nothing'
      assert len(tree.body) == 1, f'{file} holds code'


@pytest.mark.parametrize(
  ('package', 'rooms'),
  [
    ('absl.flags', {'run'}),
    ('ml_collections', {'configs', 'run'}),
    ('configs', set()),
    ('orbax', {'records'}),
    ('flax', {'networks'}),
    ('tensorflow_datasets', {'data'}),
    ('pooch', {'data'}),
    ('sklearn', {'data'}),
    ('matplotlib', {'report'}),
    ('torch', {'exchange'}),
    ('tensorflow', set()),
  ],
)
def test_a_package_is_known_in_one_room(package, rooms):
  found = {
    room
    for _, room, tree in modules()
    for name in imports(tree)
    if f'{name}.'.startswith(f'{package}.')
  }
  assert found == rooms


def test_pmap_stands_in_the_layout_alone():
  found = {
    file.relative_to(PACKAGE).as_posix()
    for file, _, tree in modules()
    for node in ast.walk(tree)
    if isinstance(node, ast.Attribute) and node.attr == 'pmap'
  }
  assert found == {'devices/layout.py'}


# Not absl.flags: flax and optax load it themselves.
HEAVY = [
  'datasets',
  'matplotlib',
  'ml_collections',
  'orbax',
  'pooch',
  'pyarrow',
  'sklearn',
  'tensorboardX',
  'tensorflow',
  'tensorflow_datasets',
  'torch',
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
  assert [name for name in loaded if name.startswith('dm_jax.run')] == []
