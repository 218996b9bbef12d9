"""`ttfnet predict` on videos, cameras and streams: its options, and what it does with them."""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfnet_tf.cli.options import positive
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.save.formats import LINES, NO_DRAWINGS
from ttfnet_tf.web import is_stream, is_web

if TYPE_CHECKING:
    from ttfnet_tf.inference.image_files import Sources
    from ttfnet_tf.inference.predict_images import Saving


def add_options(verb: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = verb.add_argument_group("videos, cameras and streams (docs/video.md)")
    group.add_argument("--show", action="store_true", help="show the drawn frames; q or Esc ends it")
    group.add_argument("--track", action="store_true", help="give each object one id in all frames; pip install 'ttfnet-tf[track]'")
    group.add_argument(
        "--count-line", action="append", default=[], metavar="X1,Y1,X2,Y2", help="count tracks that cross this line; may be repeated"
    )
    group.add_argument("--max-frames", type=int, metavar="N", help="end each of them after N frames")
    group.add_argument("--seconds", type=float, metavar="S", help="end each of them after S seconds")


def check(args: argparse.Namespace) -> None:
    """Checks the options before any work.

    Raises:
        UserError: one is wrong, or needs a package that is not installed.
    """
    _limits(args)
    _count_lines(args)
    if args.track and args.runner is None:
        from ttfnet_tf.inference.video.tracking import import_byte_track

        import_byte_track()


def refuse_options(args: argparse.Namespace) -> None:
    """Refuses these options where there are only images.

    Raises:
        UserError: one is given.
    """
    if args.show:
        raise UserError("--show is for videos and cameras; drawings of images are in --out")
    for name in ("track", "count_line", "max_frames", "seconds"):
        if getattr(args, name) not in (None, False, []):
            raise UserError(f"--{name.replace('_', '-')} is for videos, cameras and streams; leave it out for images")


def predict(args: argparse.Namespace, found: Sources, batch_size: int, load: Callable[[], tuple], saving: Saving) -> None:
    """Detects on videos, one after the other.

    Args:
        args: of the command line.
        found: the videos.
        batch_size: frames of one call of the network.
        load: gives the detector, and category id -> index of the class.
        saving: what is written beside the records.
    """
    from ttfnet_tf.inference.detections_json import make_folder
    from ttfnet_tf.inference.save.crops import Crops, check_crops
    from ttfnet_tf.inference.video.source import VideoSource, quiet_opencv
    from ttfnet_tf.inference.video.stream import StreamSource
    from ttfnet_tf.inference.video.tracking import LEAST_SCORE, LineCounter, Tracker
    from ttfnet_tf.inference.video.window import open_window

    limits, lines = _limits(args), _count_lines(args)
    _check_formats(args, saving)

    def opened(source: str):
        at_address = is_web(source) or is_stream(source)
        return StreamSource(source, is_file=source in found.web_files) if at_address else VideoSource(source)

    sources = [str(video) for video in found.videos]
    with quiet_opencv():
        window = open_window() if args.show else None
        make_folder(args.out)
        if saving.crops is not None:
            check_crops(saving.crops)
        for source in sources:  # before the network is loaded, which takes seconds
            opened(source).close()
        detector, colour_of = load()
        crops = None if saving.crops is None else Crops(saving.crops, detector.class_names, detector.category_ids)
        thresholds = detector.lower_thresholds(LEAST_SCORE) if args.track else None
        detector.warm_up(batch_size)  # or the first frame would seem to take as long as compiling

        from ttfnet_tf.training.stop import StopRequest

        written: list[Path] = []
        with StopRequest() as stop, contextlib.ExitStack() as stack:
            if crops is not None:
                stack.callback(crops.finish)
            more = {"draw": saving.draws, "table": "csv" in saving.formats, "crops": crops, "keep": written, **limits}
            for source in sources:
                video = opened(source)
                if thresholds is not None:  # ids and counts begin again with each video
                    more |= {"tracker": Tracker(thresholds), "counter": LineCounter(lines) if lines else None}
                result = _annotate(video, detector, args.out, colour_of, batch_size, stop, window, more)
                written.append(result.video)
                if stop.requested:
                    print(f"stopped; {'the video' if saving.draws else 'what was done'} so far is complete")
                    break


def _limits(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `annotate_video` that end a video early."""
    if args.seconds is not None and not 0 < args.seconds < math.inf:
        raise UserError(f"--seconds {args.seconds:g} must be above 0")
    return {"max_frames": None if args.max_frames is None else positive(args.max_frames, "--max-frames"), "seconds": args.seconds}


def _count_lines(args: argparse.Namespace) -> list[tuple[float, ...]]:
    """The lines of --count-line.

    Raises:
        UserError: one is no line, or there is no --track.
    """
    lines: list[tuple[float, ...]] = []
    for text in args.count_line:
        try:
            line: tuple[float, ...] = tuple(float(value) for value in text.split(","))
        except ValueError:
            line = ()
        if len(line) != 4 or not all(map(math.isfinite, line)) or line[:2] == line[2:]:
            raise UserError(f"--count-line {text} must be two points of the frame in pixels, x1,y1,x2,y2, e.g. 0,240,640,240")
        lines.append(line)
    if lines and not args.track:
        raise UserError("--count-line counts tracks; add --track")
    return lines


def _check_formats(args: argparse.Namespace, saving: Saving) -> None:
    for kind in saving.formats:
        if kind not in (*LINES, NO_DRAWINGS):
            raise UserError(f"--save {kind}: is for images; of videos there are {', '.join(LINES)} and {NO_DRAWINGS}")
    if args.show and not saving.draws:
        raise UserError(f"--show shows drawn frames; leave out --save {NO_DRAWINGS}")


def _annotate(video, detector, out: str, colour_of: dict[int, int], batch_size: int, stop, window, more: dict[str, Any]):
    """Annotates one video with a progress line, and prints what was written."""
    from ttfnet_tf.inference.video.annotate import annotate_video
    from ttfnet_tf.progress import ProgressMeter, duration

    ends = [video.expected, more["max_frames"], None if more["seconds"] is None or video.live else math.ceil(more["seconds"] * video.fps)]
    with ProgressMeter("predict", min((one for one in ends if one is not None), default=None)) as meter:
        video.on_break = lambda line: meter.message(f"ttfnet: {line}")
        result = annotate_video(
            functools.partial(detector.timed, batch_size=batch_size),
            video,
            out,
            colour_of=colour_of,
            batch_size=batch_size,
            should_stop=lambda: stop.requested or (window is not None and window.closed),
            on_frame=meter.update,
            show=None if window is None else window.show,
            **more,
        )
        if result.note:
            meter.message(f"ttfnet: {result.note}")
    speeds = f"network {result.network_fps:.1f} fps, end to end {result.fps:.1f} fps"
    counts = f"{result.frames} frames, {result.detections} detections in {duration(result.seconds)}"
    files = f"{result.video} and {result.record.name}" if more["draw"] else str(result.record)
    print(f"{video.name}: {counts}; {speeds}; {files}{' and .csv' if more['table'] else ''}")
    counter = more.get("counter")
    for line, (right, left) in zip(counter.lines, (one.values() for one in counter.counts)) if counter else ():
        print(f"line {','.join(f'{value:g}' for value in line)}: {right} left to right, {left} right to left")
    return result
