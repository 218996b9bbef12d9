"""Detects on every frame of a video or camera.

Reading runs in a thread before the network, drawing and encoding in one after it, so that the network does not wait. Frames keep their
order; a camera's frames are dropped while the network is busy, since only the newest is of interest.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.save.crops import Crops
from ttfnet_tf.inference.video.source import Frame, VideoSource
from ttfnet_tf.inference.video.stream import StreamSource
from ttfnet_tf.inference.video.threads import BackgroundWorker, Prefetcher
from ttfnet_tf.inference.video.tracking import LineCounter, Tracker
from ttfnet_tf.inference.video.writer import VideoWriter, output_paths


@dataclass(frozen=True)
class VideoResult:
    """What was written for one source, and how fast."""

    frames: int
    detections: int
    seconds: float  # from the first frame read to the last one written
    network_seconds: float  # of them inside the network
    video: Path
    record: Path
    note: str | None  # a line for people, if the source ended early

    @property
    def fps(self) -> float:
        """Frames a second end to end."""
        return self.frames / max(self.seconds, 1e-9)

    @property
    def network_fps(self) -> float:
        """Frames a second of the network alone."""
        return self.frames / max(self.network_seconds, 1e-9)


def annotate_video(
    detect: Callable[[list[np.ndarray]], tuple[list, float]],
    source: VideoSource | StreamSource,
    folder: str | Path,
    *,
    colour_of: dict[int, int],
    batch_size: int = 1,
    overlap: bool = True,
    should_stop: Callable[[], bool] = lambda: False,
    on_frame: Callable[[int, dict[str, float]], None] | None = None,
    show: Callable[[np.ndarray], None] | None = None,
    keep: Collection[Path] = (),
    draw: bool = True,
    table: bool = False,
    crops: Crops | None = None,
    max_frames: int | None = None,
    seconds: float | None = None,
    tracker: Tracker | None = None,
    counter: LineCounter | None = None,
) -> VideoResult:
    """Detects on every frame; writes <name>.mp4 and <name>.jsonl into `folder`.

    Args:
        detect: from RGB images to their detections and the seconds that the network took, see `Detector.timed`.
        source: closed at the end.
        folder: for the results; must exist.
        colour_of: category id -> index of the class, which decides its colour.
        batch_size: frames of one call; those of a camera come one by one.
        overlap: read and write in threads of their own; without, each frame waits for the one before.
        should_stop: asked before each batch; what is done so far is completed.
        on_frame: called with the number of frames written and the two speeds.
        show: called in this thread with the newest drawn frame, RGB.
        keep: videos that are not overwritten, those of the same call.
        draw: False: no <name>.mp4.
        table: <name>.csv, too.
        crops: gets every frame.
        tracker: gives ids to the detections.
        counter: counts the tracks that cross its lines.
        max_frames: ends after this many frames.
        seconds: ends at this time of the video, or after this time of a live source, even if no frame comes.

    Raises:
        UserError: the results cannot be written.
    """
    video, record = output_paths(Path(folder), source.stem, source.name, keep, table=table)
    csv = record.with_suffix(".csv") if table else None
    writer = VideoWriter(video, record, source, colour_of, on_frame, draw=draw, table=csv, crops=crops, tracker=tracker, counter=counter)
    start = time.monotonic()

    def is_over() -> bool:
        return should_stop() or (source.live and seconds is not None and time.monotonic() - start >= seconds)

    with contextlib.ExitStack() as stack:
        stack.callback(writer.close)  # in reverse order: the threads end first
        stack.callback(source.close)
        frames: Iterable[Frame] = source
        write: Callable = writer
        if overlap:
            frames = stack.enter_context(Prefetcher(source, newest=source.live, should_stop=is_over))
            write = stack.enter_context(BackgroundWorker(writer))
        for batch in _batches(_limited(frames, max_frames, seconds), 1 if source.live else batch_size):
            if should_stop():
                break
            found, network_seconds = detect([frame.image for frame in batch])
            write((batch, found, network_seconds))
            if show is not None and writer.newest is not None:
                show(writer.newest)
    if draw and writer.frames and not (video.is_file() and video.stat().st_size):
        raise UserError(f"{video}: could not be written; is the disk full?")
    elapsed = time.monotonic() - start
    is_whole = max_frames is None and seconds is None and not should_stop()
    note = _note(source, writer.frames) if is_whole else None
    return VideoResult(writer.frames, writer.detections, elapsed, writer.network_seconds, video, record, note)


def _note(source: VideoSource | StreamSource, frames: int) -> str | None:
    """A line if the source ended well before the frame count that the file states."""
    if source.expected and frames < 0.95 * source.expected - 1:
        return f"{source.name}: ends after {frames} of {source.expected} frames; is the file complete?"
    return None


def _limited(frames: Iterable[Frame], max_frames: int | None, seconds: float | None) -> Iterator[Frame]:
    """The frames up to a number and a time."""
    for count, frame in enumerate(frames, start=1):
        if seconds is not None and frame.seconds >= seconds:
            return
        yield frame
        if count == max_frames:
            return


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
