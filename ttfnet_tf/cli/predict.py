"""`ttfnet predict`: draws the detections of a run or exported model on images, videos and cameras."""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfnet_tf.cli import predict_bulk
from ttfnet_tf.cli.options import RUN_HELP, class_list, positive, refuse_other_keys, split_settings, threshold
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.config import config_of, load_stored
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.exported_model import find_exported
from ttfnet_tf.inference.save.formats import FORMATS, LINES, NO_DRAWINGS, check_formats
from ttfnet_tf.plain_text import printable
from ttfnet_tf.runs.run_folder import work_directory

if TYPE_CHECKING:
    from ttfnet_tf.inference.image_files import Sources
    from ttfnet_tf.inference.predict_images import Saving


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "predict",
        run,
        "draw the detections on images and videos",
        "SOURCE",
        description="Draws the detections on images, with one detections.json, or on videos, with a line of JSON for each frame.",
        examples=(
            "ttfnet predict runs/demo image.jpg folder --out drawings",
            "ttfnet predict runs/demo 'photos/*.jpg' --out drawings --score-threshold 0.5",
            "ttfnet predict runs/demo film.mp4 --out drawings",
            "ttfnet predict runs/demo camera:0 --out drawings --class-threshold circle=0.6",
            "ttfnet predict runs/demo images --out drawings data.image_size=[640,640]",
            "ttfnet predict runs/demo folder --out found --classes circle,square --save coco,csv,none --crops crops",
            "ttfnet predict models/demo 'photos/**/*.jpg' --out records --runner beam --format parquet",
        ),
    )
    verb.add_argument("run", metavar="RUN", help=RUN_HELP)
    verb.add_argument("sources", metavar="SOURCE", nargs="+", help="image, folder of images or quoted pattern; or video, or camera:0")
    verb.add_argument("--out", metavar="DIR", required=True, help="for the drawings and their JSON")
    verb.add_argument("--score-threshold", type=float, default=0.3, metavar="S", help="only detections above it; default 0.3")
    verb.add_argument(
        "--class-threshold", action="append", default=[], metavar="NAME=S", help="another threshold for one class; may be repeated"
    )
    verb.add_argument("--batch-size", type=int, metavar="N", help="images of one call; default 8, for videos 1")
    verb.add_argument(
        "--classes", action="append", default=[], metavar="NAMES", help="only detections of these classes, with commas between"
    )
    verb.add_argument(
        "--save",
        action="append",
        default=[],
        metavar="FORMATS",
        help=f"also write {', '.join(FORMATS)}, with commas between; none: no drawings; videos: csv, none",
    )
    verb.add_argument("--crops", metavar="FOLDER", help="also write every detection as an image of its own there")
    verb.add_argument("--show", action="store_true", help="show a video while it is made; q or Esc ends it")
    predict_bulk.add_options(verb)


def run(args: argparse.Namespace) -> None:
    """Detects on images or on videos."""
    predict_bulk.check(args)
    formats, classes = check_formats(args.save), class_list(args.classes)
    sources, settings = split_settings([*args.sources, *args.rest])
    image_size = _image_size(args.run, settings)
    if not sources:
        raise UserError("name an image, a folder of images, a quoted pattern or a video")
    batch_size = None if args.batch_size is None else positive(args.batch_size, "--batch-size")
    options = {
        **({"image_size": image_size} if image_size else {}),
        "score_threshold": threshold(args.score_threshold, f"--score-threshold {args.score_threshold:g}"),
        "class_thresholds": _class_thresholds(args.class_threshold),
    }

    from ttfnet_tf.inference.drawings import is_annotated
    from ttfnet_tf.inference.image_files import find_images
    from ttfnet_tf.inference.video.source import is_video

    if args.runner is not None:
        from ttfnet_tf.inference.bulk.sources import find_all

        predict_bulk.predict(args, sources, functools.partial(find_all, sources, find_images), options, batch_size or 8)
        return
    videos = [source for source in sources if is_video(source)]
    others = [source for source in sources if source not in videos]
    annotated = [video for video in videos if is_annotated(Path(video))]
    if annotated and len(annotated) == len(sources):
        raise UserError(f"{annotated[0]}: was drawn by predict; name other videos or images")
    videos = [video for video in videos if video not in annotated]
    found = find_images(others)
    if annotated:
        found.notes.append(f"skipped {len(annotated)} videos that predict has drawn, such as {annotated[0]}")
    for note in found.notes:
        print(f"ttfnet: {note}", file=sys.stderr)
    videos += map(str, found.videos)

    from ttfnet_tf.inference.predict_images import Saving

    saving = Saving(formats, None if args.crops is None else Path(args.crops))
    if not videos:
        if args.show:
            raise UserError("--show is for videos and cameras; drawings of images are in --out")
        _on_images(args, found, batch_size or 8, options, classes, saving)
    elif found.images or found.failures:
        other = found.images[0] if found.images else found.failures[0].source
        raise UserError(f"{videos[0]} is a video and {other} is not; run predict on images and on videos separately")
    else:
        _on_videos(args, videos, batch_size or 1, options, classes, saving)


