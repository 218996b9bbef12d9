"""A table of three cells, a small set of images, and what was published."""

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.reproduce.cells import Cell, Table, read_published


@pytest.fixture(scope="module")
def published():
    return read_published()


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "shapes"
    draw_shapes(folder, train=6, val=2, size=(64, 64), seed=1)
    return folder


@pytest.fixture
def table(tmp_path):
    """Three cells; "b" has a setting, "c" has no AP to compare with."""
    config = tmp_path / "base.yaml"
    config.write_text("train: {epochs: 2, batch_size: 4}\noptim: {drop_epochs: [1], lr_batch_size: 4}\ndata: {image_size: [64, 64]}")
    cells = (
        Cell("a", config, (), {"AP": 30.0, "ratio": 1.5}, 0.4),
        Cell("b", config, ("targets.beta=0.1",), {"AP": 32.0}, 0.4),
        Cell("c", config, ("targets.beta=0.2",), {}, None),
    )
    return Table("t", "a title", "a source", "Why?", cells)


@pytest.fixture
def is_drawn():
    """Whether an image file holds a drawing."""
    return _is_drawn


def _is_drawn(file):
    """Several colours on several rows: more than an empty frame."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    coloured = np.ptp(pixels.astype(int), axis=-1) > 60
    return min(pixels.shape[:2]) > 100 and coloured.sum() > 50
