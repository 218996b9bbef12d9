"""What becomes of each file: detections, or a reason."""

import pytest
from served_answers import outputs_for

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.image_files import Failure
from ttfnet_tf.serving.errors import Refused, Unanswered
from ttfnet_tf.serving.send_images import send_images
from ttfnet_tf.serving.signature import Reply


class FakeClient:
    """Refuses what begins with "bad", does not answer "late", is gone at "gone"; finds as many objects as the last digit says."""

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


def _send(tmp_path, contents, **options):
    files = []
    for number, content in enumerate(contents):
        files.append(tmp_path / f"{number}.png")
        if content is not None:
            files[-1].write_bytes(content)
    client = FakeClient()
    served = send_images(client, files, lambda file, outputs, row: int(outputs["num_detections"][row]), **options)
    return client, served


def test_every_file_gets_its_own_answer_or_reason(tmp_path):
    contents = [b"a1", b"bad", b"c2", None, b"d3", b"late", b"e4"]
    client, served = _send(tmp_path, contents, batch_size=2, concurrency=2)
    assert [(file.name, count) for file, count in served.answered] == [("0.png", 1), ("2.png", 2), ("6.png", 4)]
    assert served.failures == [
        Failure(str(tmp_path / "1.png"), f"{tmp_path / '1.png'}: refused by the server: [row] is bad"),
        Failure(str(tmp_path / "3.png"), f"{tmp_path / '3.png'}: cannot be read (No such file or directory)"),
        Failure(str(tmp_path / "4.png"), f"{tmp_path / '4.png'}: no answer within 1 s"),
        Failure(str(tmp_path / "5.png"), f"{tmp_path / '5.png'}: no answer within 1 s"),
    ]
    assert served.versions == [2]
    assert client.requests[:3] == [[b"a1", b"bad"], [b"a1"], [b"bad"]]  # one by one after the refusal
    assert (len(served.latencies.timings), served.latencies.failed) == (3, 1)
    assert served.first_seconds > 0


def test_images_are_sent_once_or_as_often_as_asked_for(tmp_path):
    client, served = _send(tmp_path, [b"a1"], batch_size=1, concurrency=1)
    assert len(client.requests) == 1
    assert served.latencies is None
    client, served = _send(tmp_path, [b"a1", b"b2", b"c3"], batch_size=1, concurrency=1, requests=5)
    assert [request[0] for request in client.requests] == [b"a1", b"b2", b"c3", b"a1", b"b2", b"c3"]
    assert len(served.latencies.timings) == 5
    client, served = _send(tmp_path, [b"a1", b"b2", b"c3"], batch_size=1, concurrency=1, requests=1)
    assert len(served.answered) == 3


def test_a_server_that_is_gone_ends_it(tmp_path):
    with pytest.raises(UserError, match="no server"):
        _send(tmp_path, [b"a1", b"gone", b"c3"], batch_size=1, concurrency=1)
