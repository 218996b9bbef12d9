"""`ttfnet data split`: one COCO file to training, validation and test files, or to folds, with copies of an image in one part."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttfnet_tf.data.coco_file import read_bytes, read_content
from ttfnet_tf.data.split import assign_parts, subset, validation_fraction
from ttfnet_tf.doctor.duplicate_images import pairs_of_copies
from ttfnet_tf.doctor.image_files import inspect_images
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_text
from ttfnet_tf.json_text import json_text
from ttfnet_tf.outputs import refuse_to_overwrite, written_by
from ttfnet_tf.plain_text import printable

WRITER = "ttfnet data split"


@dataclass(frozen=True)
class SplitReport:
    """What was written."""

    files: dict[str, Path]  # by name of the part, such as "val" or "fold2/train"
    lines: list[str] = field(default_factory=list)  # to print


def split_coco(
    annotations: Path,
    images: Path | None,
    out: Path,
    *,
    val: float | None = None,
    test: float = 0,
    folds: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_start: Callable[[int], None] | None = None,
    on_image: Callable[[int], None] | None = None,
) -> SplitReport:
    """Writes the parts of a COCO file; ids and file names stay.

    Args:
        annotations: COCO instances JSON.
        images: folder of its images, which are compared to keep copies together; None compares nothing.
        out: folder for train.json, val.json and test.json, or for fold1/train.json, fold1/val.json and so on.
        val: fraction of the images for validation; None takes 15 %, but 20 to 1000 images.
        test: fraction for a test part; 0 makes none.
        folds: makes that many pairs of training and validation files in place of one split.
        seed: another one makes another split.
        overwrite: also replaces files that this command has not written.
        on_start: called with the number of images before the first is opened.
        on_image: called with the number of images done so far.

    Raises:
        UserError: something is wrong with the annotations or the fractions, or a file cannot be written.
    """
    content = read_content(annotations, read_bytes(annotations))
    num_images = len(content["images"])
    fractions, parts = _fractions(val, test, folds, num_images)
    names = _names(parts, folds)
    for name in names:
        refuse_to_overwrite(out / f"{name}.json", WRITER, inputs=[annotations], overwrite=overwrite, hint="name another folder with --out")
    if on_start is not None and images is not None:
        on_start(num_images)
    copies, lines = _copies(content, images, on_image)
    part_of = assign_parts(content, fractions, seed=seed, copies=copies)
    empty = [name for number, name in enumerate(parts) if number not in part_of.values()]
    if empty:
        raise UserError(
            f"{annotations}: no image is left for {', '.join(empty)}, because it has {num_images}, copies of which stay together"
        )
    files = {}
    for name, chosen in names.items():
        part = subset(content, [image for image, its_part in part_of.items() if its_part in chosen])
        part["info"] = {"description": f"{written_by(WRITER)}: {name} of {annotations.name}, seed {seed}"}
        files[name] = out / f"{name}.json"
        write_text(files[name], json_text({"info": part["info"], **part}))  # first, where the next call looks for it
        lines.append(f"{files[name]}: {len(part['images'])} images, {len(part['annotations'])} boxes{_lacking(part, content)}")
    return SplitReport(files, lines)


def _fractions(val: float | None, test: float, folds: int | None, num_images: int) -> tuple[list[float], list[str]]:
    """(fraction, name) of each part."""
    if folds is not None:
        if val is not None or test:
            raise UserError("--folds makes training and validation files of all images; leave out --val and --test")
        if not 2 <= folds <= num_images:
            raise UserError(f"--folds {folds} must lie in 2..{num_images}, the number of images")
        return [1 / folds] * folds, [f"fold{number}" for number in range(1, folds + 1)]
    val = validation_fraction(num_images) if val is None else val
    for option, value in (("--val", val), ("--test", test)):
        if not 0 <= value < 1:
            raise UserError(f"{option} {value:g} must be a fraction of the images, 0..1, 1 excluded")
    if not 0 < val + test < 1:
        raise UserError(f"--val {val:g} and --test {test:g} must leave images for training, and take some")
    parts = {"train": 1 - val - test, "val": val, "test": test}
    return [value for value in parts.values() if value > 0], [name for name, value in parts.items() if value > 0]


def _names(parts: Sequence[str], folds: int | None) -> dict[str, set[int]]:
    """Names of the files, and which parts go into each."""
    if folds is None:
        return {name: {number} for number, name in enumerate(parts)}
    everything = set(range(folds))
    names = {}
    for number, name in enumerate(parts):
        names[f"{name}/train"], names[f"{name}/val"] = everything - {number}, {number}
    return names


def _copies(
    content: Mapping[str, Any], images: Path | None, on_image: Callable[[int], None] | None
) -> tuple[list[tuple[int, int]], list[str]]:
    """(pairs of image ids that are copies, lines about them)."""
    if images is None:
        return [], ["images were not opened, so that copies of an image may be in two parts; name their folder to keep them together"]
    if not images.is_dir():
        raise UserError(f"{images}: is not a folder; name the folder of the images")
    ids = [image["id"] for image in content["images"]]
    facts = inspect_images([images / image["file_name"] for image in content["images"]], workers=os.cpu_count() or 1, on_image=on_image)
    pairs = [(ids[earlier], ids[later]) for earlier, later in pairs_of_copies(facts)]
    lines = []
    unread = [str(one.path) for one in facts if one.problem]
    if unread:
        lines.append(f"{len(unread)} images cannot be read and were not compared, such as {unread[0]}; see ttfnet data check")
    if pairs:
        lines.append(f"{len({later for _, later in pairs})} copies or near-copies of other images stay in the part of those")
    return pairs, lines


def _lacking(part: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """A remark about the classes that have objects, but none in this part."""
    here, everywhere = ({one["category_id"] for one in which["annotations"]} for which in (part, content))
    names = [printable(category["name"])[:60] for category in content["categories"] if category["id"] in everywhere - here]
    return f"; none of {', '.join(names[:5])}{' and others' if len(names) > 5 else ''}" if names else ""
