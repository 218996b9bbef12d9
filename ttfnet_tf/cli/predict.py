"""`ttfnet predict`: draws the detections of a run or exported model on images, videos and cameras."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfnet_tf.cli import predict_bulk, predict_video
from ttfnet_tf.cli.options import (
    RUN_HELP,
    add_tiles,
    class_list,
    image_size_of,
    load_detector,
    positive,
    split_settings,
    threshold,
    tiles,
)
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.save.formats import FORMATS, NO_DRAWINGS, check_formats
from ttfnet_tf.plain_text import printable
from ttfnet_tf.web import is_web, without_password

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
            "ttfnet predict runs/demo rtsp://camera/live --out drawings --track --count-line 0,240,640,240 --seconds 600",
            "ttfnet predict runs/demo camera:0 --out drawings --class-threshold circle=0.6",
            "ttfnet predict runs/demo images --out drawings data.image_size=[640,640]",
            "ttfnet predict runs/demo map.png --out drawings --tile 512 --max-pixels 120000000",
            "ttfnet predict runs/demo folder --out found --classes circle,square --save coco,csv,none --crops crops",
            "ttfnet predict models/demo 'photos/**/*.jpg' --out records --runner beam --format parquet",
        ),
    )
    verb.add_argument("run", metavar="RUN", help=RUN_HELP)
    verb.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help="image, folder or quoted pattern; video or camera:0; http(s):// image or video; rtsp://",
    )
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
    add_tiles(verb)
    predict_video.add_options(verb)
    predict_bulk.add_options(verb)


def run(args: argparse.Namespace) -> None:
    """Detects on images or on videos."""
    predict_bulk.check(args)
    predict_video.check(args)
    formats, classes, tiling = check_formats(args.save), class_list(args.classes), tiles(args)
    sources, settings = split_settings([*args.sources, *args.rest])
    image_size = image_size_of(args.run, settings, "predict takes data.image_size=[H,W] and no other setting")
    if not sources:
        raise UserError("name an image, a folder of images, a quoted pattern or a video")
    batch_size = None if args.batch_size is None else positive(args.batch_size, "--batch-size")
    options = {
        **({"image_size": image_size} if image_size else {}),
        "score_threshold": threshold(args.score_threshold, f"--score-threshold {args.score_threshold:g}"),
        "class_thresholds": _class_thresholds(args.class_threshold),
    }

    from ttfnet_tf.inference.image_files import find_images
    from ttfnet_tf.inference.predict_images import Saving

    if args.runner is not None:
        from ttfnet_tf.inference.bulk.sources import find_all

        predict_bulk.predict(args, sources, functools.partial(find_all, sources, find_images), options, batch_size or 8)
        return
    found = _find(sources)
    saving = Saving(formats, None if args.crops is None else Path(args.crops))
    if not found.videos:
        predict_video.refuse_options(args)
        _on_images(args, found, batch_size or 8, options, classes, saving, tiling)
    elif found.images or found.failures:
        other = str(found.images[0] if found.images else found.failures[0].source)
        names = f"{without_password(str(found.videos[0]))} is a video and {without_password(other)} is not"
        raise UserError(f"{names}; run predict on images and on videos separately")
    else:
        predict_video.predict(args, found, batch_size or 1, functools.partial(load_detector, args.run, options, classes, tiling), saving)


def _find(sources: Sequence[str]) -> Sources:
    """What the sources hold; prints a line about what is skipped."""
    from ttfnet_tf.inference.drawings import is_annotated
    from ttfnet_tf.inference.image_files import find_images
    from ttfnet_tf.inference.video.source import is_video
    from ttfnet_tf.inference.web_sources import add_web

    web = [source for source in sources if is_web(source)]
    videos = [source for source in sources if is_video(source)]
    annotated = [video for video in videos if is_annotated(Path(video))]
    if annotated and len(annotated) == len(sources):
        raise UserError(f"{annotated[0]}: was drawn by predict; name other videos or images")
    found = find_images([source for source in sources if source not in videos and source not in web])
    found.videos = [*(video for video in videos if video not in annotated), *found.videos]
    if annotated:
        found.notes.append(f"skipped {len(annotated)} videos that predict has drawn, such as {annotated[0]}")
    add_web(found, web)
    for note in found.notes:
        print(f"ttfnet: {note}", file=sys.stderr)
    return found


def _on_images(
    args: argparse.Namespace,
    found: Sources,
    batch_size: int,
    options: dict[str, Any],
    classes: Sequence[str],
    saving: Saving,
    tiling: tuple[int, float, int] | None,
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
    detector, colour_of = load_detector(args.run, options, classes, tiling)
    about = {"run": str(args.run), **options, **({"classes": classes} if classes else {})}
    detect, at_once, max_pixels = detector.batch, min(batch_size, len(images)), None
    if tiling is not None:  # one large image in memory, and a batch of its tiles
        about |= {"tile": tiling[0], "overlap": tiling[1]}
        detect, at_once, max_pixels = (lambda large, **_: detector.batch(large, batch_size=batch_size)), 1, tiling[2]
    with ProgressMeter("predict", len(images)) as meter:
        done, detections = predict_images(
            detect,
            images,
            args.out,
            colour_of=colour_of,
            class_names=detector.class_names,
            about=about,
            saving=saving,
            failures=failures,
            batch_size=at_once,
            max_pixels=max_pixels,
            on_failure=lambda line: meter.message(f"ttfnet: {line}"),
            on_batch=meter.update,
        )
    failed = len(images) - done + len(failures)
    written = ["drawings"] if saving.draws else []
    written += ["detections.json", *(kind for kind in saving.formats if kind != NO_DRAWINGS)]
    crops = f"; crops in {saving.crops}" if saving.crops is not None else ""
    names = " and ".join([", ".join(written[:-1])] * (len(written) > 1) + written[-1:])
    print(f"{done} images, {detections} detections, {failed} failed; {names} in {args.out}{crops}")
    if not done:
        raise UserError("none of the images could be read")


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
