"""Videos and cameras through the command, on a network whose detections are known by hand."""

import contextlib
import functools
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from ttfnet_tf import cli
from ttfnet_tf.config import Config, dump_config
from ttfnet_tf.data.images import OPENCV_LOG
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.video import writer
from ttfnet_tf.inference.video.annotate import annotate_video
from ttfnet_tf.inference.video.source import VideoSource, camera_number, is_video, quiet_opencv
from ttfnet_tf.inference.video.stream import StreamSource
from ttfnet_tf.inference.video.threads import BackgroundWorker, Prefetcher

FPS, FRAMES = 10, 10


def _write(path, frames, fps=FPS, codec="mp4v"):
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()


def _read(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (found := capture.read())[0]:
        frames.append(found[1][..., ::-1])
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return frames, fps


@pytest.fixture(scope="module")
def frames(squares):
    """A second: a red square in cell (8, k), from frame 5 on a green one in (2, 2); 128 x 192 for a network of 64 x 64."""
    return [squares((64, 64), {(8, 2 + k): "red", **({(2, 2): "green"} if k >= 5 else {})}, (2, 3)) for k in range(FRAMES)]


@pytest.fixture
def film(tmp_path, frames):
    path = tmp_path / "in" / "film.avi"
    path.parent.mkdir()
    _write(path, frames, codec="MJPG")
    return path


@pytest.fixture(scope="module")
def finder(square_finder):
    """Loads in place of a run; compiled once."""
    from ttfnet_tf.inference.detector import Detector
    from ttfnet_tf.methods.ttfnet import decode_distances

    compiled = {}

    def load(run, **thresholds):
        decoded = functools.partial(decode_distances, image_size=(64, 64))
        detector = Detector(square_finder, ["cat", "dog"], [3, 8], decoded, image_size=(64, 64), **thresholds)
        detector._predict = compiled
        return detector

    return load


@pytest.fixture
def predict(monkeypatch, capfd, tmp_path, finder):
    from ttfnet_tf.inference.detector import Detector

    monkeypatch.setattr(Detector, "load", finder)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(dump_config(Config()))

    def run(*arguments, code=0):
        assert cli.main(["predict", str(tmp_path / "run"), *map(str, arguments), "--out", str(tmp_path / "out")]) == code
        return capfd.readouterr()

    return run


def _records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_video_is_annotated_frame_by_frame_in_order(predict, film, frames, tmp_path):
    printed = predict(film)
    records = _records(tmp_path / "out" / "film.jsonl")
    assert [record["frame"] for record in records] == list(range(FRAMES))
    np.testing.assert_allclose([record["time"] for record in records], np.arange(FRAMES) / FPS, atol=1e-3)
    for k, record in enumerate(records):
        found = {one["class_name"]: one["box"] for one in record["detections"]}
        assert set(found) == ({"cat", "dog"} if k >= 5 else {"cat"})
        # Cell (8, 2 + k) is the point x = 8 + 4 k, y = 32 of the input; 8 px to every side, 3 and 2 times as far in the video.
        np.testing.assert_allclose(found["cat"], [3 * (4 * k), 2 * 24, 3 * (16 + 4 * k), 2 * 40], atol=1e-3)
    drawn, fps = _read(tmp_path / "out" / "film.mp4")
    assert (len(drawn), fps, drawn[0].shape) == (FRAMES, FPS, frames[0].shape)
    # A line of the box in the middle of its left side, and the square itself in the middle.
    assert np.abs(drawn[3][64, 36].astype(int) - frames[3][64, 36]).max() > 60
    assert np.abs(drawn[3][66, 62].astype(int) - frames[3][66, 62]).max() < 60
    assert f"{film}: 10 frames, 15 detections in " in printed.out
    assert "network " in printed.out
    assert f"{tmp_path}/out/film.mp4 and film.jsonl" in printed.out
    assert printed.err == ""


def test_thresholds_by_class(predict, film, tmp_path):
    predict(film, "--class-threshold", "dog=0.99996", "--batch-size", "4")  # the score of a full cell is 1 / (1 + e^-10) = 0.9999546
    assert {one["class_name"] for record in _records(tmp_path / "out/film.jsonl") for one in record["detections"]} == {"cat"}
    assert "there is no such class; did you mean 'dog'?" in predict(film, "--class-threshold", "dig=0.5", code=2).err


def test_only_videos_of_an_earlier_call_are_overwritten(predict, film, frames, tmp_path):
    other = tmp_path / "other" / "film.mp4"
    other.parent.mkdir()
    _write(other, frames[:3])
    predict(film, other)
    names = ["film.jsonl", "film.mp4", "film_2.jsonl", "film_2.mp4"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    predict(other)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert len(_records(tmp_path / "out/film.jsonl")) == 3
    (tmp_path / "out/film.jsonl").write_text("mine")
    predict(other)
    assert (tmp_path / "out/film.jsonl").read_text() == "mine"
    assert writer.output_paths(other.parent, "film", str(other))[0].name == "film_2.mp4"  # never the source


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("gone.mp4", None, "gone.mp4: no such file; name a video or a camera"),
        ("broken.mp4", b"no video", "broken.mp4: is broken, empty or of a codec that OpenCV cannot read; "),
        ("empty.mkv", b"", "empty.mkv: is broken, empty or of a codec that OpenCV cannot read; "),
        ("camera:x", None, "camera:x: must be camera: and a number, such as camera:0; "),
        ("camera:63", None, "camera:63: there is no such camera, or another program uses it; "),
    ],
)
def test_an_unreadable_source_is_one_line(predict, tmp_path, name, content, line):
    source = name if name.startswith("camera") else tmp_path / name
    if content is not None:
        source.write_bytes(content)
    assert line in predict(source, code=2).err


