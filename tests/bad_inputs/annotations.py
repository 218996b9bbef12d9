"""Annotation files."""

from bad_inputs.changes import CATEGORIES, EVALUATE, TRAIN, coco, gone, text

ROWS = {
    # Annotations.
    "annotations not set": (
        TRAIN,
        text("a.yaml", ""),
        "data.train.annotations is not set; name it in the configuration or as data.train.annotations=PATH",
    ),
    "images not set": (
        f"{TRAIN} data.train.images='\"\"'",
        None,
        "data.train.images is not set; name it in the configuration or as data.train.images=PATH",
    ),
    "no such annotations": (
        TRAIN,
        gone("train.json"),
        "{tmp}/train.json: cannot be read (No such file or directory); name a COCO instances JSON",
    ),
    "annotations not JSON": (
        TRAIN,
        text("train.json", "<xml>"),
        "{tmp}/train.json: is not JSON (Expecting value at line 1); name a COCO instances JSON",
    ),
    "annotations not COCO": (
        TRAIN,
        text("train.json", '{"shapes": []}'),
        "{tmp}/train.json: is not a COCO instances file (it has no list 'images')",
    ),
    "no such folder of images": (
        f"{TRAIN} data.train.images={{tmp}}/none",
        None,
        "{tmp}/none: is not a folder; set data.train.images to the folder of the images of {tmp}/train.json",
    ),
    "id without image": (
        TRAIN,
        coco("train.json", image_id=12),
        "{tmp}/train.json: annotation id 1 belongs to image id 12, which is not in 'images'",
    ),
    "unknown category": (
        TRAIN,
        coco("train.json", category_id=1),
        "{tmp}/train.json: annotation id 1 has category id 1, which is not in 'categories' (known: 3, 8)",
    ),
    "annotation id twice": (TRAIN, coco("train.json", id=2), "{tmp}/train.json: annotation id 2 is given twice"),
    "category id twice": (TRAIN, coco("train.json", categories=[CATEGORIES[0]] * 2), "{tmp}/train.json: category id 3 is given twice"),
    "box of three": (
        TRAIN,
        coco("train.json", bbox=[1, 2, 3]),
        "{tmp}/train.json: annotation id 1 has bbox [1, 2, 3], which is not four finite numbers x, y, width, height",
    ),
    "box with NaN": (
        TRAIN,
        coco("train.json", bbox=[1, 2, 3, float("nan")]),
        "{tmp}/train.json: annotation id 1 has bbox [1, 2, 3, NaN], which is not four finite numbers x, y, width, height",
    ),
    "no categories": (TRAIN, coco("train.json", categories=[], annotations=[]), "{tmp}/train.json: its list 'categories' is empty"),
    "no usable image": (
        TRAIN,
        coco("train.json", annotations=[]),
        "{tmp}/train.json: 0 images, 0 boxes, 2 classes; dropped: 2 images without a usable box; no image is left to train on",
    ),
    "a class that no file has": (
        f"{TRAIN} data.classes=[dgo]",
        None,
        "data.classes: there is no class 'dgo' in {tmp}/train.json; did you mean 'dog'?",
    ),
    "a class that the trained model lacks": (
        f"{EVALUATE} 'data.classes={{fox: dog}}'",
        None,
        "data.classes: the model is not trained on 'fox'; it has 'cat', 'dog'",
    ),
    "other validation categories": (
        f"{TRAIN} train.evaluate_every=1",
        coco("val.json", categories=[*CATEGORIES, {"id": 9, "name": "fox"}]),
        "{tmp}/val.json: its categories differ from those of {tmp}/train.json (3 and 2); both files must list the same ids and names",
    ),
}
