"""Streams and videos at addresses: rtsp://, http:// and https://, by OpenCV's FFmpeg."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import cv2
import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.inference.video.source import USUAL_FPS, Frame
from ttfnet_tf.web import is_stream, name_of, without_password

OPEN_SECONDS, READ_SECONDS = 15, 10  # until a stream is open, and until its next frame
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each attempt to connect again; then the stream is over
_STABLE = 10.0  # seconds of frames after which a loss counts as the first again
# FFmpeg follows the addresses in a playlist: none of them may be a file. RTSP over TCP, since lost packets of UDP are grey frames.
_OPTIONS = "protocol_whitelist;http,https,tcp,tls,udp,rtp,rtsp,crypto,httpproxy|rtsp_transport;tcp"
_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


class StreamSource:
    """An open stream, or a video at an address; iterate over its frames once.

    A stream whose length is unknown is live: only its newest frame counts, and when it breaks off, it is opened again up to five times in a
    row, after 1, 2, 4, 8 and 16 seconds.

    Args:
        address: rtsp://, http:// or https://.
        is_file: whether a video file is there, which has an end.
        open_capture: `cv2.VideoCapture`; an argument for tests.
        clock: seconds; dates the frames of a live stream.
        on_break: called with a line whenever the stream has broken off.

    Attributes:
        name: the address without its password.
        stem: beginning of the names of results.
        camera: None.
        live, size, fps, expected: see `source.VideoSource`.

    Raises:
        UserError: there is no stream that OpenCV can read.
    """

    def __init__(
        self,
        address: str,
        *,
        is_file: bool = False,
        open_capture: Callable[..., Any] = cv2.VideoCapture,
        clock: Callable[[], float] = time.monotonic,
        on_break: Callable[[str], None] = lambda line: None,
    ):
        self._address, self._open_capture, self._clock, self.on_break = address, open_capture, clock, on_break
        self.name, self.camera, self.stem = without_password(address), None, _stem(address)
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._capture = cast(Any, None)  # of OpenCV; replaced whenever the stream is opened again
        self._first = self._connect()
        if self._first is None:
            self.close()
            raise UserError(f"{self.name}: cannot be opened as a stream or video within {OPEN_SECONDS} seconds; is the address right?")
        height, width = self._first.shape[:2]
        self.size: tuple[int, int] = (height, width)
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = float(fps) if 1.0 <= fps <= 240.0 else USUAL_FPS  # of a stream it may be the clock of its packets
        self.expected = round(count) if 0 < count < 1e9 else None
        self.live = is_stream(address) or (self.expected is None and not is_file)

    def __iter__(self) -> Iterator[Frame]:
        index, start, last = 0, self._clock(), -1.0
        image, breaks, connected = self._first, 0, start
        while image is not None:
            seconds = self._clock() - start if self.live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            seconds = seconds if self.live or seconds > last else max(index, last * self.fps + 1) / self.fps
            last = seconds
            yield Frame(index, seconds, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            index += 1
            image = self._read()
            if image is None and self.live:
                breaks = 0 if self._clock() - connected >= _STABLE else breaks
                image, breaks = self._reconnect(breaks)
                connected = self._clock()

    def close(self) -> None:
        """Closes the stream; one whose thread still waits for a frame is left to end by itself."""
        self._closing.set()
        if self._lock.acquire(timeout=1.0):
            if self._capture is not None:
                self._capture.release()
            self._lock.release()

    def _reconnect(self, breaks: int) -> tuple[np.ndarray | None, int]:
        """The first frame of a new connection, None if there was none in time; and how often the stream has broken off in a row."""
        for number in range(breaks, len(WAITS)):
            if self._closing.is_set():
                break
            self.on_break(f"{self.name}: has broken off; connects again in {WAITS[number]:g} s, attempt {number + 1} of {len(WAITS)}")
            if self._closing.wait(WAITS[number]):
                break
            image = self._connect()
            if image is not None:
                return image, number + 1
        return None, len(WAITS)

    def _connect(self) -> np.ndarray | None:
        """Opens the stream and reads its first frame; None if that fails."""
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1000 * OPEN_SECONDS), cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1000 * READ_SECONDS)]
        with self._lock:
            if self._closing.is_set():
                return None
            if self._capture is not None:
                self._capture.release()
            with _ffmpeg_options():
                self._capture = self._open_capture(self._address, cv2.CAP_FFMPEG, limits)
            if not self._capture.isOpened():
                return None
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
            width, height = (self._capture.get(one) for one in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            self.close()
            raise UserError(f"{self.name}: has frames of {width:.0f} x {height:.0f} pixels; they may have up to {MAX_PIXELS}")
        return self._read()

    def _read(self) -> np.ndarray | None:
        with self._lock:
            if self._closing.is_set():
                return None
            try:
                there, image = self._capture.read()
            except cv2.error:
                return None
        return image if there and image is not None and image.size else None


def _stem(address: str) -> str:
    """The name of the file or stream; of an rtsp:// address with the camera before it."""
    name = name_of(address)
    if is_stream(address):
        host = re.sub(r"[^\w.-]", "_", urlsplit(address).hostname or "stream")
        return host if name == host else f"{host}_{name}"
    return name.rpartition(".")[0] or name


@contextlib.contextmanager
def _ffmpeg_options() -> Iterator[None]:
    """OpenCV reads FFmpeg's options from the environment whenever it opens something; those of the user stay."""
    if _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = _OPTIONS
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
