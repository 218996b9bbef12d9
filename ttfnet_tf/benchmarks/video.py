"""Speed of video annotation beside that of the network alone, with stages in parallel and one after the other."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ttfnet_tf import build
from ttfnet_tf.config import Config
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.inference.video.annotate import annotate_video
from ttfnet_tf.inference.video.source import VideoSource
from ttfnet_tf.inference.video.tracking import Tracker

BOXES = 20  # drawn in each frame
SECONDS = 10  # of the video
_FPS = 25
_ALONE = 30  # calls of the network alone, before the videos and again after them


@dataclass(frozen=True)
class VideoTimes:
    """Seconds for one video."""

    frames: int
    alone: float  # the network and its decoding, always on the same frame
    parallel: float  # end to end, reading and writing in parallel with the network
    in_turn: float  # end to end, one stage after the other
    tracked: float | None = None  # end to end in parallel, with tracking; None without its package

    def __str__(self) -> str:
        rows = [
            ("network alone", self.alone),
            ("end to end, stages in parallel", self.parallel),
            ("end to end, one after the other", self.in_turn),
        ]
        if self.tracked is not None:
            rows.append(("end to end in parallel, with tracking", self.tracked))
        return "\n".join(self._row(*row) for row in rows)

    def _row(self, name: str, seconds: float) -> str:
        speed = f"{1000 * seconds / self.frames:9.1f} ms per frame  {self.frames / seconds:7.1f} fps"
        return f"{name:38}{speed}  {seconds / self.alone:6.3f} of the network's time"


def benchmark_video(config: Config, *, num_classes: int, seconds: float = SECONDS) -> VideoTimes:
    """Annotates a synthetic video with a network of initial weights, and times it.

    The video has the size of the network's input and 25 frames per second; each frame gets 20 boxes, whatever their scores.

    Args:
        config: settings of a run.
        num_classes: of the network.
        seconds: length of the video.
    """
    config = dataclasses.replace(config, decode=dataclasses.replace(config.decode, top_k=BOXES))
    size = config.data.size
    names = [f"class {index}" for index in range(num_classes)]
    model, decode = build.model_of(config, num_classes), build.method_of(config, num_classes).decode
    detector = Detector(model, names, range(num_classes), decode, image_size=size, score_threshold=0.0)
    detector.warm_up(1)
    detect = functools.partial(detector.timed, batch_size=1)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "drawn.mp4"
        frames = draw_video(video, size=size, seconds=seconds)
        image = next(iter(VideoSource(str(video)))).image
        alone = [detect([image])[1] for _ in range(_ALONE)]
        parallel, in_turn = (
            annotate_video(
                detect, VideoSource(str(video)), folder, colour_of={index: index for index in range(num_classes)}, overlap=overlap
            )
            for overlap in (True, False)
        )
        tracked = _with_tracking(detect, video, folder, num_classes)
        alone += [detect([image])[1] for _ in range(_ALONE)]
    return VideoTimes(frames, frames * float(np.median(alone)), parallel.seconds, in_turn.seconds, tracked)


def _with_tracking(detect: Callable, video: Path, folder: str, num_classes: int) -> float | None:
    try:
        tracker = Tracker(dict.fromkeys(range(num_classes), 0.0))
    except UserError:
        return None
    colours = {index: index for index in range(num_classes)}
    return annotate_video(detect, VideoSource(str(video)), folder, colour_of=colours, tracker=tracker).seconds


def draw_video(path: Path, *, size: tuple[int, int], seconds: float) -> int:
    """Writes an MPEG-4 video of rectangles that move over noise; returns the number of frames."""
    height, width = size
    random = np.random.default_rng(0)
    background = cv2.resize(random.integers(0, 256, (height // 8, width // 8, 3), np.uint8), (width, height))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), _FPS, (width, height))
    count = round(seconds * _FPS)
    for index in range(count):
        frame = background.copy()
        for k in range(8):
            x, y = (37 * k + 5 * index) % width, (61 * k + 3 * index) % height
            cv2.rectangle(frame, (x, y), (x + width // 8, y + height // 6), (40 * k, 255 - 30 * k, 120), -1)
        writer.write(frame)
    writer.release()
    return count