def test_ffmpeg_prints_nothing_around_the_line(tmp_path, root):
    """In a process of its own, since FFmpeg reads its log level once."""
    (tmp_path / "config.yaml").write_text(dump_config(Config()))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    command = [sys.executable, root / "tools/predict.py", tmp_path, tmp_path / "broken.mp4", "--out", tmp_path / "out"]
    environment = {name: value for name, value in os.environ.items() if name != "OPENCV_FFMPEG_LOGLEVEL"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"ttfnet: {tmp_path}/broken.mp4: is broken, empty or of a codec that OpenCV cannot read; convert it to an H.264 .mp4 first"
    ]


def test_a_video_that_is_cut_short_is_kept_as_far_as_it_goes(predict, tmp_path, frames):
    source = tmp_path / "cut.avi"
    _write(source, frames * 6, codec="MJPG")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    predict(source)
    count = len(_records(tmp_path / "out/cut.jsonl"))
    assert 10 < count < 50
    assert len(_read(tmp_path / "out/cut.mp4")[0]) == count


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("a.mp4", "b.jpg"), "a.mp4 is a video and b.jpg is not; run predict on images and on videos separately"),
        (("b.jpg", "--show"), "--show is for videos and cameras"),
        (("a.mp4", "--class-threshold", "0.5"), "--class-threshold 0.5 must be the name of a class and its threshold, e.g. RBC=0.5"),
        (("a.mp4", "--class-threshold", "a=1"), "--class-threshold a=1 must lie in 0..1, 1 excluded"),
        (("a.mp4", "--show"), "--show: the installed OpenCV has no windows"),
    ],
)
def test_wrong_calls(predict, arguments, line):
    assert line in predict(*arguments, code=2).err


def test_a_file_in_the_way_of_the_folder(predict, film, tmp_path):
    (tmp_path / "out").write_text("")
    assert f"{tmp_path}/out: cannot be made (File exists); name another folder with --out" in predict(film, code=2).err


def test_ctrl_c_leaves_a_video_that_reads(predict, film, frames, tmp_path, monkeypatch):
    real = writer.VideoWriter.__call__

    def interrupted(self, batch):
        real(self, batch)
        if self.frames == 3:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    monkeypatch.setattr(writer.VideoWriter, "__call__", interrupted)
    _write(film, frames * 10, codec="MJPG")
    printed = predict(film)
    count = len(_records(tmp_path / "out/film.jsonl"))
    assert 3 <= count < 15  # the queue in front of the writer holds a few more
    assert len(_read(tmp_path / "out/film.mp4")[0]) == count
    assert "stopped; the video so far is complete" in printed.out


@pytest.mark.parametrize(("source", "number"), [("camera:0", 0), ("3", 3), ("camera:x", None), ("film.mp4", None), ("12.mp4", None)])
def test_names_of_cameras(source, number):
    assert camera_number(source) == number


