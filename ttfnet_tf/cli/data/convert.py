"""`ttfnet data convert`: annotations of other programs to COCO, and COCO to YOLO."""

from __future__ import annotations

import argparse

from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.formats.detect_format import FORMATS


def add_to(verbs) -> None:
    """Adds the verb to the group `data`."""
    verb = add_verb(
        verbs,
        "convert",
        run,
        "annotations of other programs to COCO, and to YOLO",
        description="Writes annotations of VOC, YOLO, CSV, KITTI, labelme, CVAT, Label Studio or VIA as COCO JSON, or any of them and COCO"
        " as YOLO; images stay in place.",
        epilog="Conventions of boxes, ids and names: docs/formats.md.",
        examples=(
            "ttfnet data convert VOCdevkit/VOC2007 data/voc07",
            "ttfnet data convert dataset/data.yaml data/mine",
            "ttfnet data convert project.json data/mine --images photos",
        ),
    )
    verb.add_argument("source", metavar="SOURCE", help="folder or file of annotations, e.g. data.yaml, boxes.csv, annotations.xml")
    verb.add_argument("out", metavar="OUT", help="folder, new or empty")
    verb.add_argument("--from", dest="from_format", choices=FORMATS, help="default: what SOURCE looks like")
    verb.add_argument("--to", dest="to_format", choices=("coco", "yolo"), help="default coco; for a COCO source yolo")
    verb.add_argument("--images", metavar="DIR", help="folder of the images, if they are not in their usual place")
    verb.add_argument("--split", metavar="NAME", help="convert this split only, or name the only one; default all, or train")
    verb.add_argument(
        "--classes", metavar="A,B,C", help="class names in the order of their numbers; default alphabetical, where there are only names"
    )
    verb.add_argument("--skip-broken", action="store_true", help="skip images with wrong annotations and list the mistakes")
    verb.add_argument("--copy", action="store_true", help="to YOLO: copy images instead of linking to them")
    verb.add_argument("--overwrite", action="store_true", help="replace what an earlier call has written into OUT")


def run(args: argparse.Namespace) -> None:
    """Converts, and prints what was written."""
    from ttfnet_tf.formats.convert import convert

    report = convert(
        args.source,
        args.out,
        from_format=args.from_format,
        to_format=args.to_format,
        images=args.images,
        split=args.split,
        classes=None if args.classes is None else [name.strip() for name in args.classes.split(",")],
        skip_broken=args.skip_broken,
        copy=args.copy,
        overwrite=args.overwrite,
        progress=with_progress,
    )
    print("\n".join(report.lines))


def with_progress(label, items):
    """Iterates with a progress line; short lists are done before anyone looks."""
    from ttfnet_tf.progress import ProgressMeter

    if len(items) < 500:
        yield from items
        return
    with ProgressMeter(label, len(items)) as meter:
        for done, item in enumerate(items, start=1):
            yield item
            if done % 100 == 0 or done == len(items):
                meter.update(done)
