"""Many requests at once: what is timed, how many run, and what each file gets."""

import itertools
import threading

import pytest
from served_answers import outputs_for

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.image_files import Failure
from ttfnet_tf.serving.ask import ask_about
from ttfnet_tf.serving.load import Load, Timing, run_jobs
from ttfnet_tf.serving.target import Refused, Reply, Unanswered


def test_percentiles_are_measured_times():
    # By hand: of 1 .. 10 ms the fifth, the ninth and the tenth are the first that 50, 90 and 99 % do not exceed.
    load = Load([Timing(0, ms / 1000, 2) for ms in (3, 1, 2, 10, 9, 4, 8, 5, 7, 6)] + [Timing(0.01, 0.02, 0)], 4)
    assert [round(1000 * load.percentile(percent)) for percent in (50, 90, 99)] == [5, 9, 10]
    assert load.failed == 1
    assert load.requests_per_second == pytest.approx(10 / 0.02)
    assert load.images_per_second == pytest.approx(20 / 0.02)
    assert load.lines() == [
        "11 requests, 4 at a time, in 0.02 s, 1 failed: 500.0 requests/s, 1000.0 images/s",
        "latency in ms: p50 5.0, p90 9.0, p99 10.0, longest 10.0",
    ]
    assert Load([Timing(0, 1, 0)], 1).lines() == ["1 requests, 1 at a time, in 1.00 s: none was answered"]


def test_only_the_request_is_timed():
    clock = itertools.count()
    load = run_jobs([5, 6], lambda job: next(clock), lambda job, prepared: job, concurrency=1, clock=lambda: next(clock))
    assert sorted((one.start, one.end, one.images) for one in load.timings) == [(1, 2, 5), (4, 5, 6)]


def test_so_many_at_a_time():
    together, most, now = threading.Barrier(3, timeout=10), [], []

    def ask(job, _):
        now.append(job)
        together.wait()  # passes only if three are here
        most.append(len(now))
        together.wait()
        now.remove(job)
        return 1

    run_jobs(range(9), lambda job: None, ask, concurrency=3)
    assert max(most) == 3


def test_the_first_error_ends_it():
    asked = []

    def ask(job, _):
        asked.append(job)
        raise UserError("gone")

    with pytest.raises(UserError, match="gone"):
        run_jobs(range(1000), lambda job: None, ask, concurrency=1)
    assert len(asked) < 1000


class FakeClient:
    """Refuses what begins with "bad", does not answer "late", is gone at "gone"; each image's count is its last digit."""

    def __init__(self):
        self.requests = []

    def predict(self, contents):
        self.requests.append(contents)
        if b"gone" in contents:
            raise UserError("no server")
        if b"late" in contents:
            raise Unanswered("no answer within 1 s")
        if any(content.startswith(b"bad") for content in contents):
            raise Refused("[row] is bad")
        return Reply(outputs_for(*(int(content[-1:]) for content in contents)), 2)


def _ask(tmp_path, contents, **options):
    files = []
    for number, content in enumerate(contents):
        files.append(tmp_path / f"{number}.png")
        if content is not None:
            files[-1].write_bytes(content)
    client = FakeClient()
    asked = ask_about(client, files, lambda file, outputs, row: int(outputs["num_detections"][row]), **options)
    return client, asked


def test_every_file_gets_its_own_answer_or_reason(tmp_path):
    contents = [b"a1", b"bad", b"c2", None, b"d3", b"late", b"e4"]
    client, asked = _ask(tmp_path, contents, batch_size=2, concurrency=2)
    assert [(file.name, count) for file, count in asked.answered] == [("0.png", 1), ("2.png", 2), ("6.png", 4)]
    assert asked.failures == [
        Failure(str(tmp_path / "1.png"), f"{tmp_path / '1.png'}: refused by the server: [row] is bad"),
        Failure(str(tmp_path / "3.png"), f"{tmp_path / '3.png'}: cannot be read (No such file or directory)"),
        Failure(str(tmp_path / "4.png"), f"{tmp_path / '4.png'}: no answer within 1 s"),
        Failure(str(tmp_path / "5.png"), f"{tmp_path / '5.png'}: no answer within 1 s"),
    ]
    assert asked.versions == [2]
    assert client.requests[:3] == [[b"a1", b"bad"], [b"a1"], [b"bad"]]  # taken apart
    assert (len(asked.load.timings), asked.load.failed) == (3, 1)
    assert asked.first_seconds > 0


def test_images_are_asked_about_once_or_as_often_as_wanted(tmp_path):
    client, asked = _ask(tmp_path, [b"a1"], batch_size=1, concurrency=1)
    assert len(client.requests) == 1
    assert asked.load is None
    client, asked = _ask(tmp_path, [b"a1", b"b2", b"c3"], batch_size=1, concurrency=1, requests=5)
    assert [request[0] for request in client.requests] == [b"a1", b"b2", b"c3", b"a1", b"b2", b"c3"]
    assert len(asked.load.timings) == 5
    client, asked = _ask(tmp_path, [b"a1", b"b2", b"c3"], batch_size=1, concurrency=1, requests=1)
    assert len(asked.answered) == 3


def test_a_server_that_is_gone_ends_it(tmp_path):
    with pytest.raises(UserError, match="no server"):
        _ask(tmp_path, [b"a1", b"gone", b"c3"], batch_size=1, concurrency=1)
