import signal

import pytest

from dm_jax.run import interrupts

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def received():
  """The signals that reach whoever listened before."""
  numbers = []
  previous = {
    number: signal.signal(number, lambda number, _: numbers.append(number))
    for number in SIGNALS
  }
  yield numbers
  for number, handler in previous.items():
    signal.signal(number, handler)


@pytest.mark.parametrize('number', SIGNALS)
def test_the_first_signal_is_a_request_and_the_second_acts_as_ever(
  received, number
):
  with interrupts.deferred() as request:
    assert request.number == 0
    signal.raise_signal(number)
    assert request.number == number
    assert received == []
    # Of the other kind, too: who presses Ctrl-C wants an end.
    signal.raise_signal(signal.SIGINT)
    assert received == [signal.SIGINT]
    assert request.number == number


def test_afterwards_signals_act_as_before(received):
  with interrupts.deferred():
    pass
  with pytest.raises(ZeroDivisionError), interrupts.deferred():
    raise ZeroDivisionError
  for number in SIGNALS:
    signal.raise_signal(number)
  assert received == list(SIGNALS)


def test_one_run_after_another_can_be_interrupted(received):
  for _ in range(2):
    with interrupts.deferred() as request:
      signal.raise_signal(signal.SIGTERM)
    assert request.number == signal.SIGTERM
  assert received == []


def test_a_request_is_met_only_after_a_signal(received):
  with interrupts.deferred() as request:
    request.meet('training the pool')
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(interrupts.Interrupted) as stop:
      request.meet('training the pool')
  assert 'training the pool' in str(stop.value)
  assert 128 + stop.value.signal == 143


def test_what_was_heard_before_a_run_stops_it(received):
  interrupts.hear()
  with interrupts.deferred() as request:
    request.meet('nothing was heard')
  for _ in range(2):  # It is not forgotten until the process ends.
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
    with interrupts.deferred() as request:
      assert request.number == signal.SIGINT
  assert received == []
