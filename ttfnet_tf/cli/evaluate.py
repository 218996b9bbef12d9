"""`ttfnet evaluate`: the COCO figures of a run or of an exported model."""

from __future__ import annotations

import argparse

from ttfnet_tf.cli.options import RUN_HELP, add_overwrite, add_tiles, positive, tiles
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.evaluation.evaluate_run import evaluate_run


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "evaluate",
        run,
        "the 12 COCO figures and the AP of each class",
        "key=value",
        description="Prints the 12 COCO figures and the AP of each class; writes detections.json. Of a file without annotations, such as"
        " COCO's test-dev, it writes the submission.",
        examples=(
            "ttfnet evaluate runs/demo",
            "ttfnet evaluate runs/demo data.val.annotations=test.json data.val.images=test",
            "ttfnet evaluate runs/demo data.image_size=[640,640]",
            "ttfnet evaluate runs/coco data.val.annotations=image_info_test-dev2017.json data.val.images=test2017",
            "ttfnet evaluate runs/demo --tile 512 --overlap 0.2",
            "ttfnet evaluate runs/demo --tile 512 --max-detections 2000",
        ),
    )
    verb.add_argument("run", metavar="RUN", help=RUN_HELP)
    verb.add_argument(
        "--out", metavar="DIR", help="for detections.json; default RUN/eval/<step>, with -<height>x<width> at another size than training's"
    )
    add_overwrite(verb)
    add_tiles(verb)
    batch = "images of each device in one call; does not change the result; default 8, and on GPUs as many as fit"
    verb.add_argument("--batch-size", type=int, metavar="N", help=batch)
    most = "detections of a class in an image that count; default 100, as in COCO's figures; more is for images with many objects"
    verb.add_argument("--max-detections", type=int, metavar="N", help=most)


def run(args: argparse.Namespace) -> None:
    """Evaluates, and prints the figures."""
    batch_size = None if args.batch_size is None else positive(args.batch_size, "--batch-size")
    evaluation = evaluate_run(
        args.run,
        args.rest,
        batch_size=batch_size,
        out=args.out,
        overwrite=args.overwrite,
        tiling=tiles(args),
        max_detections=args.max_detections,
    )
    skipped = f", {evaluation.skipped} of them skipped" if evaluation.skipped else ""
    most, crowded = evaluation.result.max_detections, evaluation.result.crowded_images
    counted = f", up to {most} detections of a class in each" if evaluation.tile or args.max_detections is not None else ""
    print(
        f"{args.run}, step {evaluation.step}, on {evaluation.split.annotations} ({evaluation.result.num_images} images{skipped}{counted})"
    )
    if evaluation.submissions:
        print("no figures, because there are no annotations; the submission has COCO's name and format, zip it to upload it")
    elif evaluation.result.metrics["AP"] < 0:
        print("no figures, because these images have no boxes")
    else:
        print(evaluation.result.table())
    if crowded:
        print(f"note: {crowded} images have more than {most} objects of one class; --max-detections counts more detections")
    for file in (evaluation.file, *evaluation.submissions):
        print(f"written: {file}")
