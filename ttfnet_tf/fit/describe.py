"""What `decide` needs to know: of the data from their annotations alone, of the machine by some convolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.coco_file import read_bytes, read_content
from ttfnet_tf.data.split import subset
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_json
from ttfnet_tf.fit.decide import DataFacts, candidate_sizes
from ttfnet_tf.fit.prepare import Prepared
from ttfnet_tf.inspect.target_ceiling import measure_ceiling

SAMPLE = 32  # images on which ceilings are measured


def describe_data(prepared: Prepared, folder: Path, **rules: Any) -> DataFacts:
    """Counts, sizes and ceilings of a data set.

    Args:
        prepared: its files.
        folder: takes a file with the images on which ceilings are measured.
        rules: keywords of `data.coco.load_sets`, such as classes.

    Raises:
        UserError: there is nothing to train on.
    """
    file = prepared.train.annotations
    content = read_content(file, read_bytes(file))
    split = load_coco(file, prepared.train.images, **rules, training=True)
    if not len(split.images.boxes):
        raise UserError(f"{file}: holds no box to train on")
    size = np.median(split.images.sizes.astype(float), axis=0).round().astype(int).tolist()
    ids = split.images.ids[np.linspace(0, len(split.images) - 1, min(SAMPLE, len(split.images))).astype(int)].tolist()
    write_json(folder / "sample.json", subset(content, ids))
    sample = load_coco(folder / "sample.json", prepared.train.images, **rules, training=True)
    return DataFacts(
        train_images=len(split.images),
        val_images=len(read_content(prepared.val.annotations, read_bytes(prepared.val.annotations))["images"]),
        empty_images=split.dropped.get("images without a usable box", 0),
        boxes_of_class=tuple(np.bincount(split.images.labels, minlength=split.num_classes).tolist()),
        image_size=(size[0], size[1]),
        ceilings={one: max(measure_ceiling(sample, image_size=one)["AP"], 0.0) for one in candidate_sizes((size[0], size[1]))},
    )
