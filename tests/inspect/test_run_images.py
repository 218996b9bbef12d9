"""Images that a run writes to TensorBoard: inputs with their targets, and the worst images of an evaluation."""

import dataclasses
from pathlib import Path

import numpy as np

from ttfnet_tf import build
from ttfnet_tf.config import load_config
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.evaluation.matches import ImageMatches, Matches
from ttfnet_tf.inspect import run_images
from ttfnet_tf.inspect.overlays import CORRECT, MISTAKE
from ttfnet_tf.inspect.show import microscope_of

SIZES = {7: (40, 60), 9: (60, 40)}
OBJECTS = [(7, 3, [5, 5, 20, 20]), (9, 8, [10, 30, 20, 20])]
CATEGORIES = {3: "cat", 8: "dog"}


def test_each_training_input_has_a_sheet_with_its_targets(write_coco, write_yaml):
    annotations, images = write_coco(SIZES, OBJECTS, CATEGORIES)
    config = load_config(write_yaml("a.yaml", f"data: {{image_size: [64, 64], train: {{annotations: {annotations}, images: {images}}}}}"))
    split = build.load_split(config, "train")
    sheets = run_images.inputs(microscope_of(config, split), epoch=0, count=2)
    assert sorted(sheets) == ["input/7", "input/9"]
    for sheet in sheets.values():
        assert sheet.dtype == np.uint8
        assert sheet.shape[1] > 3 * 240  # three panels
    (images / "7.png").unlink()
    assert sorted(run_images.inputs(microscope_of(config, split), epoch=0, count=2)) == ["input/9"]


def test_the_worst_images_show_what_was_missed_and_what_was_wrong(write_coco):
    split = load_coco(*write_coco(SIZES, OBJECTS, CATEGORIES), training=False)
    missed = {"bbox": [5.0, 5.0, 20.0, 20.0], "category_id": 3}
    correct = {"bbox": [30.0, 5.0, 20.0, 20.0], "category_id": 8, "score": 0.9}
    matches = Matches({}, {7: ImageMatches(missed=[missed], correct=[correct]), 9: ImageMatches(wrong=[correct, correct])})
    sheets = run_images.worst(split, matches, 5)
    assert list(sheets) == ["worst/1", "worst/2"]  # image 9 has two mistakes
    colours = {tuple(colour) for colour in sheets["worst/2"].reshape(-1, 3).tolist()}
    assert {CORRECT, MISTAKE} <= colours
    lost = dataclasses.replace(split, images=[dataclasses.replace(image, path=Path("no.png")) for image in split.images])
    assert run_images.worst(lost, matches, 5) == {}