def test_a_file_whose_name_is_a_number_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").write_bytes(b"")
    assert camera_number("0") is None
    assert camera_number("camera:0") == 0


class Camera:
    """Gives a frame every 20 ms of its own clock, as soon as it may.

    `advance(n)` lets n more frames pass and returns when they have: what a network does that takes n times 20 ms.
    """

    INTERVAL = 0.02

    def __init__(self, frames):
        self.frames, self.total, self.allowed, self.read_calls = list(frames), len(frames), 1, 0
        self._change = threading.Condition()

    def isOpened(self):  # OpenCV's name
        return True

    def read(self):
        with self._change:
            self.read_calls += 1
            self._change.notify_all()
            assert self._change.wait_for(lambda: self.read_calls <= self.allowed, timeout=200)
        return (True, self.frames.pop(0)[..., ::-1]) if self.frames else (False, None)

    def advance(self, count):
        with self._change:
            self.allowed += count
            self._change.notify_all()
            # The call after the last of them says that they have been handed on.
            assert self._change.wait_for(lambda: self.read_calls > min(self.allowed, self.total), timeout=200)

    def clock(self):
        return self.read_calls * self.INTERVAL

    def get(self, _):
        return 0.0

    def release(self):
        pass


def test_a_slow_network_sees_the_newest_frames_of_a_camera_and_the_video_keeps_the_time(finder, frames, tmp_path):
    detector = finder("run", score_threshold=0.3)
    camera = Camera(frames * 5)

    def slow(images):
        camera.advance(10)
        return detector.timed(images, batch_size=1)[0], 0.125

    source = VideoSource("camera:0", open_capture=lambda number: camera, clock=camera.clock)
    result = annotate_video(slow, source, tmp_path, colour_of={3: 0, 8: 1})
    records = _records(tmp_path / "camera0.jsonl")
    # Of 50 frames the first, and whichever was the newest when the network was done with the one before.
    assert [(record["frame"], record["time"]) for record in records] == [(k, round(k * 0.02, 4)) for k in (0, 10, 20, 30, 40, 49)]
    assert (result.frames, result.network_seconds) == (6, 6 * 0.125)
    drawn, fps = _read(result.video)
    assert len(drawn) == int(49 * 0.02 * fps) + 1  # plays as long as the camera ran


# Threads around the network.


def test_prefetching_keeps_the_order_and_raises_errors_of_the_source():
    def items():
        yield from range(20)
        raise UserError("at the end")

    with Prefetcher(items()) as prefetched:
        iterator = iter(prefetched)
        assert [next(iterator) for _ in range(20)] == list(range(20))
        with pytest.raises(UserError, match="at the end"):
            next(iterator)


def test_leaving_early_ends_the_thread_that_reads():
    with Prefetcher(iter(int, 1)) as prefetched:
        assert next(iter(prefetched)) == 0
    prefetched._thread.join(200)
    assert not prefetched._thread.is_alive()


def test_the_worker_does_everything_and_raises_errors_of_its_function():
    seen = []
    with BackgroundWorker(seen.append) as work:
        for item in range(20):
            work(item)
    assert seen == list(range(20))

    def fail(item):
        raise UserError("disk full")

    def run():
        with BackgroundWorker(fail) as work:
            for item in range(100):
                work(item)

    with pytest.raises(UserError, match="disk full"):
        run()


def test_reading_the_network_and_writing_overlap():
    """They meet while one reads item k + 2, one works on k + 1 and one writes k; one after the other they never would."""
    meeting = threading.Barrier(3, timeout=200)

    def read():
        for k in range(10):
            if k >= 2:
                meeting.wait()
            yield k

    def write(k):
        if k < 8:
            meeting.wait()

    with Prefetcher(read()) as items, BackgroundWorker(write) as worker:
        for k in items:
            if 1 <= k < 9:
                meeting.wait()
            worker(k)


def test_opencv_is_quiet_for_a_while_only():
    before = OPENCV_LOG.getLogLevel()
    assert before != 0
    with quiet_opencv():
        assert OPENCV_LOG.getLogLevel() == 0
    assert OPENCV_LOG.getLogLevel() == before


# Rotation, formats and folders.


