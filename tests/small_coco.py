"""A COCO file of a few images with one box each."""

import json

import numpy as np
from PIL import Image


def write_coco_file(folder, count, side):
    """Writes `count` images of `side` px to folder/images, and folder/all.json, which is returned."""
    (folder / "images").mkdir()
    for k in range(count):
        Image.fromarray(np.random.default_rng(k).integers(0, 255, (side, side, 3)).astype(np.uint8)).save(folder / f"images/{k}.png")
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "height": side, "width": side} for k in range(count)],
        "annotations": [{"id": k + 1, "image_id": k, "category_id": 1, "bbox": [4, 4, 20, 30], "area": 600} for k in range(count)],
        "categories": [{"id": 1, "name": "a"}],
    }
    (folder / "all.json").write_text(json.dumps(content))
    return folder / "all.json"
