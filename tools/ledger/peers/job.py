"""What every driver shares: its job, the images of a COCO file, detections in COCO's result format, and the result.

A driver is called as `python DRIVER JOB.json` in the environment of its system. It trains, detects on the validation images, and writes
`detections.json` and `result.json` into the folder of the job. Needs NumPy alone.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from budget import Budget, multi_step  # noqa: F401  (the drivers take them from here)

SCORE = 0.01  # least score of a detection, the same for every system: COCO's AP needs weak ones
MOST = 100  # detections of an image; COCO's AP looks at no more


@dataclass(frozen=True)
class Example:
    """One image of a COCO file."""

    id: int
    path: Path
    size: tuple[int, int]  # height, width in pixels
    boxes: np.ndarray  # float32 [N, 4] xyxy, pixels
    labels: np.ndarray  # int64 [N], 0-based index of the category in the order of its id


def read_job() -> dict:
    """The job that the command line names."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def read_examples(split: dict, *, training: bool) -> tuple[list[Example], list[int], list[str]]:
    """The images of a split, category ids and names.

    Args:
        split: {"annotations": file, "images": folder}.
        training: images without a box are dropped, as all systems here do.
    """
    content = json.loads(Path(split["annotations"]).read_text(encoding="utf-8"))
    categories = sorted(content["categories"], key=lambda one: one["id"])
    index = {one["id"]: number for number, one in enumerate(categories)}
    boxes_of: dict[int, list] = {image["id"]: [] for image in content["images"]}
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        if not one.get("iscrowd") and min(width, height) >= 1:
            boxes_of[one["image_id"]].append(((x, y, x + width, y + height), index[one["category_id"]]))
    examples = []
    for image in content["images"]:
        found = boxes_of[image["id"]]
        if found or not training:
            boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
            labels = np.array([label for _, label in found], np.int64)
            path = Path(split["images"]) / image["file_name"]
            examples.append(Example(image["id"], path, (image["height"], image["width"]), boxes, labels))
    return examples, [one["id"] for one in categories], [one["name"] for one in categories]


def orders(count: int, batch_size: int, seed: int):
    """Yields the indices of batch after batch without end, every epoch in another order; the rest of an epoch is dropped."""
    rng = np.random.default_rng(seed)
    batch_size = min(batch_size, count)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def coco_results(image_id: int, boxes, scores, labels, category_ids: list[int]) -> list[dict]:
    """Detections of one image in COCO's result format, the best ones first.

    Args:
        boxes: [N, 4] xyxy in pixels of the original image, continuous: the width is x2 - x1.
        scores: [N].
        labels: [N] 0-based index into `category_ids`.
    """
    rows = sorted(zip(np.asarray(scores, float), np.asarray(boxes, float).reshape(-1, 4), np.asarray(labels, int)), key=lambda row: -row[0])
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[label],
            "bbox": [round(float(v), 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(float(score), 5),
        }
        for score, (x1, y1, x2, y2), label in rows[:MOST]
        if score > SCORE
    ]


def write_result(job: dict, detections: list[dict], **facts) -> None:
    """Writes what the runner reads.

    Args:
        job: of this run.
        detections: in COCO's result format.
        facts: "version", "seconds" (of training), "images" (trained on; None is unknown), "parameters", "input" (HEIGHTxWIDTH), "batch".
    """
    missing = {"version", "seconds", "images", "parameters", "input", "batch"} ^ set(facts)
    if missing:
        raise ValueError(f"result with other facts than expected: {', '.join(sorted(missing))}")
    folder = Path(job["folder"])
    (folder / "detections.json").write_text(json.dumps(detections), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(facts), encoding="utf-8")
