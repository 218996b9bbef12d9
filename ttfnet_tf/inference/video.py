"""Detection on video files and cameras: an annotated video and one JSON object a frame.

Reading and decoding run in a thread before the network, drawing and encoding in one after it, with short queues between them, so that the
network does not wait. Frames keep their order; a camera's are dropped while the network is busy, for only the newest is of interest.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.draw import class_colour, draw_boxes, draw_caption
from ttfnet_tf.inference.overlap import Ahead, Behind

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
_CAMERA = "camera:"
_USUAL_FPS = 25.0  # of a file that does not tell, and of what a camera gives
_SPEED_FRAMES = 30  # that the speeds in the image look back


@dataclass(frozen=True)
class Frame:
    """One image of a video."""

    index: int  # from 0; of a camera, among those that were looked at
    seconds: float  # since the first
    image: np.ndarray  # uint8 [H, W, 3] RGB


@dataclass(frozen=True)
class VideoResult:
    """What came of one source."""

    frames: int
    detections: int
    seconds: float  # from the first frame asked for to the last one written
    network_seconds: float  # of them inside the network
    video: Path
    record: Path
    note: str | None  # a line for people, if the source ended early

    @property
    def fps(self) -> float:
        """Frames a second from end to end."""
        return self.frames / max(self.seconds, 1e-9)

    @property
    def network_fps(self) -> float:
        """Frames a second of the network alone."""
        return self.frames / max(self.network_seconds, 1e-9)


def camera_number(source: str) -> int | None:
    """0 for "camera:0", and for "0" unless a file has that name; None for anything else."""
    digits = source.removeprefix(_CAMERA)
    if not digits.isdecimal() or (digits == source and Path(source).exists()):
        return None
    return int(digits)


def is_video(source: str) -> bool:
    """Whether a source is a camera, or a video file by its name."""
    return source.startswith(_CAMERA) or camera_number(source) is not None or Path(source).suffix.lower() in VIDEO_SUFFIXES


def quiet_opencv() -> None:
    """Keeps OpenCV and FFmpeg from writing about broken files beside our line; before the first file is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.setLogLevel(0)


