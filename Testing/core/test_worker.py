"""The worker: newest request wins, results come once, errors are handed over, and nothing is left running."""

import logging
import threading
import time

import pytest

from LiverGTANLib.core.engines.engine import Cancelled
from LiverGTANLib.core.worker import Worker


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    assert worker.close()


def until_cancelled(started: threading.Event):
    def job(progress, cancelled):
        started.set()
        while not cancelled():
            time.sleep(0.001)
        raise Cancelled

    return job


def test_a_result_comes_once(worker):
    ticket = worker.submit(lambda progress, cancelled: 42)
    outcome = worker.poll(5)
    assert (outcome.ticket, outcome.value, outcome.error) == (ticket, 42, None)
    assert worker.poll() is None
    assert not worker.busy


def test_an_error_is_handed_over(worker):
    def fail(progress, cancelled):
        raise ValueError("no liver here")

    worker.submit(fail)
    assert "no liver here" in str(worker.poll(5).error)
    worker.submit(lambda progress, cancelled: "still alive")
    assert worker.poll(5).value == "still alive"


def test_the_newest_request_wins_and_nothing_queues(worker):
    started, ran = threading.Event(), []
    worker.submit(until_cancelled(started))
    assert started.wait(5)
    for number in range(20):
        ticket = worker.submit(lambda progress, cancelled, number=number: ran.append(number) or number)
    outcome = worker.poll(5)
    assert (outcome.ticket, outcome.value) == (ticket, 19)
    assert ran == [19] or (ran[-1] == 19 and len(ran) <= 2)


def test_a_canceled_request_gives_nothing(worker):
    started = threading.Event()
    worker.submit(until_cancelled(started))
    assert started.wait(5)
    worker.cancel()
    assert not worker.busy
    assert worker.poll(0.05) is None


def test_a_result_that_arrives_after_cancel_is_dropped(worker):
    release = threading.Event()
    worker.submit(lambda progress, cancelled: release.wait(5))
    worker.cancel()
    release.set()
    assert worker.poll(0.1) is None


def test_progress_is_that_of_the_running_request(worker):
    reported, release = threading.Event(), threading.Event()

    def job(progress, cancelled):
        progress(0.5, "half")
        reported.set()
        release.wait(5)

    worker.submit(job)
    assert reported.wait(5)
    assert worker.progress == (0.5, "half")
    release.set()
    worker.poll(5)


def test_close_ends_the_thread_and_refuses_more():
    worker, started = Worker(), threading.Event()
    worker.submit(until_cancelled(started))
    assert started.wait(5)
    assert worker.close()
    assert not [t for t in threading.enumerate() if t.name == "LiverGTAN worker"]
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(lambda progress, cancelled: None)


def test_a_superseded_work_may_finish_before_the_next_and_its_outcome_is_dropped(worker):
    letGo, seen = threading.Event(), []

    def first(progress, cancelled):
        progress(0.5, "first")
        letGo.wait(5)
        seen.append(cancelled())

    worker.submit(first)
    while worker.progress != (0.5, "first"):
        time.sleep(0.001)
    ticket = worker.submit(lambda progress, cancelled: len(seen), finish_running=True)
    assert worker.poll(0.02) is None
    letGo.set()
    outcome = worker.poll(5)
    assert (outcome.ticket, outcome.value, seen) == (ticket, 1, [False])


def test_cancel_lets_nothing_finish(worker):
    started, ended = threading.Event(), threading.Event()

    def first(progress, cancelled):
        started.set()
        while not cancelled():
            time.sleep(0.001)
        ended.set()

    worker.submit(first)
    started.wait(5)
    worker.submit(lambda progress, cancelled: None, finish_running=True)
    worker.cancel()
    assert ended.wait(5)


def test_the_error_of_a_request_that_no_longer_counts_is_logged(worker, caplog):
    started, release = threading.Event(), threading.Event()

    def fail(progress, cancelled):
        started.set()
        release.wait(5)
        raise ValueError("no liver here")

    worker.submit(fail)
    assert started.wait(5)
    worker.submit(lambda progress, cancelled: "newer", finish_running=True)
    with caplog.at_level(logging.WARNING):
        release.set()
        assert worker.poll(5).value == "newer"
    [record] = caplog.records
    assert "no liver here" in str(record.exc_info[1])
