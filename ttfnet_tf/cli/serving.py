"""`ttfnet serve-client`: asks TensorFlow Serving about images. `add_verb` puts it beside the other verbs."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.cli import parser
from ttfnet_tf.cli.parser import positive
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write, write_json
from ttfnet_tf.inference.exported import find_exported
from ttfnet_tf.runs.run_folder import work_directory
from ttfnet_tf.serving.target import PORTS, Target, parse_address


def add_verb(verbs) -> None:
    """Adds `serve-client` to the sub-commands of a parser; its function is `args.command`, to be called with `args`."""
    verb = parser.add_verb(
        verbs,
        "serve-client",
        run,
        "images through a served model: boxes, times, a check",
        "SOURCE",
        description="Asks TensorFlow Serving about images: detections, times under load, and whether they are those of the run.",
        epilog="docs/serving.md says how a server is started and a new version rolled out.",
        examples=(
            "ttfnet serve-client mine photos/ --verify runs/mine",
            "ttfnet serve-client mine photos/ --protocol rest --label canary --out served",
            "ttfnet serve-client mine photos/ --concurrency 8 --requests 500",
        ),
    )
    verb.add_argument("model", metavar="MODEL", help="name under which the server holds the model")
    verb.add_argument("sources", metavar="SOURCE", nargs="+", help="image, folder of images or quoted pattern")
    verb.add_argument("--address", metavar="HOST[:PORT]", default="127.0.0.1", help="default 127.0.0.1; port 8500 for gRPC, 8501 for REST")
    verb.add_argument("--protocol", choices=sorted(PORTS), default="grpc", help="default grpc")
    which = verb.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="of the model; default the latest that the server holds")
    which.add_argument("--label", metavar="LABEL", help="of a version, e.g. stable or canary")
    verb.add_argument("--batch-size", type=int, default=1, metavar="N", help="images of one request; default 1")
    verb.add_argument("--concurrency", type=int, default=1, metavar="N", help="requests at a time; default 1")
    verb.add_argument("--requests", type=int, metavar="N", help="to time, over and over the images; default each image once")
    verb.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds until an answer counts as missing; default 60")
    verb.add_argument("--score-threshold", type=float, default=0.3, metavar="S", help="only detections above it; default 0.3")
    verb.add_argument("--labels", metavar="FILE", help="labels.json with the names of the classes; default their ids, or RUN's names")
    verb.add_argument("--out", metavar="DIR", help="for detections.json, in the form of predict")
    verb.add_argument("--verify", metavar="RUN", help="compare with the detections of this run or export; exit code 1 if they differ")
    tolerance = "of --verify: of boxes as a share of the image's side, and of scores; default 0.0001"
    verb.add_argument("--tolerance", type=float, default=1e-4, metavar="T", help=tolerance)


def run(args: argparse.Namespace) -> int:
    """Prints detections and times; returns 1 if they are not those of `--verify`."""
    target = _target(args)
    batch_size, concurrency = positive(args.batch_size, "--batch-size"), positive(args.concurrency, "--concurrency")
    requests = 0 if args.requests is None else positive(args.requests, "--requests")

    from ttfnet_tf.inference.predict import find_images
    from ttfnet_tf.progress import working

    images, missing = find_images([*args.sources, *args.rest])
    if not images:
        raise UserError(f"{missing[0].reason}; name an image, a folder of images or a quoted pattern")
    record = _record(args.out)
    if args.verify and not find_exported(args.verify):
        work_directory(args.verify)

    from ttfnet_tf.serving.answers import detections_of, image_size, read_class_names
    from ttfnet_tf.serving.ask import ask_about, connect
    from ttfnet_tf.serving.verify import verify

    names = read_class_names(Path(args.labels)) if args.labels else {}
    detector = None
    if args.verify:
        with working(f"loading {args.verify}"):
            from ttfnet_tf.inference.detector import Detector

            detector = Detector.load(args.verify, score_threshold=args.score_threshold)
        names = names or dict(zip(detector.category_ids, detector.class_names))

    def to_detections(file, outputs, row):
        return detections_of(outputs, row, size=image_size(file), class_names=names, score_threshold=args.score_threshold)

    client = connect(target)
    try:
        # No live line while times are taken: drawing it would be measured too.
        with contextlib.nullcontext() if requests else working(f"asking {target}"):
            asked = ask_about(client, images, to_detections, batch_size=batch_size, concurrency=concurrency, requests=requests)
    finally:
        client.close()
    failures = [*missing, *asked.failures]
    for failure in failures:
        print(f"ttfnet: {failure.reason}", file=sys.stderr)
    _report(target, asked, len(failures))
    if record is not None:
        about = {"server": str(target), "versions": asked.versions, "score_threshold": args.score_threshold}
        _write(record, about, asked.answered, failures)
    if detector is not None:
        with working(f"detecting with {args.verify}"):
            verification = verify(asked.answered, asked.failures, detector, score_threshold=args.score_threshold, tolerance=args.tolerance)
        for line in verification.differing:
            print(f"ttfnet: {line}", file=sys.stderr)
        print(verification.line(args.verify))
        return 0 if verification.passed else 1
    if not asked.answered:
        raise UserError("none of the images was answered")
    return 0


def _target(args: argparse.Namespace) -> Target:
    for value, option in ((args.timeout, "--timeout"), (args.tolerance, "--tolerance")):
        if not value > 0:
            raise UserError(f"{option} {value:g} must be above 0")
    if not 0 <= args.score_threshold < 1:
        raise UserError(f"--score-threshold {args.score_threshold:g} must lie in 0..1, 1 excluded")
    if args.version is not None:
        positive(args.version, "--version")
    host, port = parse_address(args.address, args.protocol)
    return Target(args.model, host, port, args.protocol, args.version, args.label, args.timeout)


def _report(target: Target, asked, failed: int) -> None:
    versions = f", version {', '.join(map(str, asked.versions))}" if asked.versions and target.version is None else ""
    found = sum(len(detections) for _, detections in asked.answered)
    print(f"{target} ({target.protocol}{versions}): {len(asked.answered)} images, {found} detections, {failed} failed")
    print(f"first request: {1000 * asked.first_seconds:.1f} ms, not counted below")
    if asked.load is not None:
        print(*asked.load.lines(), sep="\n")


def _record(folder: str | None) -> Path | None:
    """Where the detections go; refuses a file that something else has written."""
    if folder is None:
        return None
    from ttfnet_tf.inference.predict import JSON_NAME

    record = Path(folder) / JSON_NAME
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(record.parent, error) from None
    if record.exists():
        try:
            if "server" not in json.loads(record.read_text(encoding="utf-8")):
                raise ValueError
        except (OSError, ValueError, TypeError):
            raise UserError(f"{record}: is there already and was not written by serve-client; name another folder with --out") from None
    return record


def _write(record: Path, about: dict, answered: Sequence, failures: Sequence) -> None:
    """The form of `ttfnet predict`, without drawings."""
    images = []
    for file, found in answered:
        height, width = found.size
        images.append({"file": str(file), "height": height, "width": width, "detections": found.to_json()})
    write_json(record, {**about, "images": images, "failed": [{"source": one.source, "reason": one.reason} for one in failures]})
    print(f"written: {record}")
