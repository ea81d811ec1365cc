import io

import pytest

from dm_jax.run.progress import Progress


class Clock:
  def __init__(self):
    self.now = 1000.0

  def __call__(self):
    return self.now


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_lines_come_first_last_and_every_ten_seconds():
  stream, clock = io.StringIO(), Clock()
  with Progress(
    50, description='condense', stream=stream, clock=clock
  ) as progress:
    for done in range(1, 51):
      clock.now += 1
      progress.update(done, loss=10 / done)
  lines = stream.getvalue().splitlines()
  assert [line.split()[1] for line in lines] == [
    '1/50',
    '11/50',
    '21/50',
    '31/50',
    '41/50',
    '50/50',
  ]
  assert lines[1] == 'condense: 11/50 steps (22 %), loss 0.9091, 39 s left'
  assert lines[-1] == 'condense: 50/50 steps (100 %), loss 0.2'
  assert '\r' not in stream.getvalue()


def test_time_left_ignores_compilation_and_steps_before_a_resume():
  stream, clock = io.StringIO(), Clock()
  progress = Progress(
    20_000,
    description='condense',
    initial=10_000,
    stream=stream,
    clock=clock,
  )
  progress.update(10_000)
  clock.now += 300  # Compilation and the first chunk.
  progress.update(10_100)
  clock.now += 10
  progress.update(10_200, loss=1.5, images_per_second=51_234.4)
  progress.close()
  # 100 steps took 10 s, and 9,800 remain.
  assert stream.getvalue().splitlines()[-1] == (
    'condense: 10,200/20,000 steps (51 %), loss 1.5, 51,234 images/s, '
    '16 min 20 s left'
  )
  assert 'left' not in stream.getvalue().splitlines()[1]


def test_the_last_count_is_printed_even_if_none_was_due():
  stream, clock = io.StringIO(), Clock()
  progress = Progress(9, description='d', stream=stream, clock=clock)
  progress.update(1)
  progress.update(2)
  assert stream.getvalue() == 'd: 1/9 steps (11 %)\n'
  progress.close()
  progress.close()
  assert stream.getvalue().splitlines()[1:] == ['d: 2/9 steps (22 %)']


def test_the_default_stream_is_stderr(capsys):
  with Progress(2, description='evaluate', unit='epoch') as progress:
    progress.update(2, accuracy=0.5)
  captured = capsys.readouterr()
  assert captured.err == 'evaluate: 2/2 epochs (100 %), accuracy 0.5\n'
  assert captured.out == ''


def test_a_terminal_gets_a_bar():
  stream, clock = Terminal(), Clock()
  with Progress(
    4000, description='condense', initial=1000, stream=stream, clock=clock
  ) as progress:
    progress.update(2000, loss=3.0)
    clock.now += 20
    progress.update(3000, loss=2.0, images_per_second=1000)
  last = stream.getvalue().split('\r')[-1]
  assert last.startswith('condense  75 % |')
  assert last.endswith('3,000/4,000 steps, loss 2, 1,000 images/s, 20 s left\n')


def test_an_exception_leaves_no_bar_behind():
  stream = Terminal()

  def fail():
    with Progress(10, description='condense', stream=stream) as progress:
      progress.update(3)
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fail()
  *_, wiped, rest = stream.getvalue().split('\r')
  assert wiped.strip() == ''
  assert rest == ''


def test_nothing_to_do_is_done():
  for stream in (io.StringIO(), Terminal()):
    with Progress(0, description='condense', stream=stream) as progress:
      progress.update(0)
    assert '0/0 steps' in stream.getvalue()
