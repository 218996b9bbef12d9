"""The data sets of the ledger: a COCO folder that the user names, or sets that are drawn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.coco_reader import find_coco_files, find_coco_images

# Arguments of `ttfnet data shapes OUT --train --val --size --seed`.
DRAWN = {
    "shapes-400": {"train": 400, "val": 100, "size": (256, 256), "seed": 0},
    "shapes-100": {"train": 100, "val": 100, "size": (256, 256), "seed": 1},
}


@dataclass(frozen=True)
class DataSet:
    """Training and validation images."""

    name: str  # in the ledger
    folder: Path
    train: dict[str, str]  # {"annotations": file, "images": folder}
    val: dict[str, str]


def find(name: str, work: Path) -> DataSet:
    """The data set of a name.

    Args:
        name: of a drawn set, which is drawn if it is not there, or the folder of another, with annotations/train.json and val.json.
        work: folder for drawn sets.

    Raises:
        UserError: there is no such data set.
    """
    folder = Path(name)
    if name in DRAWN:
        from ttfnet_tf.data.shapes import draw_shapes

        folder = work / name
        if not (folder / "annotations" / "val.json").exists():
            draw_shapes(folder, **DRAWN[name])
    elif not folder.is_dir():
        raise UserError(f"{name}: no such folder, and not one of {', '.join(DRAWN)}")
    folder = folder.resolve()
    files = find_coco_files(folder)
    if not {"train", "val"} <= set(files):
        raise UserError(f"{folder}: needs annotations/train.json and annotations/val.json, found {', '.join(sorted(files)) or 'neither'}")
    splits = []
    for split in ("train", "val"):
        images = json.loads(files[split].read_text(encoding="utf-8"))["images"]
        root = find_coco_images(files[split], split, images)
        if root is None:
            raise UserError(f"{files[split]}: its images are not beside it; put them into {folder / 'images'}")
        splits.append({"annotations": str(files[split]), "images": str(root)})
    return DataSet(folder.name, folder, *splits)
