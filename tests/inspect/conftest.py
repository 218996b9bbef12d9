"""Annotation files of one image."""

import json

import pytest


@pytest.fixture
def write_boxes(tmp_path):
    """write_boxes([(category id, x, y, w, h), ...], size=(H, W)) -> path of a COCO file with one image that does not exist."""

    def write(boxes, size=(64, 64)):
        content = {
            "images": [{"id": 4, "file_name": "absent.jpg", "height": size[0], "width": size[1]}],
            "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
            "annotations": [
                {"id": k + 1, "image_id": 4, "category_id": category, "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0}
                for k, (category, *box) in enumerate(boxes)
            ],
        }
        path = tmp_path / "a.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write
