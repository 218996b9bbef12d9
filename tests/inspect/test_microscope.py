"""The target microscope shows what training sees, with the figures of the statistics."""

import json

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from ttfnet_tf import build, cli
from ttfnet_tf.config import load_config
from ttfnet_tf.data import pipeline
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.inspect.microscope import choose_images, statistics_table
from ttfnet_tf.inspect.show import microscope_of

AUGMENTED = "augment: {photometric: true, expand: 0.5, min_iou_crop: true}"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "drawn"
    draw_shapes(folder, train=5, val=1, size=(96, 128), seed=2)
    return folder


def _config(shapes, path, text=""):
    path.write_text(
        f"data: {{image_size: [64, 96], train: {{annotations: {shapes}/annotations/train.json, images: {shapes}/train}}}}\n{text}"
    )
    return load_config(path)


def _show(capsys, shapes, *arguments):
    code = cli.main(["data", "show", str(shapes / "annotations/train.json"), str(shapes / "train"), *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


MIXED = "augment: {mosaic: 1, mixup: 0.5, vertical_flip: 0.5, quarter_turns: 0.5}"


@pytest.mark.parametrize("augment", [AUGMENTED, MIXED], ids=["10x", "mosaic"])
def test_augmented_views_are_the_rows_of_training(shapes, tmp_path, augment):
    config = _config(shapes, tmp_path / "a.yaml", f"{augment}\ntrain: {{batch_size: 5, seed: 7}}\ntargets: {{backend: py_function}}")
    split = build.load_split(config, "train")
    microscope = microscope_of(config, split)
    index_of = {image.id: index for index, image in enumerate(split.images)}
    for epoch, batch in enumerate(pipeline.iterate(build.train_dataset(config, split).take(2))):  # an epoch is one batch
        for row, image_id in enumerate(batch["image_id"].numpy()):
            index = index_of[int(image_id)]
            view = microscope.augmented(index, epoch, microscope.read(index))
            np.testing.assert_array_equal(view.image, batch["image"][row])
            known = batch["labels"][row].numpy() >= 0
            np.testing.assert_array_equal(view.boxes, batch["boxes"][row].numpy()[known])
            np.testing.assert_array_equal(view.maps["heatmap"], batch["heatmap"][row])
            np.testing.assert_array_equal(view.maps["box_weight"], batch["box_weight"][row])
            assert len(view.others) >= 3 * (augment == MIXED)
            assert view.annotated == sum(len(split.images[index_of[one]].boxes) for one in (int(image_id), *view.others))


def test_the_table_by_hand(write_coco, tmp_path):
    # 32 px are 8 cells. LARGE has 3 x 3 cells around (3, 3), SMALL the cell (4, 4), a corner of them.
    annotations, images = write_coco(
        {7: (32, 32)}, [(7, 3, [0, 0, 32, 32]), (7, 8, [12, 12, 9, 9]), (7, 8, [24, 4, 2, 9])], {3: "cat", 8: "dog"}
    )
    path = tmp_path / "a.yaml"
    path.write_text(f"data: {{image_size: [32, 32], train: {{annotations: {annotations}, images: {images}}}}}")
    config = load_config(path)
    microscope = microscope_of(config, build.load_split(config, "train"))
    table = statistics_table([microscope.resized(0, microscope.read(0))])
    assert {row[0]: row[1] for row in table[1:]} == {
        "objects": "3 of 3",
        "cells that regress": "10",
        "ambiguous cells": "1 (10.0 %)",
        "share a peak within a class": "0",
        "no cell regresses them": "0",
        "centre regresses another": "0",
        "centre regresses nothing": "0",
        "heatmap kernel of one cell": "2",
        "smaller than a cell": "1",
    }


KINDS = [
    "",
    "targets: {area: rectangle}",
    "model: {box_per_class: true}",
    "targets: {kernel: cornernet, weight: equal}",
    "model: {method: centernet, upsampling: transposed}",
]


@pytest.mark.parametrize("text", KINDS)
def test_every_kind_of_targets_has_a_page(shapes, tmp_path, text):
    config = _config(shapes, tmp_path / "a.yaml", text)
    split = build.load_split(config, "train")
    microscope = microscope_of(config, split)
    view = microscope.resized(0, microscope.read(0))
    # The cells with a target of their own are those that lie in some sub-area.
    owned = (view.maps["box_target"].reshape(16, 24, -1, 4) >= 0).all(axis=-1).any(axis=-1)
    np.testing.assert_array_equal(owned, view.cells.num_areas > 0)
    if "centernet" in text:
        assert view.cells.covered == len({(row, column) for row, column in np.argwhere(view.maps["heatmap"].max(axis=-1) == 1)})
    page = microscope.page(0, (0, 1))
    assert page.shape[1] > 5 * 250
    assert page.dtype == np.uint8


def test_the_command_writes_pages_and_events(capsys, shapes, tmp_path):
    ids = [image["id"] for image in json.loads((shapes / "annotations/train.json").read_text())["images"]]
    out, log = tmp_path / "pages", tmp_path / "log"
    arguments = ("--ids", ids[3], ids[1], "--out", out, "--epochs", 5, 2, "--tensorboard", log, "data.image_size=[64,64]", "augment.flip=1")
    code, text, _ = _show(capsys, shapes, *arguments)
    assert code == 0
    assert f"written: {out / f'{ids[3]}.png'}" in text
    assert sorted(path.name for path in out.iterdir()) == sorted(f"{i}.png" for i in (ids[1], ids[3]))
    with Image.open(out / f"{ids[1]}.png") as page:
        assert page.size[0] > 1000
    events = EventAccumulator(str(log)).Reload()
    assert [event.step for event in events.Tensors(f"augmented/image_{ids[3]}")] == [2, 5]
    assert [event.step for event in events.Tensors(f"microscope/image_{ids[3]}")] == [0]


def test_images_are_spread_over_the_file(shapes, tmp_path):
    split = build.load_split(_config(shapes, tmp_path / "a.yaml"), "train")
    assert choose_images(split, None, 2) == [0, 2]
    assert choose_images(split, None, 99) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "name a folder for the pages with --out, or one for TensorBoard with --tensorboard"),
        (["--out", "x", "--count", "0"], "--count 0 must be 1 or more"),
        (["--out", "x", "--epochs", "two"], "--epochs two: must be integers"),
        (["--out", "x", "--ids", "targets.beta=0.3"], "--ids targets.beta=0.3: must be integers"),
        (["--out", "x", "--ids", "7", "optim.lr=1"], "override 'optim.lr=1': what is shown depends on"),
        (["--out", "x", "--epochs", "-1"], "--epochs -1 must be 0 or more"),
        (["--out", "x", "optim.lr=1"], "override 'optim.lr=1': what is shown depends on data.*, targets.*, augment.*, model.method"),
        (["--out", "x", "--ids", "4711"], "image id 4711 is not among the 5 images that training uses"),
    ],
)
def test_mistakes_of_the_command(capsys, shapes, arguments, line):
    code, _, err = _show(capsys, shapes, *arguments)
    assert (code, len(err.splitlines())) == (2, 1)
    assert line in err


def test_pages_need_a_folder_that_can_be_made(capsys, shapes, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = _show(capsys, shapes, "--count", 1, "--out", tmp_path / "file" / "x")
    assert code == 2
    assert "name another folder" in err
