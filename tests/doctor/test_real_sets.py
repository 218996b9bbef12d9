"""Two published data sets: their findings were verified by hand, and there are no others.

They lie in the folder that the environment variable TTFNET_DATA names, by default `../shared/data` beside the repository; without
them these tests are skipped.
"""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from ttfnet_tf.doctor.check import check_data
from ttfnet_tf.doctor.findings import Settings
from ttfnet_tf.doctor.fix import write_fixed

DATA = Path(os.environ.get("TTFNET_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def _files(name):
    folder = DATA / name
    if not (folder / "images").is_dir():
        pytest.skip(f"{name} is not here")
    return [(folder / "annotations" / f"{split}.json", folder / "images") for split in ("train", "val")]


def _found(report):
    return [{finding.code: len(finding.places) for finding in split.findings} for split in report.splits]


def test_blood_cells_are_clean():
    report = check_data(*_files("bccd"), settings=Settings(image_size=(256, 256)))
    assert [len(split.facts) for split in report.splits] == [292, 72]
    assert _found(report) == [{}, {}]


def test_tiny_coco(tmp_path):
    train, val = _files("coco_tiny")
    report = check_data(train, val)
    assert _found(report) == [
        {
            "box-below-pixel": 1,  # annotation 1441425 is 1.23 of 640 px wide: .98 of 512
            "category-unused": 9,  # 71 of 80 classes are there
            "category-ids-gap": 8,  # 12, 26, 29-30, 45, 66, 68-69, 71, 83
            "image-without-boxes": 2,
            "box-below-cell": 12,
            "box-whole-image": 2,
            "box-crowd": 10,
            "class-imbalance": 12,  # 254 persons; classes of one or two boxes
            "image-grey": 1,
        },
        {"class-without-validation": 2, "category-ids-gap": 8, "box-below-cell": 5, "box-whole-image": 1, "box-crowd": 5},
    ]
    # The same numbers, counted in the file itself.
    content = json.loads(train[0].read_text())
    boxes = Counter(one["category_id"] for one in content["annotations"] if not one["iscrowd"])
    sizes = {one["id"]: (one["width"], one["height"]) for one in content["images"]}
    assert len(content["categories"]) - len({one["category_id"] for one in content["annotations"]}) == 9
    assert sum(100 * count < max(boxes.values()) for count in boxes.values()) == 12
    assert len(sizes) - len({one["image_id"] for one in content["annotations"]}) == 2
    sides = [
        min(512 * one["bbox"][2] / sizes[one["image_id"]][0], 512 * one["bbox"][3] / sizes[one["image_id"]][1])
        for one in content["annotations"]
        if not one["iscrowd"]
    ]
    assert (sum(side < 1 for side in sides), sum(1 <= side < 4 for side in sides)) == (1, 12)

    write_fixed(report.splits[0], tmp_path / "fixed.json", Settings())
    assert json.loads((tmp_path / "fixed.json").read_text()) == content  # nothing to fix
