"""Many requests at a time: which run together, what is timed, and what an error ends."""

import itertools
import threading

import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.serving.latency import Latencies, Timing, run_requests

LONG = 200  # seconds: only a test that would never end reaches it


def test_percentiles_are_measured_times():
    # By hand: of 1 .. 10 ms the fifth, the ninth and the tenth are the first that 50, 90 and 99 % do not exceed.
    found = Latencies([Timing(0, ms / 1000, 2) for ms in (3, 1, 2, 10, 9, 4, 8, 5, 7, 6)] + [Timing(0.01, 0.02, 0)], 4)
    assert [round(1000 * found.percentile(percent)) for percent in (50, 90, 99)] == [5, 9, 10]
    assert found.failed == 1
    assert found.requests_per_second == pytest.approx(10 / 0.02)
    assert found.images_per_second == pytest.approx(20 / 0.02)
    assert found.lines() == [
        "11 requests, 4 at a time, in 0.02 s, 1 failed: 500.0 requests/s, 1000.0 images/s",
        "latency in ms: p50 5.0, p90 9.0, p99 10.0, longest 10.0",
    ]
    assert Latencies([Timing(0, 1, 0)], 1).lines() == ["1 requests, 1 at a time, in 1.00 s: none was answered"]


def test_only_the_request_is_timed():
    clock = itertools.count()
    found = run_requests([5, 6], lambda job: next(clock), lambda job, prepared: job, concurrency=1, clock=lambda: next(clock))
    assert sorted((one.start, one.end, one.images) for one in found.timings) == [(1, 2, 5), (4, 5, 6)]


def test_as_many_requests_at_a_time_as_asked_for():
    together, counts, running = threading.Barrier(3, timeout=LONG), [], []

    def send(job, _):
        running.append(job)
        together.wait()  # passes only if three are here
        counts.append(len(running))
        together.wait()
        running.remove(job)
        return 1

    run_requests(range(9), lambda job: None, send, concurrency=3)
    assert max(counts) == 3


def test_no_request_begins_after_an_error():
    sent = []

    def send(job, _):
        sent.append(job)
        if job == 3:
            raise UserError("gone")
        return 1

    with pytest.raises(UserError, match="gone"):
        run_requests(range(1000), lambda job: None, send, concurrency=1)
    assert sent == [0, 1, 2, 3]


def test_an_error_while_preparing_ends_it_too():
    def prepare(job):
        raise UserError(f"job {job}")

    with pytest.raises(UserError, match="job 0"):
        run_requests(range(1000), prepare, lambda job, prepared: 1, concurrency=1)