def _turned(data, degrees):
    """An .mp4 whose display matrix turns its frames clockwise, as phones write it."""
    place = data.index(b"tkhd") + 4
    matrix = place + (40 if data[place] == 0 else 52)
    turns = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (int(one) << 16 for one in turns)
    return data[:matrix] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000) + data[matrix + 36 :]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_turned_as_the_video_says(tmp_path, frames, degrees):
    stored = [np.rot90(frame, degrees // 90) for frame in frames[:3]]  # anticlockwise
    _write(tmp_path / "stored.mp4", stored)
    (tmp_path / "turned.mp4").write_bytes(_turned((tmp_path / "stored.mp4").read_bytes(), degrees))
    source = VideoSource(str(tmp_path / "turned.mp4"))
    read = [frame.image for frame in source]
    source.close()
    assert source.size == frames[0].shape[:2]
    assert [image.shape for image in read] == [frame.shape for frame in frames[:3]]
    expected, _ = _read(tmp_path / "stored.mp4")
    np.testing.assert_array_equal(read[0], np.rot90(expected[0], -degrees // 90))


@pytest.mark.parametrize("name", ["a.m4v", "a.MPG", "a.wmv", "a.ts", "a.3gp", "a.mts", "a", "a.data", "a.jpg"])
def test_a_video_is_recognised_by_its_content(predict, film, tmp_path, name):
    copy = tmp_path / "in" / name
    copy.write_bytes(film.read_bytes())
    assert "10 frames, 15 detections" in predict(copy).out


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mpg", "PIM1"), (".wmv", "WMV2"), (".ts", "mp4v"), (".3gp", "mp4v"), (".m4v", "mp4v"), (".mkv", "mp4v")]
)
def test_videos_of_many_kinds_are_read(tmp_path, frames, suffix, codec):
    path = tmp_path / f"film{suffix}"
    _write(path, frames, fps=25, codec=codec)
    assert is_video(str(path))
    path.rename(tmp_path / "film")
    assert is_video(str(tmp_path / "film"))
    source = VideoSource(str(tmp_path / "film"))
    assert source.size == frames[0].shape[:2]
    assert sum(1 for _ in source) >= FRAMES - 1
    source.close()


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0, 100, 350, 400, 1400], [0, 0.1, 0.35, 0.4, 1.4]),  # a variable rate
        ([0, 0, 0, 0, 0], [0, 0.1, 0.2, 0.3, 0.4]),  # none
        ([0, 1000, 1000, 200, 1400], [0, 1, 1.1, 1.2, 1.4]),  # wrong ones: never back
        ([float("nan")] * 5, [0, 0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_times_of_a_file(film, times, expected, monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")  # a stream is kept from files

    class Clock:
        """The film with these milliseconds."""

        def __init__(self, *arguments):
            self._capture, self._times, self.milliseconds = cv2.VideoCapture(*arguments), iter(times), 0.0

        def __getattr__(self, name):
            return getattr(self._capture, name)

        def get(self, kind):
            return self.milliseconds if kind == cv2.CAP_PROP_POS_MSEC else self._capture.get(kind)

        def read(self):
            self.milliseconds = next(self._times, 9999.0)
            return self._capture.read()

    for source in (VideoSource(str(film), open_capture=Clock), StreamSource(str(film), is_file=True, open_capture=Clock)):
        with contextlib.closing(source):
            assert [frame.seconds for frame, _ in zip(source, times)] == pytest.approx(expected)


def test_an_image_with_the_name_of_a_video_is_an_image(tmp_path, frames):
    cv2.imwrite(str(tmp_path / "a.png"), frames[0])
    (tmp_path / "a.png").rename(tmp_path / "a.ts")
    assert not is_video(str(tmp_path / "a.ts"))


def test_a_folder_of_videos(predict, film, tmp_path):
    (film.parent / "film2.m4v").write_bytes(film.read_bytes())
    (film.parent / "._film.avi").write_bytes(b"\0\5\x16\7")
    printed = predict(film.parent)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["film.jsonl", "film.mp4", "film2.jsonl", "film2.mp4"]
    assert printed.err == f"ttfnet: {film.parent}: skipped 1 hidden file (._film.avi)\n"


def test_a_list_of_addresses_is_never_opened(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: pytest.fail("opened"))
    (tmp_path / "list.ts").write_text("#EXTM3U\n#EXTINF:1\nhttp://127.0.0.1:9/a.ts\n")
    assert "list.ts: is broken, empty or of a codec" in predict(tmp_path / "list.ts", code=2).err


@pytest.mark.parametrize("codec", ["mp4v", "MJPG"])
def test_damaged_videos_are_one_line_or_frames(tmp_path, frames, codec, capfd):
    path = tmp_path / ("film.avi" if codec == "MJPG" else "film.mp4")
    with quiet_opencv():
        _write(path, frames[:3], codec=codec)
        draw, whole = random.Random(codec), path.read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            for _ in range(draw.choice([1, 3, 20])):
                data[draw.randrange(len(data))] = draw.choice([0, 255, draw.randrange(256)])
            path.write_bytes(data[: draw.choice([len(data), draw.randrange(64, len(data))])])
            with contextlib.suppress(UserError):
                source = VideoSource(str(path))
                assert all(frame.image.dtype == np.uint8 for frame, _ in zip(source, range(20)))
                source.close()
    assert capfd.readouterr().out == ""


def test_frames_of_too_many_pixels_are_refused(tmp_path, frames):
    class Large:
        isOpened = staticmethod(lambda: True)
        set = staticmethod(lambda *_: True)
        get = staticmethod(lambda _: 60_000)
        read = staticmethod(lambda: pytest.fail("decoded"))
        release = staticmethod(lambda: None)

    _write(tmp_path / "film.mp4", frames[:1])
    with pytest.raises(UserError, match=r"film.mp4: has frames of 60000 x 60000 pixels; they may have up to 50000000$"):
        VideoSource(str(tmp_path / "film.mp4"), open_capture=lambda *_: Large())


def test_tables_crops_and_no_video(predict, film, frames, tmp_path):
    """A second call without drawings leaves the video alone."""
    crops = tmp_path / "crops"
    printed = predict(film, "--save", "csv,none", "--crops", crops, "--classes", "dog")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["film.csv", "film.jsonl"]
    lines = (tmp_path / "out/film.csv").read_text().splitlines()
    assert lines[0] == "frame,time,x1,y1,x2,y2,score,class_id,class_name"
    # A cell at (2, 2) of 64 x 64 is the point (8, 8); 8 px to every side, 3 and 2 times as far in the video, and clipped to the input.
    assert lines[1:] == [f"{k},{k / FPS:.4f},0.00,0.00,48.00,32.00,0.9999,8,dog" for k in range(5, 10)]
    assert sorted(path.name for path in (crops / "dog").iterdir()) == [f"film_{k:06d}_1.png" for k in range(5, 10)]
    assert json.loads((crops / "crops.jsonl").read_text().splitlines()[0])["frame"] == 5
    assert f"{tmp_path}/out/film.jsonl and .csv" in printed.out
    (tmp_path / "out/film.csv").write_text("mine\n")
    predict(film, "--save", "csv,none")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["film.csv", "film.jsonl", "film_2.csv", "film_2.jsonl"]
    assert (tmp_path / "out/film.csv").read_text() == "mine\n"


def test_an_annotated_video_is_no_source(predict, film, tmp_path):
    predict(film)
    predict(tmp_path / "out", "--save", "none", code=2)
    printed = predict(tmp_path / "out/film.mp4", code=2)
    assert "film.mp4: was drawn by predict" in printed.err


def test_ids_and_counts_through_the_command(predict, film, tmp_path):
    """The centre of the red square's box moves right from x = 24 to 132; it is 48 px wide. The green one is there from frame 5 on."""
    pytest.importorskip("supervision", exc_type=ImportError)
    printed = predict(film, "--track", "--count-line", "72,128,72,0", "--count-line", "0,90,192,90", "--save", "csv")
    records = _records(tmp_path / "out/film.jsonl")
    tracks = [{one["class_name"]: one["track"] for one in record["detections"]} for record in records]
    assert tracks[0] == {"cat": 1}
    assert all(one == {"cat": 1, "dog": 2} for one in tracks[6:])
    assert records[-1]["counts"] == [{"left_to_right": 1, "right_to_left": 0}, {"left_to_right": 0, "right_to_left": 0}]
    assert "line 72,128,72,0: 1 left to right, 0 right to left" in printed.out
    assert (tmp_path / "out/film.csv").read_text().splitlines()[0].endswith(",class_name,track")
    predict(film, "--track", "--score-threshold", "0.99996", "--class-threshold", "dog=0.3")  # the cat's is .99995
    assert {one["class_name"] for record in _records(tmp_path / "out/film.jsonl") for one in record["detections"]} == {"dog"}
