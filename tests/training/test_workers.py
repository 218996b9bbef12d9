"""The line about a worker that has ended, from TensorFlow's errors of 2.15 and 2.21."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

from ttfnet_tf.errors import LostWorkerError, UserError
from ttfnet_tf.training.workers import lost_worker_in_one_line, refuse_different_folders

HEARTBEAT = "Collective ops is aborted by: Error reported from /job:worker/task:1: Task /job:worker/replica:0/task:1 heartbeat timeout."
RESET = "Collective ops is aborted by: Connection reset by peer from remote target /job:worker/replica:0/task:2"
NAMELESS = "Collective ops is aborted by: Deadline Exceeded RPC: /tensorflow.CoordinationService/Heartbeat"
ENDS = "so worker 0 ends, too; the same command on every worker resumes the run"


def _strategy(count, index=0):
    workers = {"worker": [f"host{number}:1234" for number in range(count)]} if count else {}
    resolver = SimpleNamespace(task_id=index, cluster_spec=lambda: SimpleNamespace(as_dict=lambda: workers))
    return SimpleNamespace(cluster_resolver=resolver if count else None)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (tf.errors.UnavailableError(None, None, HEARTBEAT), f"worker 1 (host1:1234) has ended or cannot be reached, {ENDS}"),
        (tf.errors.UnavailableError(None, None, RESET), f"worker 2 (host2:1234) has ended or cannot be reached, {ENDS}"),
        (tf.errors.DeadlineExceededError(None, None, NAMELESS), f"another worker has ended or cannot be reached, {ENDS}"),
    ],
)
def test_errors_about_workers(error, line):
    with pytest.raises(LostWorkerError) as found, lost_worker_in_one_line(_strategy(3)):
        raise error
    assert str(found.value) == line


def test_an_error_that_had_a_line_of_its_own():
    """A checkpoint reads variables of all workers."""

    def save():
        try:
            raise tf.errors.UnavailableError(None, None, HEARTBEAT)
        except tf.errors.OpError:
            raise UserError("step-9: cannot be written") from None

    with pytest.raises(LostWorkerError, match=r"worker 1 \(host1:1234\)"), lost_worker_in_one_line(_strategy(2)):
        save()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_other_errors_stay(count):
    for error in (UserError("a line"), tf.errors.InternalError(None, None, "out of luck"), ValueError("a bug")):
        with pytest.raises(type(error)) as found, lost_worker_in_one_line(_strategy(count)):
            raise error
        assert found.value is error


def test_one_process_has_nobody_to_lose():
    error = tf.errors.UnavailableError(None, None, HEARTBEAT)
    with pytest.raises(tf.errors.UnavailableError), lost_worker_in_one_line(_strategy(0)):
        raise error


def test_one_process_has_nobody_to_agree_with():
    refuse_different_folders(_strategy(0), Path("run"), 3)
