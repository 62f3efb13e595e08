"""Work that is dealt out to threads: all of it once, in order, however many callers there are, and errors come back."""

import threading

import pytest

from LiverGTANLib.core import threads


@pytest.fixture(params=[1, 2, 4])
def count(request, monkeypatch):
    monkeypatch.setattr(threads, "thread_count", lambda: request.param)
    threads.close()
    yield request.param
    threads.close()


def test_results_come_in_order_and_every_item_is_done_once(count):
    done = []
    assert threads.for_each(lambda n: done.append(n) or n * n, range(50)) == [n * n for n in range(50)]
    assert sorted(done) == list(range(50))
    assert threads.for_each(str, []) == []


def test_the_threads_work_side_by_side(count):
    meeting = threading.Barrier(count, timeout=30)
    threads.for_each(lambda n: meeting.wait(), range(count))
    assert not meeting.broken


def test_an_error_is_raised_and_ends_the_rest(count):
    done = []

    def fail(n: int) -> None:
        done.append(n)
        raise KeyError(n)

    with pytest.raises(KeyError):
        threads.for_each(fail, range(100))
    assert len(done) <= count
    assert threads.for_each(str, range(3)) == ["0", "1", "2"]


def test_it_may_be_used_within_itself(count):
    def total(n: int) -> int:
        return sum(threads.for_each(lambda m: m, range(n)))

    assert threads.for_each(total, range(10)) == [n * (n - 1) // 2 for n in range(10)]
