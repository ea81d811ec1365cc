import importlib
import json
import sys
from typing import Any

import numpy as np
import pytest

from dm_jax.errors import InputError
from dm_jax.records.metrics import MetricsWriter, read_metrics


def write(workdir, steps, resume_step=None):
  with MetricsWriter(workdir, resume_step) as metrics:
    for step in steps:
      metrics.write(step, loss=step / 4)


def events(workdir):
  """Returns (step, tag or 'start') of all events, files in order."""
  # Generated when it is imported, so no checker of types knows its names.
  event_pb2: Any = importlib.import_module('tensorboardX.proto.event_pb2')

  found = []
  for path in sorted((workdir / 'tensorboard').iterdir()):
    data = path.read_bytes()
    while data:
      length = int.from_bytes(data[:8], 'little')
      event = event_pb2.Event.FromString(data[12 : 12 + length])
      data = data[16 + length :]
      if event.HasField('session_log'):
        found.append((event.step, 'start'))
      found += [(event.step, value.tag) for value in event.summary.value]
  return found


def test_a_line_is_one_json_object_and_readable_at_once(tmp_path):
  with MetricsWriter(tmp_path / 'new' / 'run') as metrics:
    metrics.write(100, loss=np.float32(0.5), images=3)
    text = metrics.path.read_text()
  assert text == '{"step": 100, "loss": 0.5, "images": 3}\n'
  assert read_metrics(tmp_path / 'new' / 'run') == [
    {'step': 100, 'loss': 0.5, 'images': 3}
  ]


def test_values_that_are_not_finite_become_null(tmp_path):
  with MetricsWriter(tmp_path) as metrics:
    metrics.write(1, a=float('nan'), b=np.float32('inf'), c=1.0)
  line = (tmp_path / 'metrics.jsonl').read_text()
  assert line == '{"step": 1, "a": null, "b": null, "c": 1.0}\n'
  assert read_metrics(tmp_path) == [{'step': 1, 'a': None, 'b': None, 'c': 1.0}]


def test_a_resumed_file_reads_like_a_straight_one(tmp_path):
  write(tmp_path / 'straight', range(0, 500, 100))
  write(tmp_path / 'resumed', range(0, 400, 100))
  write(tmp_path / 'resumed', [300, 400], resume_step=200)
  straight, resumed = (
    (tmp_path / name / 'metrics.jsonl').read_bytes()
    for name in ('straight', 'resumed')
  )
  assert resumed == straight


def test_without_a_resume_step_every_line_stays(tmp_path):
  write(tmp_path, [1, 2])
  write(tmp_path, [3])
  assert [row['step'] for row in read_metrics(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize('tail', ['{"step": 3, "lo', '{"step": 3', '{}', '3'])
def test_half_a_line_is_not_read_and_then_removed(tmp_path, tail):
  write(tmp_path, [1, 2])
  path = tmp_path / 'metrics.jsonl'
  whole = path.read_bytes()
  path.write_bytes(whole + tail.encode())
  assert [row['step'] for row in read_metrics(tmp_path)] == [1, 2]
  MetricsWriter(tmp_path).close()
  assert path.read_bytes() == whole


def test_a_whole_line_that_only_lost_its_break_is_kept(tmp_path):
  write(tmp_path, [1, 2])
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(path.read_bytes()[:-1])
  write(tmp_path, [3])
  assert [row['step'] for row in read_metrics(tmp_path)] == [1, 2, 3]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
  with pytest.raises(InputError, match='line 2.*delete that line'):
    read_metrics(tmp_path)
  with pytest.raises(InputError, match='line 2'):
    MetricsWriter(tmp_path)
  assert path.read_text().count('\n') == 3


def test_no_file_has_no_metrics(tmp_path):
  assert read_metrics(tmp_path) == []


def test_a_failed_repair_leaves_the_file(tmp_path, monkeypatch):
  write(tmp_path, [1, 2])
  before = (tmp_path / 'metrics.jsonl').read_bytes()

  def fail(*_):
    raise OSError('disk full')

  monkeypatch.setattr('os.replace', fail)
  with pytest.raises(OSError, match='disk full'):
    MetricsWriter(tmp_path, resume_step=1)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == before
  assert json.loads(before.splitlines()[-1])['step'] == 2


def test_without_tensorboardx_there_is_only_the_file(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorboardX', None)
  with MetricsWriter(tmp_path) as metrics:
    metrics.write(1, loss=2.0)
    metrics.write_image('grid', 1, np.zeros((4, 4, 3), np.uint8))
  assert [path.name for path in tmp_path.iterdir()] == ['metrics.jsonl']


def test_tensorboard_gets_scalars_and_pictures(tmp_path):
  pytest.importorskip('tensorboardX')
  with MetricsWriter(tmp_path) as metrics:
    metrics.write(1, loss=2.0, images_per_second=3.0)
    metrics.write_image('grid', 1, np.zeros((4, 6, 1), np.uint8))
  assert events(tmp_path) == [
    (1, 'loss'),
    (1, 'images_per_second'),
    (1, 'grid'),
  ]


def test_tensorboard_hides_what_a_resumed_run_does_again(tmp_path):
  pytest.importorskip('tensorboardX')
  write(tmp_path, [100, 200])
  write(tmp_path, [200], resume_step=100)
  assert events(tmp_path) == [
    (100, 'loss'),
    (200, 'loss'),
    (101, 'start'),
    (200, 'loss'),
  ]
