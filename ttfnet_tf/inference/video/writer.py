"""The results of a video: <name>.mp4 with the drawn frames, <name>.jsonl with one JSON object a frame, and a <name>.csv if asked for."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import remove_left_over, sync_file, temporary_path
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.draw import class_colour, draw_boxes, draw_caption, draw_line
from ttfnet_tf.inference.drawings import is_own_record
from ttfnet_tf.inference.save.crops import Crops
from ttfnet_tf.inference.save.formats import csv_line, detection_cells
from ttfnet_tf.inference.video.source import Frame, VideoSource
from ttfnet_tf.inference.video.stream import StreamSource
from ttfnet_tf.inference.video.tracking import Crossing, LineCounter, TrackedDetections, Tracker
from ttfnet_tf.json_text import json_text

CSV_COLUMNS = ("frame", "time", "x1", "y1", "x2", "y2", "score", "class_id", "class_name")
TRACK_COLUMNS = (*CSV_COLUMNS, "track")
_SPEED_FRAMES = 30  # frames over which the speeds in the caption are averaged


class VideoWriter:
    """Draws detections on frames and writes the files; called with one batch after the other.

    Args:
        video: the .mp4 file.
        record: the .jsonl file.
        source: gives size, frames a second, and whether it is a camera.
        colour_of: category id -> index of the class, which decides its colour.
        on_frame: called with the number of frames written and the two speeds.
        clock: seconds; for the speeds.
        draw: False: no video is written.
        table: the .csv file; None: none.
        crops: gets every frame; None: no crops.
        tracker: gives ids to the detections, which come into all files; None: none.
        counter: counts the tracks that cross its lines.

    Attributes:
        frames, detections: written so far.
        network_seconds: time that the network took for them.
        newest: the last drawn frame, uint8 [H, W, 3] RGB.

    Raises:
        UserError: a file cannot be written.
    """

    def __init__(
        self,
        video: Path,
        record: Path,
        source: VideoSource | StreamSource,
        colour_of: dict[int, int],
        on_frame: Callable[[int, dict[str, float]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        draw: bool = True,
        table: Path | None = None,
        crops: Crops | None = None,
        tracker: Tracker | None = None,
        counter: LineCounter | None = None,
    ):
        self.video, self.source, self.colour_of, self.on_frame = video, source, colour_of, on_frame
        self.frames = self.detections = self._written = 0
        self.network_seconds = 0.0
        self.newest: np.ndarray | None = None
        self._clock = clock
        self._speeds: deque[tuple[float, float]] = deque([(clock(), 0.0)], maxlen=_SPEED_FRAMES + 1)  # (clock, network seconds)
        height, width = source.size
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))  # encoders need even sides
        self._draw, self._crops, self._tracker, self._counter = draw, crops, tracker, counter
        remove_left_over(video.parent)
        self._record = _open_lines(record)
        self._table = None if table is None else _open_lines(table)
        if self._table is not None:
            self._table.write(csv_line(CSV_COLUMNS if tracker is None else TRACK_COLUMNS))
        even = (width + width % 2, height + height % 2)
        self._partial = temporary_path(video)  # without its end, which close() writes, no player opens it
        self._encoder: Any = None
        if draw:
            self._encoder = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*"mp4v"), source.fps, even)
            if not self._encoder.isOpened():
                self.close()
                raise UserError(f"{video}: cannot be written as MPEG-4 video by this OpenCV; name another folder with --out")

    def __call__(self, batch: tuple[Sequence[Frame], Sequence, float]) -> None:
        """Writes (frames, their detections, seconds that the network took for all of them)."""
        frames, found, seconds = batch
        for frame, detections in zip(frames, found):
            self.network_seconds += seconds / len(frames)
            speeds = self._current_speeds()
            tracked = None if self._tracker is None else self._tracker.update(detections, frame.seconds)
            crossings = [] if tracked is None or self._counter is None else self._counter.update(tracked)
            if self._draw:
                self.newest = self._drawing(frame.image, detections if tracked is None else tracked, speeds)
                self._write_frame(frame, self.newest)
            objects = (detections if tracked is None else tracked).to_json()
            self._write_record(frame, objects, crossings)
            if self._crops is not None:
                name = f"{self.video.stem}_{frame.index:06d}.png"
                self._crops.add(frame.image, self.source.name, objects, name, frame=frame.index)
            if self.on_frame is not None:
                self.on_frame(self.frames, speeds)

    def close(self) -> None:
        """Completes the files."""
        if self._encoder is not None:
            self._encoder.release()
        for file in (self._record, self._table):
            if file is not None:
                file.close()
        if self._partial.is_file():
            sync_file(self._partial)
            os.replace(self._partial, self.video)

    def _drawing(self, image: np.ndarray, found: Detections | TrackedDetections, speeds: dict[str, float]) -> np.ndarray:
        detections = found.detections if isinstance(found, TrackedDetections) else found
        labels = [f"{one.class_name} {one.score:.2f}" for one in detections]
        if isinstance(found, TrackedDetections):
            labels = [label if number is None else f"#{number} {label}" for label, number in zip(labels, found.ids)]
        drawing = draw_boxes(image, detections.boxes, labels, [class_colour(self.colour_of[one.class_id]) for one in detections])
        for line, counts in zip(*((self._counter.lines, self._counter.counts) if self._counter else ((), ()))):
            drawing = draw_line(drawing, line, "  ".join(str(value) for value in counts.values()))
        return draw_caption(drawing, "  ".join(f"{name} {value:.1f} fps" for name, value in speeds.items()))

    def _write_frame(self, frame: Frame, drawing: np.ndarray) -> None:
        height, width = self.source.size
        if drawing.shape[:2] != self.source.size:  # a stream may change its size, an encoder cannot
            drawing = cv2.resize(drawing, (width, height))
        encoded = cv2.cvtColor(np.pad(drawing, self._padding, mode="edge"), cv2.COLOR_RGB2BGR)
        # Live frames come at no fixed rate: each is repeated until its time is reached, so that the video plays in real time.
        last = self._written if not self.source.live else int(frame.seconds * self.source.fps)
        while self._written <= last:
            self._encoder.write(encoded)
            self._written += 1

    def _write_record(self, frame: Frame, found: Sequence[dict[str, Any]], crossings: Sequence[Crossing]) -> None:
        line: dict[str, Any] = {"frame": frame.index, "time": round(frame.seconds, 4), "detections": found}
        if self._counter is not None:
            line["crossings"] = [one.to_json() for one in crossings]
            line["counts"] = self._counter.counts
        try:
            self._record.write(json_text(line) + "\n")
            if self._table is not None:
                rows = (
                    (frame.index, f"{line['time']:.4f}", *detection_cells(one), *((one["track"],) if "track" in one else ()))
                    for one in found
                )
                self._table.write("".join(map(csv_line, rows)))
        except OSError as error:
            raise UserError(f"{self._record.name}: cannot be written ({error.strerror}); free some space or name another --out") from None
        self.frames += 1
        self.detections += len(found)

    def _current_speeds(self) -> dict[str, float]:
        """Frames a second over the last frames: of the network alone, and end to end."""
        self._speeds.append((self._clock(), self.network_seconds))
        (clock, network), (now, network_now) = self._speeds[0], self._speeds[-1]
        count = len(self._speeds) - 1
        return {"network": count / max(network_now - network, 1e-9), "end to end": count / max(now - clock, 1e-9)}


def output_paths(folder: Path, stem: str, source: str, keep: Collection[Path] = (), *, table: bool = False) -> tuple[Path, Path]:
    """Paths of the video and its record: <stem>.mp4 and <stem>.jsonl, or <stem>_2, ... where other files have those names.

    Args:
        folder: of the results.
        stem: name without suffix.
        source: the video that is read, which is never overwritten.
        keep: videos of the same call; those of an earlier call are overwritten.
        table: whether <stem>.csv is written, too.
    """
    number = 1
    while True:
        name = stem if number == 1 else f"{stem}_{number}"
        video, record = folder / f"{name}.mp4", folder / f"{name}.jsonl"
        is_source = video.exists() and Path(source).exists() and video.samefile(source)
        others = video.exists() or record.exists()
        foreign = table and not (_is_own_table(record.with_suffix(".csv")))
        if not is_source and video not in keep and not foreign and (is_own_record(record) or not others):
            return video, record
        number += 1


def _is_own_table(path: Path) -> bool:
    """Whether no other program has written this .csv file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline() in ("", csv_line(CSV_COLUMNS), csv_line(TRACK_COLUMNS))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def _open_lines(path: Path) -> TextIO:
    """A new text file of which a kill leaves whole lines."""
    try:
        return open(path, "w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another folder with --out") from None
