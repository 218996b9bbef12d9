"""`ttfnet predict`: a trained model on images, videos and cameras. `add_verb` puts it beside the other verbs."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttfnet_tf.cli import parser
from ttfnet_tf.cli.parser import RUN_HELP, positive
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.exported import find_exported
from ttfnet_tf.runs.run_folder import work_directory


def add_verb(verbs) -> None:
    """Adds `predict` to the sub-commands of a parser; its function is `args.command`, to be called with `args`."""
    verb = parser.add_verb(
        verbs,
        "predict",
        predict,
        "draw the detections on images and videos",
        "SOURCE",
        description="Draws the detections on images, with one detections.json, or on videos, with a line of JSON for each frame.",
        examples=(
            "ttfnet predict runs/demo image.jpg folder --out drawings",
            "ttfnet predict runs/demo 'photos/*.jpg' --out drawings --score-threshold 0.5",
            "ttfnet predict runs/demo film.mp4 --out drawings",
            "ttfnet predict runs/demo camera:0 --out drawings --class-threshold circle=0.6",
        ),
    )
    verb.add_argument("run", metavar="RUN", help=RUN_HELP)
    verb.add_argument("sources", metavar="SOURCE", nargs="+", help="image, folder of images or quoted pattern; or video, or camera:0")
    verb.add_argument("--out", metavar="DIR", required=True, help="for the drawings and their JSON")
    verb.add_argument("--score-threshold", type=float, default=0.3, metavar="S", help="only detections above it; default 0.3")
    verb.add_argument(
        "--class-threshold", action="append", default=[], metavar="NAME=S", help="another threshold for one class; may be repeated"
    )
    verb.add_argument("--batch-size", type=int, metavar="N", help="images of one call; default 8, of videos 1")
    verb.add_argument("--show", action="store_true", help="show a video while it is made; q or Esc ends it")


def predict(args: argparse.Namespace) -> None:
    """Detects on images or on videos."""
    if not find_exported(args.run):
        load_config(work_directory(args.run) / "config.yaml")
    batch_size = None if args.batch_size is None else positive(args.batch_size, "--batch-size")
    thresholds = {
        "score_threshold": _checked(f"--score-threshold {args.score_threshold:g}", args.score_threshold),
        "class_thresholds": _class_thresholds(args.class_threshold),
    }
    sources = [*args.sources, *args.rest]

    from ttfnet_tf.inference.video import is_video

    videos = [source for source in sources if is_video(source)]
    if not videos:
        if args.show:
            raise UserError("--show is for videos and cameras; drawings of images are in --out")
        _on_images(args, sources, batch_size or 8, thresholds)
    elif len(videos) < len(sources):
        other = next(source for source in sources if source not in videos)
        raise UserError(f"{videos[0]} is a video and {other} is not; name images and videos in calls of their own")
    else:
        _on_videos(args, videos, batch_size or 1, thresholds)


def _on_images(args: argparse.Namespace, sources: Sequence[str], batch_size: int, thresholds: dict[str, Any]) -> None:
    from ttfnet_tf.inference.predict import find_images, predict_files, prepare_output
    from ttfnet_tf.progress import ProgressMeter

    images, failures = find_images(sources)
    if not images:
        others = f", and nothing in {len(failures) - 1} more" if len(failures) > 1 else ""
        raise UserError(f"{failures[0].reason}{others}; name an image, a folder of images or a quoted pattern")
    for failure in failures:
        print(f"ttfnet: {failure.reason}", file=sys.stderr)
    prepare_output(args.out)
    detector, colour_of = _load(args.run, thresholds)
    with ProgressMeter("predict", len(images)) as meter:
        done, found = predict_files(
            detector.batch,
            images,
            args.out,
            colour_of=colour_of,
            about={"run": str(args.run), **thresholds},
            failures=failures,
            batch_size=min(batch_size, len(images)),
            on_failure=lambda line: meter.message(f"ttfnet: {line}"),
            on_batch=meter.update,
        )
    failed = len(images) - done + len(failures)
    print(f"{done} images, {found} detections, {failed} failed; drawings and detections.json in {args.out}")
    if not done:
        raise UserError("none of the images could be read")


def _on_videos(args: argparse.Namespace, sources: Sequence[str], batch_size: int, thresholds: dict[str, Any]) -> None:
    from ttfnet_tf.inference.predict import make_folder
    from ttfnet_tf.inference.video import VideoSource, annotate_video, open_window, quiet_opencv
    from ttfnet_tf.progress import ProgressMeter, duration

    quiet_opencv()
    window = open_window() if args.show else None
    make_folder(args.out)
    for source in sources:  # before the network is loaded, which takes seconds
        VideoSource(source).close()
    detector, colour_of = _load(args.run, thresholds)
    detector.warm_up(batch_size)  # or the first frame would seem to take as long as compiling

    from ttfnet_tf.training.devices import StopRequest

    written: list[Path] = []
    with StopRequest() as stop:
        for source in sources:
            video = VideoSource(source)
            with ProgressMeter("predict", video.expected) as meter:
                result = annotate_video(
                    functools.partial(detector.timed, batch_size=batch_size),
                    video,
                    args.out,
                    colour_of=colour_of,
                    batch_size=batch_size,
                    should_stop=lambda: stop.requested or (window is not None and window.closed),
                    on_frame=meter.update,
                    show=None if window is None else window.show,
                    keep=written,
                )
                if result.note:
                    meter.message(f"ttfnet: {result.note}")
            written.append(result.video)
            speeds = f"network {result.network_fps:.1f} fps, end to end {result.fps:.1f} fps"
            print(
                f"{source}: {result.frames} frames, {result.detections} detections in {duration(result.seconds)}; {speeds}; "
                f"{result.video} and {result.record.name}"
            )
            if stop.requested:
                print("stopped; the video so far is whole")
                break


def _load(run: str, thresholds: dict[str, Any]):
    """The detector, and the position of each category's class, which decides its colour."""
    from ttfnet_tf.progress import working

    with working(f"loading {run}"):
        from ttfnet_tf.inference.detector import Detector

        detector = Detector.load(run, **thresholds)
    return detector, {category_id: index for index, category_id in enumerate(detector.category_ids)}


def _class_thresholds(pairs: Sequence[str]) -> dict[str, float]:
    thresholds = {}
    for pair in pairs:
        name, _, value = pair.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            name = ""
        if not name:
            raise UserError(f"--class-threshold {pair} must be the name of a class and its threshold, e.g. RBC=0.5")
        thresholds[name] = _checked(f"--class-threshold {pair}", number)
    return thresholds


def _checked(option: str, value: float) -> float:
    if not 0 <= value < 1:
        raise UserError(f"{option} must lie in 0..1, 1 excluded")
    return value
