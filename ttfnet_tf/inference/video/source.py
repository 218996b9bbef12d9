"""Video files and cameras as frames."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ttfnet_tf.data.images import OPENCV_LOG
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.inference.image_files import content_of
from ttfnet_tf.web import is_stream, is_web

# Names of videos, for files that are missing or broken; otherwise the content decides.
VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".avi",
        ".mov",
        ".mkv",
        ".webm",
        ".mpg",
        ".mpeg",
        ".wmv",
        ".asf",
        ".ts",
        ".mts",
        ".m2ts",
        ".3gp",
        ".3g2",
        ".flv",
        ".ogv",
        ".vob",
    ]
)
_CAMERA = "camera:"
USUAL_FPS = 25.0  # of a file that does not say, and of the video of a camera


@dataclass(frozen=True)
class Frame:
    """One image of a video."""

    index: int  # from 0
    seconds: float  # since the first frame
    image: np.ndarray  # uint8 [H, W, 3] RGB


class VideoSource:
    """An open video file or camera; iterate over its frames once.

    Args:
        source: file name, "camera:0" or "0".
        open_capture: `cv2.VideoCapture`; an argument for tests.
        clock: seconds; dates the frames of a camera.

    Attributes:
        name: `source`.
        camera: number of the camera; None for a file.
        live: whether frames come at their own time, so that only the newest counts.
        stem: beginning of the names of results.
        size: (height, width) of the first frame in pixels.
        fps: frames a second.
        expected: number of frames, as the file says; None where that is unknown.

    Raises:
        UserError: no such file or camera, or nothing that OpenCV can read.
    """

    def __init__(self, source: str, open_capture: Callable[..., Any] = cv2.VideoCapture, clock: Callable[[], float] = time.monotonic):
        self.name, self.camera = source, camera_number(source)
        self.live, self.stem = self.camera is not None, Path(source).stem if self.camera is None else f"camera{self.camera}"
        if self.camera is None and not Path(source).is_file():
            wrong = "must be camera: and a number, such as camera:0" if source.startswith(_CAMERA) else "no such file"
            raise UserError(f"{source}: {wrong}; name a video or a camera")
        self._clock = clock
        self._capture: Any = None
        self._first = None
        if self.camera is not None:
            self._capture = open_capture(self.camera)
        elif content_of(Path(source)) == "a video":  # FFmpeg would follow a text file that lists addresses
            self._capture = open_capture(source, cv2.CAP_FFMPEG)  # other readers print what they do not understand
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # phones store frames as the sensor lies; off from OpenCV 4.11 on
            width, height = (self._capture.get(one) for one in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            if width * height > MAX_PIXELS:
                self.close()
                raise UserError(f"{source}: has frames of {width:.0f} x {height:.0f} pixels; they may have up to {MAX_PIXELS}")
        if self._capture is not None:
            self._first = self._read() if self._capture.isOpened() else None
        if self._first is None:
            self.close()
            if self.camera is not None:
                raise UserError(f"{source}: there is no such camera, or another program uses it; on Linux cameras are /dev/video<number>")
            raise UserError(f"{source}: is broken, empty or of a codec that OpenCV cannot read; convert it to an H.264 .mp4 first")
        height, width = self._first.shape[:2]
        self.size: tuple[int, int] = (height, width)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if self.camera is None and 1.0 <= fps <= 1000.0 else USUAL_FPS
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.expected = round(count) if self.camera is None and 0 < count < 1e9 else None

    def __iter__(self) -> Iterator[Frame]:
        index, start, last = 0, self._clock(), -1.0
        image = self._first
        while image is not None:
            if self.camera is not None:
                seconds = self._clock() - start
            else:
                seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
                if not seconds > last:  # a container without times, or with wrong ones
                    seconds = max(index, last * self.fps + 1) / self.fps
            last = seconds
            yield Frame(index, seconds, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            index += 1
            image = self._read()

    def close(self) -> None:
        """Closes the file or camera."""
        if self._capture is not None:
            self._capture.release()

    def _read(self) -> np.ndarray | None:
        try:
            there, image = self._capture.read()
        except cv2.error:  # some broken files raise where others end
            return None
        return image if there and image is not None and image.size else None


def camera_number(source: str) -> int | None:
    """0 for "camera:0", and for "0" unless a file has that name; None for anything else."""
    digits = source.removeprefix(_CAMERA)
    if not digits.isdecimal() or (digits == source and Path(source).exists()):
        return None
    return int(digits)


def is_video(source: str) -> bool:
    """Whether a source is a camera, an rtsp:// stream or a video file: by its content, or by its name if the content says nothing."""
    if source.startswith(_CAMERA) or camera_number(source) is not None:
        return True
    if is_stream(source) or is_web(source):
        return is_stream(source)  # of http:// and https:// see `web_sources`
    content = content_of(Path(source))
    return content == "a video" or (content is None and Path(source).suffix.lower() in VIDEO_SUFFIXES and not Path(source).is_dir())


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Hides what OpenCV and FFmpeg print about broken files, which would stand beside our line.

    FFmpeg reads its level once in a process: enter this before the first video is opened.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = OPENCV_LOG.getLogLevel()
    OPENCV_LOG.setLogLevel(0)
    try:
        yield
    finally:
        OPENCV_LOG.setLogLevel(level)