def _image_size(run: str, settings: Sequence[str]) -> tuple[int, int] | None:
    """(H, W) that the settings of the command line ask for; None: that of training. Checks that there is a run."""
    refuse_other_keys(settings, ["data.image_size="], "predict takes data.image_size=[H,W] and no other setting")
    exported = find_exported(run)
    if exported:
        config = config_of(exported.card["config"], settings, source=str(exported.path))
        exported.check_image_size(config.data.size)
    else:
        config = load_stored(work_directory(run) / "config.yaml", settings)
    return config.data.size if settings else None


def _on_images(
    args: argparse.Namespace, found: Sources, batch_size: int, options: dict[str, Any], classes: Sequence[str], saving: Saving
) -> None:
    from ttfnet_tf.inference.predict_images import predict_images, prepare_output
    from ttfnet_tf.progress import ProgressMeter

    images, failures = found.images, found.failures
    if not images:
        others = f", and nothing in {len(failures) - 1} more" if len(failures) > 1 else ""
        raise UserError(f"{failures[0].reason}{others}; name an image, a folder of images or a quoted pattern")
    for failure in failures:
        print(f"ttfnet: {printable(failure.reason)}", file=sys.stderr)
    prepare_output(args.out, saving)
    detector, colour_of = _load(args.run, options, classes)
    with ProgressMeter("predict", len(images)) as meter:
        done, detections = predict_images(
            detector.batch,
            images,
            args.out,
            colour_of=colour_of,
            class_names=detector.class_names,
            about={"run": str(args.run), **options, **({"classes": classes} if classes else {})},
            saving=saving,
            failures=failures,
            batch_size=min(batch_size, len(images)),
            on_failure=lambda line: meter.message(f"ttfnet: {line}"),
            on_batch=meter.update,
        )
    failed = len(images) - done + len(failures)
    written = ["drawings"] if saving.draws else []
    written += ["detections.json", *(kind for kind in saving.formats if kind != NO_DRAWINGS)]
    crops = f"; crops in {saving.crops}" if saving.crops is not None else ""
    print(f"{done} images, {detections} detections, {failed} failed; {' and '.join(written)} in {args.out}{crops}")
    if not done:
        raise UserError("none of the images could be read")


def _on_videos(
    args: argparse.Namespace, sources: Sequence[str], batch_size: int, options: dict[str, Any], classes: Sequence[str], saving: Saving
) -> None:
    from ttfnet_tf.inference.detections_json import make_folder
    from ttfnet_tf.inference.save.crops import Crops, check_crops
    from ttfnet_tf.inference.video.source import VideoSource, quiet_opencv
    from ttfnet_tf.inference.video.window import open_window

    for kind in saving.formats:
        if kind not in (*LINES, NO_DRAWINGS):
            raise UserError(f"--save {kind}: is for images; of videos there are {', '.join(LINES)} and {NO_DRAWINGS}")
    if args.show and not saving.draws:
        raise UserError(f"--show shows drawn frames; leave out --save {NO_DRAWINGS}")
    with quiet_opencv():
        window = open_window() if args.show else None
        make_folder(args.out)
        if saving.crops is not None:
            check_crops(saving.crops)
        for source in sources:  # before the network is loaded, which takes seconds
            VideoSource(source).close()
        detector, colour_of = _load(args.run, options, classes)
        crops = None if saving.crops is None else Crops(saving.crops, detector.class_names, detector.category_ids)
        detector.warm_up(batch_size)  # or the first frame would seem to take as long as compiling

        from ttfnet_tf.training.stop import StopRequest

        written: list[Path] = []
        with StopRequest() as stop, contextlib.ExitStack() as stack:
            if crops is not None:
                stack.callback(crops.finish)
            more = {"draw": saving.draws, "table": "csv" in saving.formats, "crops": crops, "keep": written}
            for source in sources:
                result = _annotate(VideoSource(source), detector, args.out, colour_of, batch_size, stop, window, more)
                written.append(result.video)
                if stop.requested:
                    print(f"stopped; {'the video' if saving.draws else 'what was done'} so far is complete")
                    break


def _annotate(video, detector, out: str, colour_of: dict[int, int], batch_size: int, stop, window, more: dict[str, Any]):
    """Annotates one video with a progress line, and prints what was written."""
    from ttfnet_tf.inference.video.annotate import annotate_video
    from ttfnet_tf.progress import ProgressMeter, duration

    with ProgressMeter("predict", video.expected) as meter:
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
    return result


def _load(run: str, options: dict[str, Any], classes: Sequence[str]):
    """The detector, limited to `classes` if there are any; and category id -> index of the class, which decides its colour."""
    from ttfnet_tf.progress import working

    with working(f"loading {run}"):
        from ttfnet_tf.inference.detector import Detector

        detector = Detector.load(run, **options)
        if classes:
            detector.keep_classes(classes)
    return detector, {category_id: index for index, category_id in enumerate(detector.category_ids)}


def _class_thresholds(pairs: Sequence[str]) -> dict[str, float]:
    """{name: threshold} from NAME=S of the command line."""
    thresholds = {}
    for pair in pairs:
        name, _, value = pair.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            name = ""
        if not name:
            raise UserError(f"--class-threshold {pair} must be the name of a class and its threshold, e.g. RBC=0.5")
        thresholds[name] = threshold(number, f"--class-threshold {pair}")
    return thresholds