class Window:
    """A window of OpenCV that shows drawn frames until somebody closes it by q or Esc."""

    def __init__(self):
        self.closed = False

    def show(self, image: np.ndarray) -> None:
        """Shows a uint8 [H, W, 3] RGB image."""
        cv2.imshow("ttfnet", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self.closed |= cv2.waitKey(1) & 0xFF in (27, ord("q"))


def open_window() -> Window:
    """For `--show`.

    Raises:
        UserError: the installed OpenCV has no windows, or there is no display.
    """
    interface = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")), "")
    if interface.rpartition(":")[2].strip() in ("", "NONE"):
        raise UserError("--show: the installed OpenCV has no windows; install opencv-python in place of opencv-python-headless")
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError("--show: there is no display here (DISPLAY is not set); leave it out")
    return Window()


class VideoSource:
    """A video file or a camera, opened; iterate over its frames once.

    Args:
        source: file name, "camera:0" or "0".
        open_capture: `cv2.VideoCapture`; an argument for tests.

    Raises:
        UserError: no such file or camera, or nothing that OpenCV can read.
    """

    def __init__(self, source: str, open_capture: Callable[[Any], Any] = cv2.VideoCapture):
        self.name, self.camera = source, camera_number(source)
        if self.camera is None and not Path(source).is_file():
            wrong = "must be camera: and a number, such as camera:0" if source.startswith(_CAMERA) else "no such file"
            raise UserError(f"{source}: {wrong}; name a video or a camera")
        self._capture = open_capture(source if self.camera is None else self.camera)
        self._first = self._read() if self._capture.isOpened() else None
        if self._first is None:
            self.close()
            if self.camera is not None:
                raise UserError(f"{source}: there is no such camera, or another program uses it; on Linux cameras are /dev/video<number>")
            raise UserError(f"{source}: is broken or empty, or of a codec that OpenCV cannot read; turn it into an H.264 .mp4 first")
        height, width = self._first.shape[:2]
        self.size: tuple[int, int] = (height, width)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if self.camera is None and 1.0 <= fps <= 1000.0 else _USUAL_FPS
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.expected = round(count) if self.camera is None and 0 < count < 1e9 else None  # frames, by the file's own word

    def __iter__(self) -> Iterator[Frame]:
        index, start, last = 0, time.monotonic(), -1.0
        image = self._first
        while image is not None:
            if self.camera is not None:
                seconds = time.monotonic() - start
            else:
                seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
                if not seconds > last:  # a container without times
                    seconds = index / self.fps
            last = seconds
            yield Frame(index, seconds, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            index += 1
            image = self._read()

    def close(self) -> None:
        self._capture.release()

    def _read(self) -> np.ndarray | None:
        try:
            there, image = self._capture.read()
        except cv2.error:  # some broken files raise where others end
            return None
        return image if there and image is not None and image.size else None


def annotate_video(
    detect: Callable[[list[np.ndarray]], tuple[list, float]],
    source: VideoSource,
    folder: str | Path,
    *,
    colour_of: dict[int, int],
    batch_size: int = 1,
    overlap: bool = True,
    should_stop: Callable[[], bool] = lambda: False,
    on_frame: Callable[[int, dict[str, float]], None] | None = None,
    show: Callable[[np.ndarray], None] | None = None,
    keep: Collection[Path] = (),
) -> VideoResult:
    """Detects on every frame; writes <name>.mp4 and <name>.jsonl into `folder`.

    Args:
        detect: from RGB images to their detections and the seconds that the network took, see `Detector.timed`.
        source: closed at the end.
        folder: for the results; must be there.
        colour_of: category id -> position of the class, which decides its colour.
        batch_size: frames of one call; a camera's come one by one.
        overlap: whether reading and writing have their own threads; without, each frame waits for the one before.
        should_stop: looked at between frames; what was done so far is finished.
        on_frame: called with the number of frames written and the two speeds.
        show: called in this thread with the newest drawn frame, RGB.
        keep: videos that are not written over, those of the same call.

    Raises:
        UserError: the results cannot be written.
    """
    stem = f"camera{source.camera}" if source.camera is not None else Path(source.name).stem
    video, record = output_paths(Path(folder), stem, source.name, keep)
    batch_size = 1 if source.camera is not None else batch_size
    sink = _Sink(video, record, source, colour_of, on_frame)
    start = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(source.close)  # last: after the thread that reads
            frames: Iterable[Frame] = source
            take = sink
            if overlap:
                frames = stack.enter_context(Ahead(source, newest=source.camera is not None))
                take = stack.enter_context(Behind(sink))
            for batch in _batches(frames, batch_size):
                if should_stop():
                    break
                found, seconds = detect([frame.image for frame in batch])
                take((batch, found, seconds))
                if show is not None and sink.newest is not None:
                    show(sink.newest)
    finally:
        sink.close()
    if sink.frames and not (video.is_file() and video.stat().st_size):
        raise UserError(f"{video}: could not be written; is the disk full?")
    note = None
    if source.expected and not should_stop() and sink.frames < 0.95 * source.expected - 1:
        note = f"{source.name}: ends after {sink.frames} of {source.expected} frames; is the file whole?"
    return VideoResult(sink.frames, sink.detections, time.monotonic() - start, sink.network_seconds, video, record, note)


def output_paths(folder: Path, stem: str, source: str, keep: Collection[Path] = ()) -> tuple[Path, Path]:
    """<stem>.mp4 and <stem>.jsonl, or <stem>_2, ... where other files have those names; a pair of an earlier call is written over."""
    number = 1
    while True:
        name = stem if number == 1 else f"{stem}_{number}"
        video, record = folder / f"{name}.mp4", folder / f"{name}.jsonl"
        is_source = video.exists() and Path(source).exists() and video.samefile(source)
        if not is_source and video not in keep and (_is_ours(record) or not (video.exists() or record.exists())):
            return video, record
        number += 1


class _Sink:
    """Draws, encodes and writes down; called with (frames, detections, seconds in the network), one batch after the other."""

    def __init__(self, video: Path, record: Path, source: VideoSource, colour_of: dict[int, int], on_frame):
        self.video, self.source, self.colour_of, self.on_frame = video, source, colour_of, on_frame
        self.frames = self.detections = self._written = 0
        self.network_seconds = 0.0
        self.newest: np.ndarray | None = None
        self._speeds: deque[tuple[float, float]] = deque([(time.monotonic(), 0.0)], maxlen=_SPEED_FRAMES + 1)  # clock, network seconds
        height, width = source.size
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))  # encoders want even sides
        try:
            self._record = open(record, "w", encoding="utf-8", buffering=1)  # noqa: SIM115  # until close(); by lines, for a kill
        except OSError as error:
            raise UserError(f"{record}: cannot be written ({error.strerror}); name another folder with --out") from None
        even = (width + width % 2, height + height % 2)
        self._writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"mp4v"), source.fps, even)
        if not self._writer.isOpened():
            self._record.close()
            raise UserError(f"{video}: cannot be written as MPEG-4 video by this OpenCV; name another folder with --out")

    def __call__(self, work: tuple[Sequence[Frame], Sequence, float]) -> None:
        frames, found, seconds = work
        for frame, detections in zip(frames, found):
            self.network_seconds += seconds / len(frames)
            speeds = self._speeds_now()
            labels = [f"{one.class_name} {one.score:.2f}" for one in detections]
            drawing = draw_boxes(frame.image, detections.boxes, labels, [class_colour(self.colour_of[one.class_id]) for one in detections])
            drawing = draw_caption(drawing, "  ".join(f"{name} {value:.1f} fps" for name, value in speeds.items()))
            self._write(frame, drawing, detections)
            self.newest = drawing
            if self.on_frame is not None:
                self.on_frame(self.frames, speeds)

    def close(self) -> None:
        self._writer.release()
        self._record.close()

    def _write(self, frame: Frame, drawing: np.ndarray, detections) -> None:
        height, width = self.source.size
        if drawing.shape[:2] != self.source.size:  # a stream that changes its size; an encoder takes one
            drawing = cv2.resize(drawing, (width, height))
        encoded = cv2.cvtColor(np.pad(drawing, self._padding, mode="edge"), cv2.COLOR_RGB2BGR)
        # A camera's images come at no fixed pace: each is repeated until its moment is reached, so that the video keeps the time.
        last = self._written if self.source.camera is None else int(frame.seconds * self.source.fps)
        while self._written <= last:
            self._writer.write(encoded)
            self._written += 1
        line = {"frame": frame.index, "time": round(frame.seconds, 4), "detections": detections.to_json()}
        try:
            self._record.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UserError(f"{self._record.name}: cannot be written ({error.strerror}); free some space or name another --out") from None
        self.frames += 1
        self.detections += len(detections)

    def _speeds_now(self) -> dict[str, float]:
        """Frames a second over the last ones: of the network alone, and from end to end."""
        self._speeds.append((time.monotonic(), self.network_seconds))
        (clock, network), (now, network_now) = self._speeds[0], self._speeds[-1]
        count = len(self._speeds) - 1
        return {"network": count / max(network_now - network, 1e-9), "end to end": count / max(now - clock, 1e-9)}


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _is_ours(record: Path) -> bool:
    """Whether a .jsonl is what an earlier call wrote."""
    try:
        with open(record, encoding="utf-8") as file:
            line = file.readline()
        return {"frame", "time", "detections"} <= set(json.loads(line))
    except (OSError, ValueError, TypeError):
        return False
