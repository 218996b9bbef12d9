"""`ttfnet serve-client`: sends images to a served model; prints detections and times, and verifies them against a run."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from ttfnet_tf.cli.options import image_size_of, positive, split_settings, threshold
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.errors import UserError
from ttfnet_tf.plain_text import printable
from ttfnet_tf.serving.target import PORTS, Target, parse_address


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "serve-client",
        run,
        "send images to a served model: boxes, times, a check",
        "SOURCE",
        description="Sends images to TensorFlow Serving; prints detections, times under load, and whether they are those of a run.",
        epilog="docs/serving.md explains how to start a server and roll out a new version.",
        examples=(
            "ttfnet serve-client mine photos/ --verify runs/mine",
            "ttfnet serve-client mine_640 photos/ --verify runs/mine data.image_size=[640,640]",
            "ttfnet serve-client mine photos/ --protocol rest --label canary --out served",
            "ttfnet serve-client mine photos/ --concurrency 8 --requests 500",
        ),
    )
    verb.add_argument("model", metavar="MODEL", help="name of the model on the server")
    verb.add_argument("sources", metavar="SOURCE", nargs="+", help="image, folder of images or quoted pattern")
    verb.add_argument("--address", metavar="HOST[:PORT]", default="127.0.0.1", help="default 127.0.0.1; port 8500 for gRPC, 8501 for REST")
    verb.add_argument("--protocol", choices=sorted(PORTS), default="grpc", help="default grpc")
    which = verb.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="of the model; default the latest on the server")
    which.add_argument("--label", metavar="LABEL", help="of a version, e.g. stable or canary")
    verb.add_argument("--batch-size", type=int, default=1, metavar="N", help="images of one request; default 1")
    verb.add_argument("--concurrency", type=int, default=1, metavar="N", help="requests at a time; default 1")
    verb.add_argument("--requests", type=int, metavar="N", help="requests to time, the images over and over; default each image once")
    verb.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds to wait for an answer; default 60")
    verb.add_argument("--score-threshold", type=float, default=0.3, metavar="S", help="only detections above it; default 0.3")
    verb.add_argument("--labels", metavar="FILE", help="labels.json with the class names; default ids, or the names of RUN")
    verb.add_argument("--out", metavar="DIR", help="write a detections.json like that of predict there")
    verify = "compare with this run or exported model; exit code 1 if detections differ. data.image_size=[H,W]: exported at another size"
    verb.add_argument("--verify", metavar="RUN", help=verify)
    tolerance = "for --verify: largest difference of scores, and of boxes as a fraction of the image's side; default 0.0001"
    verb.add_argument("--tolerance", type=float, default=1e-4, metavar="T", help=tolerance)


def run(args: argparse.Namespace) -> int:
    """Prints counts and times; returns 1 if the detections are not those of `--verify`."""
    target = _target(args)
    sources, settings = split_settings([*args.sources, *args.rest])
    size = _image_size(args, settings)
    images, missing = _images(sources)
    _prepare_output(args.out)

    from ttfnet_tf.serving.responses import read_class_names

    names = read_class_names(Path(args.labels)) if args.labels else {}
    detector = _load(args, size) if args.verify else None
    if detector is not None:
        names = names or dict(zip(detector.category_ids, detector.class_names))

    served = _send(args, target, images, names)
    failures = [*missing, *served.failures]
    for failure in failures:
        print(f"ttfnet: {printable(failure.reason)}", file=sys.stderr)
    _print_summary(target, served, len(failures))
    if args.out is not None:
        from ttfnet_tf.inference.detections_json import image_entry, write_detections

        about = {"server": str(target), "versions": served.versions, "score_threshold": args.score_threshold}
        entries = [image_entry(file, found) for file, found in served.answered]
        print(f"written: {write_detections(Path(args.out), about, entries, failures)}")
    if detector is not None:
        return _verify(args, served, detector)
    if not served.answered:
        raise UserError("none of the images was answered")
    return 0


def _target(args: argparse.Namespace) -> Target:
    """Which model of which server to ask; checks every number on the way."""
    for value, option in ((args.timeout, "--timeout"), (args.tolerance, "--tolerance")):
        if not value > 0:
            raise UserError(f"{option} {value:g} must be above 0")
    threshold(args.score_threshold, f"--score-threshold {args.score_threshold:g}")
    for value, option in (
        (args.version, "--version"),
        (args.batch_size, "--batch-size"),
        (args.concurrency, "--concurrency"),
        (args.requests, "--requests"),
    ):
        if value is not None:
            positive(value, option)
    host, port = parse_address(args.address, args.protocol)
    return Target(args.model, host, port, args.protocol, args.version, args.label, args.timeout)


def _image_size(args: argparse.Namespace, settings: list[str]) -> tuple[int, int] | None:
    """(H, W) of the network for `--verify`, where settings name one."""
    if args.verify:
        return image_size_of(args.verify, settings, "serve-client takes data.image_size=[H,W] and no other setting")
    if settings:
        raise UserError(f"{settings[0]}: is a setting of --verify; the server's model has its own")
    return None


def _images(sources: list[str]):
    """The image files, and the sources without any."""
    from ttfnet_tf.inference.image_files import find_images

    if not sources:
        raise UserError("name an image, a folder of images or a quoted pattern")
    found = find_images(sources)
    for note in found.notes:
        print(f"ttfnet: {note}", file=sys.stderr)
    if not found.images:
        problem = found.failures[0].reason if found.failures else f"{found.videos[0]}: is a video"
        raise UserError(f"{problem}; name an image, a folder of images or a quoted pattern")
    return found.images, found.failures


def _prepare_output(out: str | None) -> None:
    """Makes the folder of `--out`; refuses one whose detections.json another command has written."""
    if out is None:
        return
    from ttfnet_tf.inference.detections_json import make_folder, read_own

    make_folder(out)
    read_own(Path(out), "serve-client", lambda content: content["server"])


def _load(args: argparse.Namespace, size: tuple[int, int] | None):
    """The detector to verify with, of the served size."""
    from ttfnet_tf.progress import working

    with working(f"loading {args.verify}"):
        from ttfnet_tf.inference.detector import Detector

        return Detector.load(args.verify, image_size=size, score_threshold=args.score_threshold)


def _send(args: argparse.Namespace, target: Target, images, names):
    """Sends every image; returns what the server answered."""
    from ttfnet_tf.progress import working
    from ttfnet_tf.serving.client import connect
    from ttfnet_tf.serving.responses import detections_of, image_size
    from ttfnet_tf.serving.send_images import send_images

    def to_detections(file, outputs, row):
        return detections_of(outputs, row, size=image_size(file), class_names=names, score_threshold=args.score_threshold)

    # No spinner while times are taken: drawing it would be measured too.
    spinner = contextlib.nullcontext() if args.requests else working(f"sending images to {target}")
    with contextlib.closing(connect(target)) as client, spinner:
        return send_images(
            client,
            images,
            to_detections,
            batch_size=args.batch_size,
            concurrency=args.concurrency,
            requests=args.requests or 0,
        )


def _print_summary(target: Target, served, failed: int) -> None:
    versions = f", version {', '.join(map(str, served.versions))}" if served.versions and target.version is None else ""
    found = sum(len(detections) for _, detections in served.answered)
    print(f"{target} ({target.protocol}{versions}): {len(served.answered)} images, {found} detections, {failed} failed")
    print(f"first request: {1000 * served.first_seconds:.1f} ms, not counted below")
    if served.latencies is not None:
        print(*served.latencies.lines(), sep="\n")


def _verify(args: argparse.Namespace, served, detector) -> int:
    """Compares with the run; prints the result and returns the exit code."""
    from ttfnet_tf.progress import working
    from ttfnet_tf.serving.verify import verify

    with working(f"detecting with {args.verify}"):
        result = verify(served.answered, served.failures, detector, score_threshold=args.score_threshold, tolerance=args.tolerance)
    for line in result.differing:
        print(f"ttfnet: {printable(line)}", file=sys.stderr)
    print(result.line(args.verify))
    return 0 if result.passed else 1
