import contextlib
import threading

import pytest

from dm_jax.condensing.prefetch import Prefetcher


class Dealer:
  """Deals chunks and says when each is begun; holds them back if told to."""

  def __init__(self, chunks=3):
    self.begun = [threading.Event() for _ in range(chunks)]
    self.may_end = [threading.Event() for _ in range(chunks)]
    self.dealt = []

  def __call__(self, chunk):
    self.dealt.append(chunk)
    self.begun[chunk].set()
    assert self.may_end[chunk].wait(30)
    return f'chunk {chunk}'


def test_the_next_chunk_is_copied_while_the_current_one_computes():
  dealer = Dealer()
  dealer.may_end[0].set()
  with contextlib.closing(Prefetcher(dealer, 3, resident=False)) as supply:
    assert supply.streams
    assert supply.first() == 'chunk 0'
    # It returns though the copy of chunk 1 has not ended, but has begun.
    assert supply.take(0) == 'chunk 0'
    assert dealer.begun[1].wait(30)
    assert dealer.dealt == [0, 1]
    dealer.may_end[1].set()
    dealer.may_end[2].set()
    assert supply.take(1) == 'chunk 1'
    assert supply.take(2) == 'chunk 2'
    assert supply.take(0) == 'chunk 0', 'the next round'
  assert dealer.dealt[:4] == [0, 1, 2, 0]


@pytest.mark.parametrize(('chunks', 'resident'), [(3, True), (1, False)])
def test_what_stays_on_the_devices_is_dealt_once(chunks, resident):
  dealer = Dealer(chunks)
  for event in dealer.may_end:
    event.set()
  before = threading.active_count()
  with contextlib.closing(Prefetcher(dealer, chunks, resident)) as supply:
    assert not supply.streams
    for _ in range(3):
      for chunk in range(chunks):
        assert supply.take(chunk) == f'chunk {chunk}'
    assert threading.active_count() == before
  assert dealer.dealt == list(range(chunks))
