"""How near the annotation of a video comes to the speed of the network alone, with stages beside each other and one after the other."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ttfnet_tf import build
from ttfnet_tf.config import Config
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.inference.video.annotate import annotate_video
from ttfnet_tf.inference.video.source import VideoSource

BOXES = 20  # drawn in each frame
SECONDS = 10  # of the video
_FPS = 25
_ALONE = 30  # calls of the network by itself, before and after


@dataclass(frozen=True)
class VideoTimes:
    """Seconds for one video."""

    frames: int
    alone: float  # the network and its decoding, called with the same frame again and again
    beside: float  # from end to end, reading and writing beside the network
    in_turn: float  # from end to end, one stage after the other

    def __str__(self) -> str:
        rows = [
            ("network alone", self.alone),
            ("end to end, stages beside each other", self.beside),
            ("end to end, one after the other", self.in_turn),
        ]
        return "\n".join(self._row(*row) for row in rows)

    def _row(self, name: str, seconds: float) -> str:
        pace = f"{1000 * seconds / self.frames:9.1f} ms a frame  {self.frames / seconds:7.1f} fps"
        return f"{name:38}{pace}  {seconds / self.alone:6.3f} of the network's time"


def benchmark_video(config: Config, *, num_classes: int, seconds: float = SECONDS) -> VideoTimes:
    """Annotates a drawn video of the network's input size and 25 frames a second with a network of initial weights.

    Every frame gets 20 boxes, whatever their scores.

    Args:
        config: of the network.
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
        film = Path(folder) / "drawn.mp4"
        frames = draw_video(film, size=size, seconds=seconds)
        image = next(iter(VideoSource(str(film)))).image
        alone = [detect([image])[1] for _ in range(_ALONE)]
        beside, in_turn = (
            annotate_video(
                detect, VideoSource(str(film)), folder, colour_of={index: index for index in range(num_classes)}, overlap=overlap
            )
            for overlap in (True, False)
        )
        alone += [detect([image])[1] for _ in range(_ALONE)]
    return VideoTimes(frames, frames * float(np.median(alone)), beside.seconds, in_turn.seconds)


def draw_video(path: Path, *, size: tuple[int, int], seconds: float) -> int:
    """Rectangles that move over noise, as MPEG-4; returns the number of frames."""
    height, width = size
    random = np.random.default_rng(0)
    ground = cv2.resize(random.integers(0, 256, (height // 8, width // 8, 3), np.uint8), (width, height))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), _FPS, (width, height))
    count = round(seconds * _FPS)
    for index in range(count):
        frame = ground.copy()
        for k in range(8):
            x, y = (37 * k + 5 * index) % width, (61 * k + 3 * index) % height
            cv2.rectangle(frame, (x, y), (x + width // 8, y + height // 6), (40 * k, 255 - 30 * k, 120), -1)
        writer.write(frame)
    writer.release()
    return count
