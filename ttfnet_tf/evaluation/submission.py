"""Submission files for test sets whose annotations are kept secret, such as COCO's test-dev: results JSON with the name that COCO wants."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.files import write_json

_KINDS = re.compile(r"^(instances|image_info|annotations|_annotations)[_.]")


def submission_name(annotations: str | Path, algorithm: str) -> str:
    """The name of a submission: image_info_test-dev2017.json of a run r18 is detections_test-dev2017_r18_results.json.

    Underscores separate its parts, so there are none in them.
    """
    parts = (_KINDS.sub("", Path(str(annotations)).stem), algorithm)
    data, by = (re.sub(r"[^A-Za-z0-9.-]+", "-", part).strip("-") or "unnamed" for part in parts)
    return f"detections_{data}_{by}_results.json"


def submissions(split: CocoSplit, detections: Sequence[dict[str, Any]], algorithm: str) -> dict[str, list[dict[str, Any]]]:
    """Results by name, one file for each annotation file of a split, with the ids of images and categories in that file.

    Args:
        split: evaluated.
        detections: of `evaluate.EvaluationResult`.
        algorithm: of the name, such as that of the run.
    """
    if not split.parts:
        return {submission_name(split.annotations, algorithm): list(detections)}
    found: dict[Path, list[dict[str, Any]]] = {part.annotations: [] for part in split.parts}
    # Of classes that were merged the first, because the detections do not say which it is.
    own_category = {
        part.annotations: {ours: theirs for theirs, ours in sorted(part.category_of.items(), reverse=True)} for part in split.parts
    }
    for one in detections:
        file, image_id = split.own_id(one["image_id"])
        category_id = own_category[file].get(one["category_id"])
        if category_id is not None:  # a class that the file does not have
            found[file].append({**one, "image_id": image_id, "category_id": category_id})
    named: dict[str, list[dict[str, Any]]] = {}
    for file, results in found.items():
        name, number = submission_name(file, algorithm), 1
        while name in named:
            number += 1
            name = submission_name(file.with_stem(f"{file.stem}-{number}"), algorithm)
        named[name] = results
    return named


def write_submissions(folder: Path, split: CocoSplit, detections: Sequence[dict[str, Any]], algorithm: str) -> list[Path]:
    """Writes `submissions` into a folder; returns the files.

    Raises:
        UserError: a file cannot be written.
    """
    named = submissions(split, detections, algorithm)
    for name, results in named.items():
        write_json(folder / name, results)
    return [folder / name for name in named]
