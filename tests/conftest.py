"""What every test starts from: quiet TensorFlow, one thread an operation, files of a small data set."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow
os.environ.setdefault(
    "TF_NUM_INTRAOP_THREADS", "1"
)  # two that share operations of 64 px take a fifth more processor time, and twice as long
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg reads it once in a process, at the first video of any test

import numpy as np
import pytest
from PIL import Image

import ttfnet_tf  # noqa: F401 what it asks of TensorFlow must be said before that is imported

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Workers of pytest-xdist collect one after the other: in a new environment the first writes the bytecode that the others then read."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with open(__file__, encoding="utf-8") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return (yield)


def pytest_collection_finish():
    """Hides what the imports have made from the garbage collector, which would take a tenth of the tests' time to look through it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadfile`, the files that use the published networks stay in one process, too: building these takes seconds."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "systems.py" if "\nimport systems\n" in (ROOT / file).read_text(encoding="utf-8") else file

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def root() -> Path:
    """The clone."""
    return ROOT


@pytest.fixture(autouse=True)
def no_bfloat16_units(request, monkeypatch):
    """`train.precision: auto` is float32 in this process on every machine; tests of the choice itself are marked `own_processor`."""
    if "own_processor" not in request.keywords and "tensorflow" in sys.modules:
        from ttfnet_tf.training import choose_precision

        monkeypatch.setattr(choose_precision, "bfloat16_unit", lambda: None)


@pytest.fixture
def write_yaml(tmp_path):
    """write_yaml("a.yaml", "train: {seed: 1}") -> path."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def write_coco(tmp_path):
    """Writes images of given sizes and a COCO file about them.

    write_coco(sizes={7: (40, 60)}, objects=[(7, 3, [x, y, w, h])], categories={3: "cat", 8: "dog"}) -> (annotations, folder);
    an object may have a dict of more keys as fourth entry.
    """

    def write(sizes, objects, categories, folder="data"):
        images = tmp_path / folder
        images.mkdir()
        for image_id, (height, width) in sizes.items():
            pixels = np.random.default_rng(image_id).integers(0, 255, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(images / f"{image_id}.png")
        content = {
            "images": [{"id": i, "file_name": f"{i}.png", "height": h, "width": w} for i, (h, w) in sizes.items()],
            "categories": [{"id": i, "name": name} for i, name in categories.items()],
            "annotations": [
                {"id": number, "image_id": image, "category_id": category, "bbox": box, **(more[0] if more else {})}
                for number, (image, category, box, *more) in enumerate(objects, start=1)
            ],
        }
        annotations = tmp_path / f"{folder}.json"
        annotations.write_text(json.dumps(content), encoding="utf-8")
        return annotations, images

    return write


@pytest.fixture(scope="session")
def square_finder():
    """A stand-in for a trained network with two classes whose detections can be told by hand.

    A cell (4 x 4 input pixels) that is full red is an object of class 0, full green one of class 1, with logit 10; black is logit -10.
    Each box reaches 8 px from the cell's point (4 j, 4 i) to every side.
    """
    import tensorflow as tf

    from ttfnet_tf.keras2 import keras

    images = keras.Input([None, None, 3], name="image")
    cells = tf.nn.avg_pool2d(tf.cast(images, tf.float32), 4, 4, "VALID")
    heatmap = (cells[..., :2] / 255.0 - 0.5) * 20.0
    box = tf.ones_like(cells[..., :1]) * tf.constant([8.0, 8.0, 8.0, 8.0])
    return keras.Model(images, {"heatmap": heatmap, "box": box})


@pytest.fixture(scope="session")
def squares():
    """squares((H, W), {(i, j): "red" | "green"}, scale=(sy, sx)) -> uint8 image: coloured cells on black, each sy x sx times larger."""
    colours = {"red": (255, 0, 0), "green": (0, 255, 0)}

    def draw(size, cells, scale=(1, 1)):
        image = np.zeros((*size, 3), np.uint8)
        for (row, column), colour in cells.items():
            image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = colours[colour]
        return np.repeat(np.repeat(image, scale[0], axis=0), scale[1], axis=1)

    return draw
