"""Images, videos and streams at addresses of this machine."""

import json
import time

import cv2
import loopback
import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.image_files import Sources
from ttfnet_tf.inference.predict_images import Saving, predict_images
from ttfnet_tf.inference.video import annotate, stream
from ttfnet_tf.inference.video.annotate import annotate_video
from ttfnet_tf.inference.video.source import VideoSource, is_video, quiet_opencv
from ttfnet_tf.inference.video.stream import StreamSource
from ttfnet_tf.inference.video.threads import Prefetcher
from ttfnet_tf.inference.web_sources import add_web, kind_at

SIZE = (64, 96)


@pytest.fixture(autouse=True)
def quiet():
    with quiet_opencv():
        yield


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Twenty grey frames in a transport stream, as bytes."""
    path = tmp_path_factory.mktemp("film") / "film.ts"
    with quiet_opencv():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, SIZE[::-1])
        for value in range(0, 200, 10):
            writer.write(np.full((*SIZE, 3), value, np.uint8))
        writer.release()
    return path.read_bytes()


@pytest.fixture
def base(film):
    answers = {
        "/a.jpg": loopback.content(loopback.jpeg(9), "image/jpeg"),
        "/image": loopback.content(loopback.jpeg(9)),
        "/other/a.jpg?key=1": loopback.content(loopback.jpeg(9)),
        "/gone.jpg": loopback.content(b"", status=404),
        "/text": loopback.content(b"hello " * 100),
        "/film": loopback.content(film),
        "/camera": loopback.motion_jpeg([loopback.jpeg(value) for value in range(0, 100, 10)]),
        "/list": loopback.content(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "application/vnd.apple.mpegurl"),
        "/drip": loopback.drip,
    }
    with loopback.web(answers) as address:
        yield address


def _detect(images, batch_size=1):
    box = np.array([[1, 2, 10, 12]], np.float32)
    return [Detections(box, np.array([0.5]), np.array([3]), ("cat",), image.shape[:2]) for image in images]


def _timed(images):
    return _detect(images), 0.001


def test_kinds_by_their_first_bytes(base):
    found = Sources()
    add_web(found, [f"{base}{path}" for path in ("/a.jpg", "/image", "/text", "/film", "/camera", "/image", "/gone")])
    assert [one.removeprefix(base) for one in found.images] == ["/a.jpg", "/image"]
    assert [one.removeprefix(base) for one in found.videos] == ["/film", "/camera"]
    assert found.web_files == {f"{base}/film"}
    reasons = [failure.reason.removeprefix(base) for failure in found.failures]
    assert reasons[0] == "/text: is neither an image nor a video; name an image, a video or a stream"
    assert len(reasons) == 2
    assert kind_at(f"{base}/drip") == kind_at(f"{base}/list") == "a stream"
    assert not is_video(f"{base}/a.mp4")
    assert is_video("rtsp://host/a")


def test_images_at_addresses(base, tmp_path):
    """With a password that is written nowhere, and two of the same name."""
    secret = base.replace("//", "//me:secret@")
    images = [f"{secret}/a.jpg", f"{secret}/gone.jpg", f"{secret}/other/a.jpg?key=1"]
    about = {"colour_of": {3: 0}, "class_names": ["cat"], "about": {}, "saving": Saving(("coco", "yolo", "csv"), tmp_path / "crops")}
    lines = []
    assert predict_images(_detect, images, tmp_path / "out", **about, on_failure=lines.append) == (2, 2)
    names = {path.name for path in (tmp_path / "out").rglob("*.*")} | {path.name for path in (tmp_path / "crops/cat").iterdir()}
    assert names >= {"a.jpg", "a_2.jpg", "a.txt", "a_2.txt", "a_1.jpg", "a_1_2.jpg"}
    assert all(b"secret" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    record = json.loads((tmp_path / "out/detections.json").read_text())
    shown = base.replace("//", "//me:***@")
    assert [image["file"] for image in record["images"]] == [f"{shown}/a.jpg", f"{shown}/other/a.jpg?key=1"]
    assert lines == [f"{shown}/gone.jpg: cannot be fetched (HTTP 404 Not Found)"]
    with Image.open(tmp_path / "out/a.jpg") as drawing:
        assert drawing.size == SIZE[::-1]


def test_a_video_at_an_address_is_read_to_its_end(base, tmp_path):
    source = StreamSource(f"{base}/film", is_file=True)
    assert (source.size, source.live, source.stem) == (SIZE, False, "film")
    result = annotate_video(_timed, source, tmp_path, colour_of={3: 0}, batch_size=4)
    assert result.frames == 20
    assert result.video == tmp_path / "film.mp4"


def test_a_live_stream_that_breaks_off_is_opened_again(base, monkeypatch):
    monkeypatch.setattr(stream, "WAITS", (0.01, 0.02))
    lines = []
    source = StreamSource(f"{base}/camera", on_break=lines.append)
    assert (source.size, source.live, source.expected) == (SIZE, True, None)
    values = [int(frame.image.mean()) for frame in source]
    source.close()
    assert len(values) == 30  # of three connections
    assert values[:10] == values[10:20] == values[20:]
    assert lines == [
        f"{base}/camera: has broken off; connects again in 0.01 s, attempt 1 of 2",
        f"{base}/camera: has broken off; connects again in 0.02 s, attempt 2 of 2",
    ]


class Capture:
    """Gives `count` frames at each opening, and says nothing else."""

    def __init__(self, count):
        self.count = count

    def isOpened(self):  # OpenCV's name
        return True

    def read(self):
        self.count -= 1
        return self.count >= 0, np.zeros((4, 4, 3), np.uint8)

    def get(self, _):
        return 0.0

    def set(self, *_):
        pass

    def release(self):
        pass


def test_a_connection_that_has_lasted_starts_the_count_again(monkeypatch):
    monkeypatch.setattr(stream, "WAITS", (0.0, 0.0))
    now, lines = [0.0], []

    def clock():
        now[0] += 1.0
        return now[0]

    lengths = iter([3, 2, 20, 1, 1, 1])  # the third lasts for more than ten seconds of this clock
    source = StreamSource("rtsp://host/x", open_capture=lambda *_: Capture(next(lengths)), clock=clock, on_break=lines.append)
    assert sum(1 for _ in source) == 3 + 2 + 20 + 1 + 1
    assert [line.rpartition("attempt ")[2] for line in lines] == ["1 of 2", "2 of 2", "1 of 2", "2 of 2"]


def test_rtsp(film):
    with loopback.rtsp(film) as address:
        source = StreamSource(address)
        assert (source.size, source.live, source.stem) == (SIZE, True, "127.0.0.1_live")
        values = [int(frame.image.mean()) for frame, _ in zip(source, range(15))]
        source.close()
    assert values == sorted(values)
    assert len(set(values)) >= 10


@pytest.mark.parametrize("path", ["/drip", "/list", "/text", "/gone"])
def test_what_is_no_stream_is_one_line_in_time(base, monkeypatch, path):
    monkeypatch.setattr(stream, "OPEN_SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        StreamSource(f"{base}{path}")
    assert str(caught.value) == f"{base}{path}: cannot be opened as a stream or video within 0.5 seconds; is the address right?"
    assert time.monotonic() - start < 60


def test_frames_of_too_many_pixels_are_refused(monkeypatch):
    monkeypatch.setattr(Capture, "get", lambda *_: 60_000)
    with pytest.raises(UserError, match=r"host/x: has frames of 60000 x 60000 pixels; they may have up to 50000000$"):
        StreamSource("rtsp://me:secret@host/x", open_capture=lambda *_: Capture(9))


def test_options_of_ffmpeg_are_those_of_the_user(monkeypatch):
    seen = []

    def capture(*_):
        seen.append(stream.os.environ[stream._VARIABLE])
        return Capture(3)

    monkeypatch.delenv(stream._VARIABLE, raising=False)
    StreamSource("rtsp://host/x", open_capture=capture).close()
    assert stream._VARIABLE not in stream.os.environ
    monkeypatch.setenv(stream._VARIABLE, "rtsp_transport;udp")
    StreamSource("rtsp://host/x", open_capture=capture).close()
    assert ["file" not in options for options in seen] == [True, True]
    assert seen[1] == "rtsp_transport;udp"


# Where a video ends.


@pytest.fixture
def video(film, tmp_path):
    (tmp_path / "film.ts").write_bytes(film)
    return tmp_path / "film.ts"


@pytest.mark.parametrize(
    ("limit", "frames"), [({"max_frames": 7}, 7), ({"seconds": 0.4}, 10), ({"seconds": 9.0}, 20), ({"max_frames": 20}, 20)]
)
def test_a_video_ends_after_so_many_frames_or_seconds(video, tmp_path, limit, frames):
    """Of 25 frames a second; batches of 4 do not round up."""
    result = annotate_video(_timed, VideoSource(str(video)), tmp_path, colour_of={3: 0}, batch_size=4, **limit)
    assert result.frames == frames
    assert result.note is None


def test_a_live_source_without_frames_ends_in_time(monkeypatch, tmp_path):
    """The reading thread waits; the call does not."""

    class Silent(StreamSource):
        def __iter__(self):
            yield from []
            self._closing.wait(200)

    source = Silent("rtsp://host/x", open_capture=lambda *_: Capture(3))
    monkeypatch.setattr(annotate, "Prefetcher", lambda *arguments, **more: Impatient(*arguments, **more))
    result = annotate_video(_timed, source, tmp_path, colour_of={3: 0}, seconds=0.3)
    assert result.frames == 0


class Impatient(Prefetcher):
    """Does not wait for its thread."""

    def __exit__(self, *_):
        self._stop.set()
